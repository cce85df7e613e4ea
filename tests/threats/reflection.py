"""Rows S: the relay is made to send where it must not. What leaves it is counted by its kernel.

A party in `x` signals whatever it likes for the other one, and sends; `strayed` are the datagrams
that left the relay's ports towards anybody but `x`.
"""

import asyncio
import contextlib
import json
import random
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from benchmarks.network import socket_in, udp_socket
from tests.lab.rtp import rtp
from tests.lab.world import RELAY, STRANGER
from tests.threats.anchors import PORTS, Call, Refused
from tests.threats.attacker import forged
from tests.threats.field import BYSTANDER, Field, Outcome

PARTY, OTHER = (STRANGER, 9000), (STRANGER, 9002)
BATCH = 40
PACKETS = 8
SETTLING_S = 0.1
LOOP_S = 3.0

RULES = f"""
table inet threats {{
    counter strayed {{ }}
    counter forwarded {{ }}
    chain out {{
        type filter hook output priority 0
        udp sport {PORTS[0]}-{PORTS[1]} counter name forwarded
        udp sport {PORTS[0]}-{PORTS[1]} ip daddr != {STRANGER} counter name strayed
        udp sport {PORTS[0]}-{PORTS[1]} meta nfproto ipv6 counter name strayed
    }}
}}
"""

FOUR = """
127.0.0.0/8 0.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16
192.0.0.0/24 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 203.0.113.9/32
"""
SIX = """
::/128 ::1/128 fe80::/10 fc00::/7 fec0::/10 ff00::/8 2001::/23 100::/64 2001:db8::/32
"""


def encodings(chance: random.Random) -> Iterator[str]:
    """Addresses that are nobody's peer, in every form that some reader understands."""
    while True:
        network = ip_network(chance.choice(FOUR.split()))
        four = IPv4Address(int(network[0]) + chance.randrange(network.num_addresses))
        yield from _forms(four)
        wide = ip_network(chance.choice(SIX.split()))
        six = IPv6Address(int(wide[0]) + chance.randrange(wide.num_addresses))
        yield from (str(six), six.exploded, f"{six}%eth0")


def _forms(ip: IPv4Address) -> Iterator[str]:
    number, parts = int(ip), ip.packed
    yield str(ip)
    yield str(number)
    yield hex(number)
    yield ".".join(f"0{part:o}" for part in parts)
    yield ".".join(hex(part) for part in parts)
    yield f"{parts[0]}.{number & 0xFFFFFF}"
    yield f"{parts[0]}.{parts[1]}.{number & 0xFFFF}"
    yield f"::ffff:{ip}"
    yield f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"
    yield f"::{ip}"
    yield f"64:ff9b::{ip}"
    yield f"64:ff9b:1::{ip}"
    yield f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"


async def s1(field: Field) -> Outcome:
    """Candidates that are nobody's peer in 10^4 encodings, and packets in their names."""
    found = encodings(random.Random(1))
    return await _offers(field, [next(found) for _ in range(field.count(10_000))], forges=True)


async def s2(field: Field) -> Outcome:
    """The candidate is a bystander, who has not sent anything."""
    return await _offers(field, [BYSTANDER] * field.count(10_000), forges=False)


async def s3(field: Field) -> Outcome:
    """One packet in a bystander's name; the caller's XMPP connection comes from elsewhere (R3)."""
    _watch(field)
    known = (field.home_public, STRANGER)
    call = await field.anchor.call(0, ((BYSTANDER, 5000), PARTY), known)
    with udp_socket(field.lab.namespace("x"), PARTY) as party, _raw(field) as raw:
        forged(raw, (BYSTANDER, 5000), (RELAY, call.ports[0][0]), rtp(b"v", 1, 1))
        for number in range(300):
            party.sendto(rtp(b"x", 2, number), (RELAY, call.ports[1][0]))
            await asyncio.sleep(0.002)
    await asyncio.sleep(SETTLING_S)
    return _told(field, heard_from=1)


async def s5(field: Field) -> Outcome:
    """A call whose parties signal each other's ports at the relay; they send ten packets."""
    _watch(field)
    call = await field.anchor.call(0, (PARTY, OTHER), (STRANGER, STRANGER))
    ports = call.ports[0][0], call.ports[1][0]
    refused = 0
    for leg in (0, 1):
        try:
            await field.anchor.move(0, leg, (RELAY, ports[1 - leg]), 1)
        except (Refused, ValueError):
            refused += 1
    namespace = field.lab.namespace("x")
    with udp_socket(namespace, PARTY) as party, udp_socket(namespace, OTHER) as other:
        for number in range(10):
            for sender, port, ssrc in ((party, ports[0], 1), (other, ports[1], 2)):
                sender.sendto(rtp(b"x", ssrc, number), (RELAY, port))
            await asyncio.sleep(0.02)
        await asyncio.sleep(LOOP_S)
    return _told(field, injected=20, refused=refused)


def kept_in(outcome: Outcome) -> bool:
    """Nothing left towards anybody who had not asked for it."""
    return outcome.notes["strayed"] == 0


def cut(outcome: Outcome) -> bool:
    """No more left than came."""
    return outcome.notes["forwarded"] <= outcome.notes["injected"]


async def _offers(field: Field, texts: list[str], forges: bool) -> Outcome:
    _watch(field)
    refused = 0
    with udp_socket(field.lab.namespace("x"), PARTY) as party, _raw(field) as raw:
        for first in range(0, len(texts), BATCH):
            made: list[tuple[Call, str]] = []
            for number, text in enumerate(texts[first : first + BATCH], first):
                try:
                    made.append((await _offer(field, number, text), text))
                except (Refused, ValueError):
                    refused += 1
            for call, text in made:
                _send(party, raw, call, text, forges)
            await asyncio.sleep(SETTLING_S)
            for call, _ in made:
                await field.anchor.hang_up(call.number)
    return _told(field, offers=len(texts), refused=refused)


async def _offer(field: Field, number: int, text: str) -> Call:
    return await field.anchor.call(number, ((text, 5000), PARTY), ("", STRANGER))


def _send(party: socket.socket, raw: socket.socket, call: Call, text: str, forges: bool) -> None:
    """The party's packets, between those that somebody else sends in the candidate's name."""
    for number in range(PACKETS):
        if forges:
            with contextlib.suppress(ValueError, OSError):
                forged(raw, (text, 5000), (RELAY, call.ports[0][0]), rtp(b"v", 1, number))
        party.sendto(rtp(b"x", 2, number), (RELAY, call.ports[1][0]))


def _raw(field: Field) -> socket.socket:
    namespace = field.lab.namespace("x")
    return socket_in(namespace, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _watch(field: Field) -> None:
    words = field.lab.command("relay", ["nft", "-f", "-"])
    subprocess.run(words, input=RULES, text=True, check=True)


def _told(field: Field, **notes: float) -> Outcome:
    words = field.lab.command(
        "relay", ["nft", "-j", "list", "counters", "table", "inet", "threats"]
    )
    listed = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["nftables"]
    counted = {
        item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item
    }
    return Outcome(notes=dict(notes) | counted)
