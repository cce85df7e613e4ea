"""What docs/firewalls.md tells operators: rules that load, files with the ports of today."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.settings.model import RelayOptions
from tests.lab.world import RELAY, Lab

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
PAGE = (ROOT / "docs" / "firewalls.md").read_text()
FIRST, LAST = str(RelayOptions.model_fields["ports"].default).split("-")
HEAR = f"""
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("{RELAY}", int(sys.argv[1])))
heard.settimeout(float(sys.argv[2]))
print("bound", flush=True)
try:
    print(heard.recv(9).decode())
except TimeoutError:
    print("nothing")
"""


def test_the_profile_of_ufw_has_the_ports_of_the_relay() -> None:
    text = (CONFIG / "ufw" / "jingle-hnt").read_text()
    assert text.startswith("[jingle-hnt]\n")
    assert f"\nports={FIRST}:{LAST}/udp\n" in text


def test_the_service_of_firewalld_has_the_ports_of_the_relay() -> None:
    (port,) = ET.parse(CONFIG / "firewalld" / "jingle-hnt.xml").iter("port")
    assert port.attrib == {"protocol": "udp", "port": f"{FIRST}-{LAST}"}


def test_the_page_names_no_other_ports() -> None:
    assert set(re.findall(r"\b\d{5}-\d{5}\b", PAGE)) == {f"{FIRST}-{LAST}"}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.public("relay", RELAY)
        made.public("x", "198.51.100.66")
        yield made


def arrives(lab: Lab, port: str, patience_s: float) -> bool:
    """Whether a datagram from outside comes to a port of the relay's host."""
    command = lab.command("relay", [sys.executable, "-c", HEAR, port, str(patience_s)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hearing:
        assert hearing.stdout is not None
        assert hearing.stdout.readline() == "bound\n"
        send = f"import socket; socket.socket(2, 2).sendto(b'media', ('{RELAY}', {port}))"
        subprocess.run(lab.command("x", [sys.executable, "-c", send]), check=True)
        return hearing.stdout.read().strip() == "media"


@pytest.mark.integration
def test_the_rules_of_nftables_let_media_in_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    section = PAGE.partition("## nftables")[2].partition("\n## ")[0]
    accept, untracked = re.findall(r"(?ms)^```\n(.*?)^```$", section)
    rules = tmp_path / "rules.nft"
    rules.write_text(
        "table inet host {\n chain input {\n type filter hook input priority 0; policy drop;\n"
        f" ct state established,related accept\n {accept} }}\n}}\n{untracked}"
    )
    lab.filter("relay", rules)
    assert arrives(lab, FIRST, 20)
    assert arrives(lab, LAST, 20)
    assert not arrives(lab, str(int(LAST) + 1), 0.5)
