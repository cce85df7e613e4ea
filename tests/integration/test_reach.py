"""`check` tests the advertised address for real: by a STUN server, and by a datagram to oneself.

Each mistake is made in namespaces, and what the finding says to write is written: then it works.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.play import ROOT
from tests.lab.world import RELAY, SERVER, Lab, NatKind

pytestmark = pytest.mark.integration

STUN = f'stun_server = "{SERVER}:3478"\n'
Findings = list[tuple[str, str]]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.public("server", SERVER)
        lab.public("relay", RELAY)
        with stun(lab):
            yield lab


@contextmanager
def stun(lab: Lab) -> Iterator[None]:
    command = lab.command("server", [sys.executable, "-m", "tests.lab.stun_server", SERVER])
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            server.terminate()


class Host:
    """Where `check` runs, with a configuration of these interfaces."""

    def __init__(self, lab: Lab, node: str, directory: Path) -> None:
        self.lab, self.node, self.file = lab, node, directory / "jingle-hnt.toml"

    def check(self, interface: str, relay: str = STUN) -> Findings:
        """What is said of the advertised address: verdicts and texts."""
        self.file.write_text(
            '[xmpp]\ncomponent = "hnt.example.org"\ndomains = ["example.org"]\nsecret = "x"\n'
            f"[relay]\ninterfaces = [{interface}]\n{relay}"
        )
        words = [sys.executable, "-m", "jingle_hnt", "check", "--json", "--config", str(self.file)]
        command = self.lab.command(self.node, words)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)
        return [
            (f["verdict"], f["text"])
            for f in found
            if f["subject"].startswith("advertised address")
        ]

    def nft(self, *rules: str) -> None:
        words = ["nft", "-f", "-"]
        text = "\n".join(rules)
        subprocess.run(self.lab.command(self.node, words), input=text, text=True, check=True)


def to_write(text: str) -> str:
    """The interface that a finding says to write."""
    (found,) = re.findall(r"\{ address = [^}]* \}", text)
    return str(found)


OWN = f'{{ address = "{RELAY}" }}'
WELL = [
    ("ok", f"is where {SERVER}:3478 sees {RELAY}"),
    ("ok", "a datagram that we send to it comes back to us"),
]


def test_an_address_that_is_nobodys_any_more_fails_with_the_one_to_write(
    lab: Lab, tmp_path: Path
) -> None:
    """Sample O14."""
    host = Host(lab, "relay", tmp_path)
    stale = f'{{ address = "{RELAY}", advertise = "203.0.113.200" }}'
    ((verdict, text),) = host.check(stale)
    assert verdict == "FAIL"
    assert f"sees {RELAY} as {RELAY}: nobody reaches us by 203.0.113.200" in text
    assert host.check(to_write(text)) == WELL
    assert host.check(OWN) == WELL
    assert host.check(OWN, "") == [WELL[1]]


def test_behind_a_nat_the_public_address_is_to_be_told(lab: Lab, tmp_path: Path) -> None:
    inside, public = lab.site("home", NatKind.FULL_CONE)
    host = Host(lab, "home", tmp_path)
    ((verdict, text), *_) = host.check(f'{{ address = "{inside}" }}')
    assert (verdict, public in text) == ("FAIL", True)
    assert to_write(text) == f'{{ address = "{inside}", advertise = "{public}" }}'
    assert host.check(to_write(text)) == [("ok", f"is where {SERVER}:3478 sees {inside}")]
    ((verdict, text),) = host.check(f'{{ address = "{inside}", advertise = "{public}" }}', "")
    assert (verdict, "relay.stun_server" in text) == ("warn", True)


def test_init_finds_the_address_by_stun_and_check_agrees(lab: Lab, tmp_path: Path) -> None:
    inside, public = lab.site("home", NatKind.FULL_CONE)
    file = tmp_path / "new.toml"
    words = ["init", "--config", str(file), "--domain", "example.org", "--yes"]
    words += ["--stun", f"{SERVER}:3478"]
    command = lab.command("home", [sys.executable, "-m", "jingle_hnt", *words])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"addresses of this host: {inside}" in done.stdout
    assert f"sees {inside} as {public}" in done.stdout
    written = to_write(file.read_text())
    assert written == f'{{ address = "{inside}", advertise = "{public}" }}'
    ((verdict, _),) = Host(lab, "home", tmp_path).check(written)
    assert verdict == "ok"


def test_a_nat_that_changes_ports_is_warned_of(lab: Lab, tmp_path: Path) -> None:
    inside, public = lab.site("home", NatKind.SYMMETRIC)
    host = Host(lab, "home", tmp_path)
    ((verdict, text),) = host.check(f'{{ address = "{inside}", advertise = "{public}" }}')
    assert verdict == "warn"
    assert "a NAT in front changes ports" in text


def test_a_firewall_that_takes_what_we_send_ourselves_fails(lab: Lab, tmp_path: Path) -> None:
    host = Host(lab, "relay", tmp_path)
    host.nft(
        "table inet closed { chain input { type filter hook input priority 0;",
        "udp dport 24000-26767 drop; }; }",
    )
    (blocked, (verdict, text)) = host.check(OWN)
    assert blocked[0] == "warn"
    assert f"UDP from {RELAY} is blocked" in blocked[1]
    assert verdict == "FAIL"
    assert "let UDP to relay.ports in" in text
    host.nft("delete table inet closed")
    assert host.check(OWN) == WELL


def test_who_has_no_stun_server_that_answers_is_told_so(lab: Lab, tmp_path: Path) -> None:
    host = Host(lab, "relay", tmp_path)
    silent = f'stun_server = "{SERVER}:3479"\n'
    ((verdict, text), back) = host.check(OWN, silent)
    assert (verdict, back) == ("warn", WELL[1])
    assert f"no STUN server answers ({SERVER}:3479)" in text
