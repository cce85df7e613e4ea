"""Rules of the host that take ports away (sample O21): read from real nftables, and from texts."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jingle_hnt.commands import firewall
from jingle_hnt.settings.model import InterfaceOptions, RelayOptions

RELAY = RelayOptions(
    interfaces=(InterfaceOptions.model_validate({"address": "127.0.0.1"}),), ports="30000-30999"
)
TO = "dnat to 10.42.0.7:53"

needs_nft = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("nft") is None or "PYTEST_XDIST_WORKER" not in os.environ,
    reason="needs a network namespace of its own",
)


def found(relay: RelayOptions = RELAY) -> tuple[str, str]:
    (finding,) = firewall.findings(relay)
    return finding.verdict, finding.text


@contextmanager
def rules(rule: str, before: str = "") -> Iterator[None]:
    chain = f"chain p {{ type nat hook prerouting priority -100; {rule}; }}"
    text = f"table ip t {{\n{before}\n{chain}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "t"], check=True)


def node_ports(elements: str) -> str:
    """As kube-proxy has them in its nftables mode."""
    kind = "type inet_proto . inet_service : verdict;"
    return f"chain x {{ {TO}; }}\nmap nodeports {{\n{kind}\nelements = {{ {elements} }}\n}}"


@needs_nft
@pytest.mark.parametrize(
    ("rule", "before", "verdict"),
    [
        (f"udp dport 30100-30199 {TO}", "", "warn"),
        ("udp dport { 53, 30500 } redirect to :53", "", "warn"),
        (f"meta l4proto udp th dport 30999 {TO}", "", "warn"),
        ("udp dport 30053 jump x", f"chain x {{ meta l4proto udp {TO}; }}", "warn"),
        (
            "meta l4proto . th dport vmap @nodeports",
            node_ports("udp . 30080 : goto x").replace(TO, f"meta l4proto udp {TO}"),
            "warn",
        ),
        (f"udp dport 31000-31999 {TO}", "", "ok"),
        (f"tcp dport 30100 {TO}", "", "ok"),
        ("udp dport 30100 accept", "", "ok"),
        (
            "meta l4proto . th dport vmap @nodeports",
            node_ports("tcp . 30080 : goto x").replace(TO, f"meta l4proto udp {TO}"),
            "ok",
        ),
    ],
)
def test_what_diverts_ports_is_seen_in_nftables(rule: str, before: str, verdict: str) -> None:
    with rules(rule, before):
        told, text = found()
    assert told == verdict, text
    if verdict == "warn":
        assert "relay.ports" in text
        assert "nft: t p" in text


@needs_nft
def test_a_transparent_proxy_of_nftables_is_seen() -> None:
    """It is in no chain of NAT."""
    chain = "chain p { type filter hook prerouting priority mangle; udp dport 30100 %s; }"
    for what, verdict in (("tproxy to :53", "warn"), ("accept", "ok")):
        text = f"table ip t {{\n{chain % what}\n}}\n"
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
        try:
            assert found()[0] == verdict
        finally:
            subprocess.run(["nft", "delete", "table", "ip", "t"], check=True)


@needs_nft
def test_another_range_is_what_helps() -> None:
    with rules(f"udp dport 30100-30199 {TO}"):
        assert found()[0] == "warn"
        assert found(RELAY.model_copy(update={"ports": "24000-26767"}))[0] == "ok"


@needs_nft
@pytest.mark.parametrize("kind", ["nft", "legacy"])
@pytest.mark.parametrize("family", ["iptables", "ip6tables"])
@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("-p udp --dport 30100:30199 -j REDIRECT --to-ports 53", "warn"),
        ("-p udp -m multiport --dports 53,30500:30501 -j DNAT --to-destination :53", "warn"),
        ("-p udp --dport 31000 -j REDIRECT --to-ports 53", "ok"),
        ("-p tcp --dport 30100 -j REDIRECT --to-ports 53", "ok"),
    ],
)
def test_what_diverts_ports_is_seen_in_each_kind_of_iptables(
    kind: str, family: str, rule: str, verdict: str
) -> None:
    """Those of the kernel's older tables are in neither nft's list nor the newer iptables'."""
    words = [f"{family}-{kind}", "-w", "-t", "nat"]
    subprocess.run([*words, "-A", "PREROUTING", *rule.split()], check=True)
    try:
        told, text = found()
    finally:
        subprocess.run([*words, "-F", "PREROUTING"], check=True)
    assert told == verdict
    assert verdict == "ok" or f"{family}: PREROUTING -p udp" in text
    assert found()[0] == "ok"


@needs_nft
def test_a_transparent_proxy_is_seen() -> None:
    words = ["iptables-legacy", "-w", "-t", "mangle"]
    rule = "-p udp --dport 30100 -j TPROXY --on-port 53"
    subprocess.run([*words, "-A", "PREROUTING", *rule.split()], check=True)
    try:
        assert "iptables: PREROUTING -p udp -m udp --dport 30100 -j TPROXY" in found()[1]
    finally:
        subprocess.run([*words, "-F", "PREROUTING"], check=True)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("KUBE-NODEPORTS -p udp -m udp --dport 30053 -j KUBE-EXT-ABC", "warn"),
        ("PREROUTING -p udp -m udp --dport 30100:30199 -j DNAT --to-destination 1.2.3.4", "warn"),
        ("DOCKER ! -i br0 -p udp -m multiport --dports 53,30500:30501 -j DNAT --to 1.2.3", "warn"),
        ('X -p udp -m comment --comment "not --dport" -m udp --dport 30999 -j REDIRECT', "warn"),
        ("KUBE-NODEPORTS -p udp -m udp --dport 30053 -j KUBE-MARK-MASQ", "ok"),
        ("X -p udp -m udp --dport 30053 -j ACCEPT", "ok"),
        ("X -p tcp -m tcp --dport 30053 -j DNAT --to 1.2.3.4", "ok"),
        ("X -p udp -m udp --dport 53 -j DNAT --to 1.2.3.4", "ok"),
        ("X -p udp -j DNAT --to 1.2.3.4", "ok"),
    ],
)
def test_what_diverts_ports_is_seen_in_iptables(
    line: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"nft": None, "iptables-save": f"*nat\n:PREROUTING ACCEPT [0:0]\n-A {line}\nCOMMIT\n"}
    monkeypatch.setattr(firewall, "_output", lambda command, *_: texts.get(command))
    told, text = found()
    assert told == verdict
    assert verdict == "ok" or f"iptables: {line[:12]}" in text


@pytest.mark.parametrize("text", ["", "no json", "{}", '{"nftables": [1, {"rule": 2}]}'])
def test_what_cannot_be_read_is_no_finding(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall, "_output", lambda command, *_: text if command == "nft" else None)
    assert found()[0] == "ok"
    monkeypatch.setattr(firewall, "_output", lambda *_: None)
    assert list(firewall.findings(RELAY)) == []
