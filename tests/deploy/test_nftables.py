"""The rule that keeps the kernel from telling which ports of the relay are free."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.world import RELAY, Lab

pytestmark = pytest.mark.integration

RULE = Path(__file__).parents[2] / "config" / "nftables" / "jingle-hnt.nft"
CONFIGURATION = f"""\
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
secret = "unused"
[relay]
interfaces = [{{ address = "{RELAY}" }}]
"""
ASK = f"""
import socket, sys
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(0.2)
asked.connect(("{RELAY}", int(sys.argv[1])))
asked.send(b"x")
try:
    asked.recv(1)
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silent")
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.public("relay", RELAY)
        made.public("x", "198.51.100.66")
        unlimited = made.command("relay", ["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"])
        subprocess.run(unlimited, check=True)
        yield made


def output(lab: Lab, node: str, *words: str) -> str:
    command = lab.command(node, [sys.executable, *words])
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_free_ports_of_the_range_are_silent_and_others_as_before(lab: Lab) -> None:
    asked = (23999, 24000, 25000, 26767, 26768)
    assert {output(lab, "x", "-c", ASK, str(port)) for port in asked} == {"refused"}
    for _ in range(2):  # loaded again it is the same
        lab.filter("relay", RULE)
    told = [output(lab, "x", "-c", ASK, str(port)) for port in asked]
    assert told == ["refused", "silent", "silent", "silent", "refused"]


def test_check_says_whether_it_works(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "jingle-hnt.toml"
    file.write_text(CONFIGURATION)
    words = ("-m", "jingle_hnt", "check", "--offline", "--json", "--config", str(file))

    def verdict() -> tuple[str, str]:
        told = json.loads(output(lab, "relay", *words))
        scans = next(finding for finding in told if finding["subject"] == f"scans of {RELAY}")
        return scans["verdict"], scans["text"]

    assert verdict()[0] == "warn"
    assert "config/nftables/jingle-hnt.nft" in verdict()[1]
    lab.filter("relay", RULE)
    assert verdict()[0] == "ok"
