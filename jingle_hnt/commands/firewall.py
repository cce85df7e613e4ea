"""Rules of this host that take UDP ports of the relay, before any program sees a packet.

A destination NAT such as that of a Kubernetes NodePort, a container's published port or a redirect:
binding the port succeeds all the same. The rules are read with nft(8) and iptables-save(8), those
of the kernel's older tables as well; nothing is changed.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.settings.model import RelayOptions

PATIENCE_S = 5.0
SAVERS = {
    "iptables-save": "iptables",
    "ip6tables-save": "ip6tables",
    "iptables-legacy-save": "iptables",
    "ip6tables-legacy-save": "ip6tables",
}
"""Commands, and whose rules they show: those that there are. With ``-t`` the older commands would
load tables of the kernel."""
SHOWN = 3
"""Rules that are quoted."""
HARMLESS = {"ACCEPT", "RETURN", "LOG", "DROP", "KUBE-MARK-MASQ", "KUBE-MARK-DROP"}
"""Targets that leave a packet's destination as it is."""
DIVERTS = {"dnat", "redirect", "tproxy", "jump", "goto", "vmap", "queue"}
"""What a rule of nftables may do that takes a packet elsewhere, at once or in another chain."""

Rule = tuple[str, list[tuple[int, int]]]
"""A rule as it is shown, and the UDP ports that it is about."""


def findings(relay: RelayOptions) -> Iterator[CheckFinding]:
    """Report rules that take ports of the range, or that there are none."""
    first, last = relay.port_range
    nft, saved = _output("nft", "-j", "list", "ruleset"), {name: _output(name) for name in SAVERS}
    if nft is None and not any(text is not None for text in saved.values()):
        return  # no firewall to be read, or not by us; a datagram to oneself is sent as well
    rules = [*_of_nft(nft or "")]
    for name, text in saved.items():
        rules += _of_iptables(text or "", SAVERS[name])
    taking = list(
        dict.fromkeys(
            text for text, ports in rules if any(a <= last and b >= first for a, b in ports)
        )
    )
    if not taking:
        yield CheckFinding(verdict="ok", subject="firewall", text="no rule diverts media ports")
        return
    some = "; ".join(taking[:SHOWN])
    text = (
        f"{len(taking)} rules of this host take ports of {relay.ports} away, so that calls which"
        f" get these have no media ({some}): write a range outside of them in relay.ports, or take"
        " the rules out"
    )
    yield CheckFinding(verdict="warn", subject="firewall", text=text)


def _output(*command: str) -> str | None:
    """Return the output of a command; None if it is missing or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


# nftables: libnftables-json(5)


def _of_nft(text: str) -> Iterator[Rule]:
    try:
        content = json.loads(text)["nftables"] if text else []
    except (ValueError, KeyError, TypeError):
        return
    objects = [entry for entry in content if isinstance(entry, dict)]
    maps = {
        (m.get("family"), m.get("table"), m.get("name")): m
        for entry in objects
        if isinstance(m := entry.get("map"), dict)
    }
    nat = {
        (c.get("family"), c.get("table"))
        for entry in objects
        if isinstance(c := entry.get("chain"), dict) and c.get("type") == "nat"
    }
    for entry in objects:
        rule = entry.get("rule")
        if isinstance(rule, dict):
            is_nat = (rule.get("family"), rule.get("table")) in nat
            yield from _of_rule(rule, maps, DIVERTS if is_nat else {"tproxy"})


def _of_rule(
    rule: Mapping[str, Any], maps: Mapping[Any, Mapping[str, Any]], diverts: Set[str]
) -> Iterator[Rule]:
    expressions = [e for e in rule.get("expr", ()) if isinstance(e, dict)]
    kinds = {kind for expression in expressions for kind in expression}
    ports: list[tuple[int, int]] = []
    for expression in expressions:
        match = expression.get("match")
        if isinstance(match, dict) and _is_udp_port(match.get("left")):
            ports += _ranges(match.get("right"))
        verdicts = expression.get("vmap")
        if isinstance(verdicts, dict):
            ports += _of_map(verdicts.get("data"), rule, maps)
    if ports and kinds & diverts:
        yield f"nft: {rule.get('table')} {rule.get('chain')} {_shown(ports)}", ports


def _of_map(
    data: object, rule: Mapping[str, Any], maps: Mapping[Any, Mapping[str, Any]]
) -> Iterator[tuple[int, int]]:
    """The UDP ports of a map of verdicts, which is written in the rule or has a name."""
    if isinstance(data, str):
        named = maps.get((rule.get("family"), rule.get("table"), data.removeprefix("@")), {})
        data = named.get("elem")
    elements = data.get("set") if isinstance(data, dict) else data
    for element in elements if isinstance(elements, list) else ():
        key = element[0] if isinstance(element, list) and element else element
        if not isinstance(key, dict) or "concat" not in key:
            yield from _ranges(key)
        elif "udp" in (parts := key["concat"]):
            yield from _ranges(parts[-1])


def _is_udp_port(left: object) -> bool:
    payload = left.get("payload") if isinstance(left, dict) else None
    if not isinstance(payload, dict) or payload.get("field") != "dport":
        return False
    return payload.get("protocol") in ("udp", "th")


def _ranges(value: object) -> list[tuple[int, int]]:
    if isinstance(value, int):
        return [(value, value)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("range"), list):
        low, high = value["range"]
        return [(low, high)] if isinstance(low, int) and isinstance(high, int) else []
    return [found for each in value.get("set", ()) for found in _ranges(each)]


# iptables


def _of_iptables(text: str, name: str) -> Iterator[Rule]:
    table = "nat"
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        if not line.startswith("-A "):
            continue
        words = shlex.split(line)
        target = _after(words, "-j") or _after(words, "-g")
        if _after(words, "-p") != "udp" or target is None or target in HARMLESS:
            continue
        if table != "nat" and target != "TPROXY":
            continue
        named = _after(words, "--dport") or _after(words, "--dports") or ""
        found = re.findall(r"(\d+)(?::(\d+))?", named)
        ports = [(int(low), int(high or low)) for low, high in found]
        if ports:
            yield f"{name}: {' '.join(words[1:])}", ports


def _after(words: list[str], option: str) -> str | None:
    place = words.index(option) if option in words else len(words)
    return words[place + 1] if place + 1 < len(words) else None


def _shown(ports: Iterable[tuple[int, int]]) -> str:
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in ports]
    return "udp dport " + ", ".join(texts[:SHOWN]) + (" ..." if len(texts) > SHOWN else "")
