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
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from benchmarks.network import socket_in, udp_socket
from tests.lab.rtp import rtp
from tests.lab.world import RELAY, STRANGER
from tests.threats.anchors import PORTS, Call, Ours, Refused, ours
from tests.threats.attacker import forged
from tests.threats.field import BYSTANDER, Field, Outcome
from tests.threats.guards import Guard, check

PARTY, OTHER = (STRANGER, 9000), (STRANGER, 9002)
BATCH = 40
PACKETS = 8
SETTLING_S = 0.1
LOOP_S = 3.0
LOOPED = 10
LOOPS_FROM = 0.05
"""Two relays are tried at this dose and above."""
RELAY2 = "203.0.113.10"
PACKET_S, LOUD_PACKET_S = 0.02, 0.003
UNKNOWN_S, TALK_S, RESUMED_S = 7.0, 2.0, 1.0

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
    """One packet in a bystander's name; the caller's XMPP connection comes from elsewhere."""
    _watch(field)
    known = (field.home_public, STRANGER)
    call = await field.anchor.call(0, ((BYSTANDER, 5000), PARTY), known)
    with udp_socket(field.lab.namespace("x"), PARTY) as party, _raw(field) as raw:
        forged(raw, (BYSTANDER, 5000), (RELAY, call.ports[0][0]), rtp(b"v", 1, 1))
        for number in range(300):
            party.sendto(rtp(b"x", 2, number), (RELAY, call.ports[1][0]))
            await asyncio.sleep(0.002)
    await asyncio.sleep(SETTLING_S)
    known_party = _told(field, heard_from=1)
    await field.anchor.hang_up(0)
    told = [await s3_unknown(field, n, ip) for n, ip in enumerate((BYSTANDER, "192.168.1.2"), 1)]
    packets, seconds = (max(values) for values in zip(*told, strict=True))
    known_party.notes |= {"unknown": packets, "unknown_s": seconds}
    return known_party


async def s3_unknown(field: Field, number: int, signalled: str) -> tuple[int, float]:
    """Five packets in the name of a bystander of whom nothing is known but `signalled`.

    Returns how many packets it was sent then, and for how long.
    """
    call = await field.anchor.call(number, ((signalled, 5000), PARTY), ("", STRANGER))
    v = udp_socket(field.lab.namespace("v"), (BYSTANDER, 5000))
    with v, udp_socket(field.lab.namespace("x"), PARTY) as party, _raw(field) as raw:
        v.setblocking(False)
        for sequence in range(5):
            forged(raw, (BYSTANDER, 5000), (RELAY, call.ports[0][0]), rtp(b"v", 1, sequence))
        started = time.monotonic()
        arrived: list[float] = []
        for sequence in range(round(UNKNOWN_S / PACKET_S)):
            party.sendto(rtp(b"x", 2, sequence), (RELAY, call.ports[1][0]))
            await asyncio.sleep(started + (sequence + 1) * PACKET_S - time.monotonic())
            arrived += [time.monotonic() - started for _ in _waiting(v)]
    await field.anchor.hang_up(number)
    return len(arrived), max(arrived, default=0.0)


async def s4(field: Field) -> Outcome:
    """The callee is not heard any more, and the caller goes on; then the callee says a word."""
    consent_s = field.seconds(30.0, 6.0)
    if isinstance(field.anchor, Ours):
        field.anchor.allow(consent_s=consent_s)
    call = await field.anchor.call(0, (PARTY, OTHER), (STRANGER, STRANGER))
    namespace = field.lab.namespace("x")
    with udp_socket(namespace, PARTY) as party, udp_socket(namespace, OTHER) as other:
        other.setblocking(False)
        started, heard_at, resumed = time.monotonic(), 0.0, 0
        until_s = consent_s + TALK_S + 5.0
        for number in range(round((until_s + RESUMED_S) / PACKET_S)):
            at = number * PACKET_S
            party.sendto(rtp(b"x", 1, number), (RELAY, call.ports[0][0]))
            if at < TALK_S or 0 <= at - until_s < PACKET_S:
                other.sendto(rtp(b"x", 2, number), (RELAY, call.ports[1][0]))
            await asyncio.sleep(started + at + PACKET_S - time.monotonic())
            for _ in _waiting(other):
                heard_at = at if at < until_s else heard_at
                resumed += at >= until_s
    notes = {"allowed_s": consent_s, "sent_on_s": heard_at - TALK_S, "resumed": resumed}
    return Outcome(notes=notes)


async def p6(field: Field) -> Outcome:
    """ICE, append: one of two parties who conspire nominates in a bystander's name, once; the other
    sends as much as may be."""
    _watch(field)
    call = await field.anchor.guarded(0, (PARTY, OTHER), Guard.ICE)
    v = udp_socket(field.lab.namespace("v"), (BYSTANDER, 5000))
    namespace = field.lab.namespace("x")
    arrived: list[float] = []
    count = 0
    with v, udp_socket(namespace, PARTY) as one, udp_socket(namespace, OTHER) as other:
        v.setblocking(False)
        parties = zip((one, other), call.terms, call.ports, strict=True)
        for party, terms, ports in parties:
            for number in range(3):
                made = check(terms["own"], terms["peer"], terms["controlling"], 1, number)
                party.sendto(made, (RELAY, ports[0]))
                await asyncio.sleep(0.1)
        terms, ports = call.terms[0], call.ports[0]
        with _raw(field) as raw:
            made = check(terms["own"], terms["peer"], True, 1, 99)
            forged(raw, (BYSTANDER, 5000), (RELAY, ports[0]), made)
        started = time.monotonic()
        seconds = field.seconds(30.0, 6.0)
        while time.monotonic() - started < seconds:
            other.sendto(rtp(b"x", 2, count).ljust(1200, b"\x55"), (RELAY, call.ports[1][0]))
            count += 1
            await asyncio.sleep(started + count * LOUD_PACKET_S - time.monotonic())
            arrived += [time.monotonic() - started for _ in _waiting(v)]
    return _told(field, sent=count, unknown=len(arrived), unknown_s=max(arrived, default=0.0))


def as_unknown(outcome: Outcome) -> bool:
    """The bound of row S3; and the bystander was tried."""
    notes = outcome.notes
    return 0 < notes["unknown"] <= 250 and notes["unknown_s"] <= 5.0


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
    outcome = _told(field, injected=20, refused=refused)
    if isinstance(field.anchor, Ours) and field.dose >= LOOPS_FROM:
        outcome.notes |= await _two_relays(field, field.anchor)
    return outcome


async def _two_relays(field: Field, first: Ours) -> dict[str, float]:
    """A call on each of two relays of ours, whose remote parties are each other's ports.

    The attacker is the local party of both, and forges what each relay would send the other.
    """
    field.lab.public("relay2", RELAY2)
    async with ours(field.lab, node="relay2", address=RELAY2) as second:
        _watch(field, "relay2")
        before = _forwarded(field, "relay")
        legs = [
            (await anchor.call(1, (PARTY, (BYSTANDER, 5000)), (STRANGER, ""))).ports
            for anchor in (first, second)
        ]
        (near, far), (near2, far2) = ((leg[0] for leg in ports) for ports in legs)
        await first.move(1, 1, (RELAY2, far2), 1)
        await second.move(1, 1, (RELAY, far), 1)
        loops = [((RELAY2, far2), (RELAY, far)), ((RELAY2, near2), (RELAY, near))]
        with udp_socket(field.lab.namespace("x"), PARTY) as party, _raw(field) as raw:
            for number in range(LOOPED):
                for one, other in loops:
                    forged(raw, one, other, rtp(b"x", 1, number))
                    forged(raw, other, one, rtp(b"x", 2, number))
                for address, port in ((RELAY, near), (RELAY2, near2)):
                    party.sendto(rtp(b"x", 3, number), (address, port))
                await asyncio.sleep(0.02)
            await asyncio.sleep(LOOP_S - 1)
            settled = _forwarded(field, "relay") + _forwarded(field, "relay2") - before
            await asyncio.sleep(1)
        total = _forwarded(field, "relay") + _forwarded(field, "relay2") - before
    return {"injected2": 6 * LOOPED, "forwarded2": total, "going_on": total - settled}


def stopped(outcome: Outcome) -> bool:
    """Nobody was sent to for long who was not heard, and all of it once he was."""
    notes = outcome.notes
    whole = RESUMED_S / PACKET_S
    return notes["sent_on_s"] <= notes["allowed_s"] and notes["resumed"] >= 0.9 * whole


def hardly_reflected(outcome: Outcome) -> bool:
    """Nothing where the party is known, a bounded little where it is not."""
    notes = outcome.notes
    return notes["strayed"] == 0 and notes["unknown"] <= 250 and notes["unknown_s"] <= 5.0


def kept_in(outcome: Outcome) -> bool:
    """Nothing left towards anybody who had not asked for it."""
    return outcome.notes["strayed"] == 0


def cut(outcome: Outcome) -> bool:
    """No more left than came."""
    notes = outcome.notes
    between_two = notes.get("forwarded2", 0) <= notes.get("injected2", 0)
    return notes["forwarded"] <= notes["injected"] and between_two and not notes.get("going_on")


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


def _waiting(sink: socket.socket) -> Iterator[bytes]:
    """What has arrived."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield sink.recv(2048)


def _raw(field: Field) -> socket.socket:
    namespace = field.lab.namespace("x")
    return socket_in(namespace, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _forwarded(field: Field, node: str) -> int:
    return _counters(field, node)["forwarded"]


def _watch(field: Field, node: str = "relay") -> None:
    words = field.lab.command(node, ["nft", "-f", "-"])
    subprocess.run(words, input=RULES, text=True, check=True)


def _counters(field: Field, node: str) -> dict[str, int]:
    words = field.lab.command(node, ["nft", "-j", "list", "counters", "table", "inet", "threats"])
    listed = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["nftables"]
    return {
        item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item
    }


def _told(field: Field, **notes: float) -> Outcome:
    return Outcome(notes=dict(notes) | _counters(field, "relay"))
