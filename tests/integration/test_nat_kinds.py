"""The lab's NATs are what they are called: which port they map, and who may send to it."""

import json
import subprocess
import sys

import pytest

from tests.lab.world import Lab, NatKind

pytestmark = pytest.mark.integration

HERE, OTHER = "203.0.113.20", "203.0.113.21"

# Asks one public host, later another one, from the same port; tells who got back in.
INSIDE = """
import json, socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind((sys.argv[1], 7000))
own.settimeout(60.0)
own.sendto(b"hello", ("203.0.113.20", 5000))
heard = set()
try:
    while True:
        datagram, source = own.recvfrom(100)
        heard.add(datagram.decode())
        if datagram == b"same":  # the last that is sent
            own.settimeout(1.0)
            own.sendto(b"hello", ("203.0.113.21", 5001))
except TimeoutError:
    print(json.dumps(sorted(heard)))
"""
# Answers from the port that was asked, from another one, and lets the other host try as well.
OUTSIDE = """
import socket, sys
asked, another = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
asked.bind(("203.0.113.20", 5000))
another.bind(("203.0.113.20", 5002))
print("ready", flush=True)
asked.settimeout(60.0)
_, source = asked.recvfrom(100)
print(source[1], flush=True)
another.sendto(b"another port", source)
sys.stdin.readline()
asked.sendto(b"same", source)
"""
BYSTANDER = """
import socket, sys
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(("203.0.113.21", 5001))
print("ready", flush=True)
port = int(sys.stdin.readline())
own.sendto(b"another host", (sys.argv[1], port))
print("sent", flush=True)
own.settimeout(60.0)
_, source = own.recvfrom(100)
print(source[1], flush=True)
"""


def started(lab: Lab, node: str, program: str, *arguments: str) -> "subprocess.Popen[str]":
    command = lab.command(node, [sys.executable, "-c", program, *arguments])
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")


FILTERING = {
    NatKind.FULL_CONE: ["another host", "another port", "same"],
    NatKind.ADDRESS_RESTRICTED: ["another port", "same"],
    NatKind.PORT_RESTRICTED: ["same"],
    NatKind.SYMMETRIC: ["same"],
    NatKind.TWO_IN_A_ROW: ["same"],
}
ONE_PORT_FOR_ALL = {NatKind.FULL_CONE, NatKind.ADDRESS_RESTRICTED, NatKind.PORT_RESTRICTED}


@pytest.mark.parametrize("kind", list(FILTERING))
def test_it_maps_and_filters_as_its_name_says(kind: NatKind) -> None:
    with Lab() as lab:
        lab.public("here", HERE)
        lab.public("other", OTHER)
        inside, public = lab.site("home", kind)
        with (
            started(lab, "here", OUTSIDE) as outside,
            started(lab, "other", BYSTANDER, public) as bystander,
        ):
            assert (line(outside), line(bystander)) == ("ready", "ready")
            with started(lab, "home", INSIDE, inside) as host:
                first = line(outside)
                say(bystander, first)
                assert line(bystander) == "sent"
                say(outside, "")
                second = line(bystander)
                assert json.loads(line(host)) == FILTERING[kind]
        assert (first == second) is (kind in ONE_PORT_FOR_ALL)
