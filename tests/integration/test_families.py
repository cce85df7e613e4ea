"""Calls between IPv4 and IPv6, through a relay that has both (row F15)."""

import asyncio
import sys

import pytest

from tests.integration.test_nat_calls import assert_heard, candidates, talk, with_action
from tests.lab.play import COMPONENTS, MUTUAL_S, Caller, Stage, delivered, stage
from tests.lab.world import RELAY, RELAY6, SERVER6, STRANGER, NatKind
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = pytest.mark.integration

CALLS = doses.count(20)
"""Of each pair, one after the other."""
PROBATION_S = 2.0
HOME = "2001:db8:1::"
DUAL = "198.51.100.200"


async def phone(at: Stage, user: str, six: bool) -> Caller:
    """A phone behind an IPv4 NAT, or one that has IPv6 only."""
    if not six:
        return await at.phone(user, NatKind.PORT_RESTRICTED)
    address = at.lab.six_only(user, f"{HOME}{'ab'.index(user[0]) + 10}")
    return await at.phone_at(user, user, address, address, server=SERVER6)


async def heard(one: Caller, other: Caller, record: Measured, patience_s: float = MUTUAL_S) -> None:
    """Both hear each other, at the latest so long after both began; how well is noted."""
    stats = [await party.stats() for party in (one, other)]
    parts, packets = [], 0
    for sender, receiver in (stats, stats[::-1]):
        parts += [delivered(sender[name], receiver[name], patience_s) for name in COMPONENTS]
        packets += sum(sender[name]["sent"] for name in COMPONENTS)
        assert sum(receiver[name]["foreign"] for name in COMPONENTS) == 0
    record("packets", packets)
    record("live", round(min(parts), 4))
    assert min(parts) >= 0.995


@pytest.mark.rule("L2", "G8")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("caller", "callee"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["4-4", "6-4", "4-6", "6-6"],
)
async def test_each_party_is_told_an_address_that_it_can_use(
    caller: bool, callee: bool, record_property: Measured
) -> None:
    async with stage(six=True) as at:
        alice, bob = await phone(at, "alice", caller), await phone(at, "bob", callee)
        connected = 0
        for _ in range(CALLS):
            await talk(alice, bob, seconds=2)
            await assert_heard(alice, bob)
            connected += 1
        record_property("connected", connected)
        await heard(alice, bob, record_property)
        for party, six, action in (
            (alice, caller, "session-accept"),
            (bob, callee, "session-initiate"),
        ):
            told = {c["ip"] for c in candidates(with_action(party, action))}
            assert told == {RELAY6 if six else RELAY}


@pytest.mark.parametrize("media_six", [False, True], ids=["media-by-4", "media-by-6"])
async def test_a_party_of_both_may_signal_by_one_and_talk_by_the_other(
    media_six: bool, record_property: Measured
) -> None:
    """Its XMPP connection says nothing of where its media comes from: `candidate-address`."""
    async with stage(six=True) as at:
        at.lab.public("alice", DUAL)
        six = at.lab.also("alice", f"{HOME}10")
        own, server = (six, None) if media_six else (DUAL, SERVER6)
        alice = await at.phone_at("alice", "alice", own, own, server=server)
        bob = await phone(at, "bob", six=False)
        await talk(alice, bob, seconds=3)
        await heard(alice, bob, record_property, PROBATION_S)


@pytest.mark.rule("L7", "L10")
async def test_a_party_of_whom_nothing_is_known_is_heard_under_a_spray(
    record_property: Measured,
) -> None:
    """XMPP by IPv6, media by IPv4; a stranger sprays the whole range from before the call on."""
    async with stage(six=True) as at:
        at.lab.public("alice", DUAL)
        at.lab.also("alice", f"{HOME}10")
        at.lab.public("guest", STRANGER)
        alice = await at.phone_at("alice", "alice", DUAL, DUAL, server=SERVER6)
        bob = await phone(at, "bob", six=False)
        spray = await spraying(at)
        await asyncio.sleep(1.0)
        await talk(alice, bob, seconds=6)
        spray.terminate()
        await spray.wait()
        await heard(alice, bob, record_property, PROBATION_S)
        (barred,) = barred_sources(at)
        record_property("barred", barred)
        assert barred == STRANGER


async def spraying(at: Stage) -> asyncio.subprocess.Process:
    """One stream of RTP at each port of the range, with the sequence that a party would have."""
    command = at.lab.command("guest", [sys.executable, "-c", SPRAY, RELAY])
    return await asyncio.create_subprocess_exec(*command)


SPRAY = """
import random, socket, struct, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
began, sent = time.monotonic(), 0
while True:
    for port in range(30000, 31000):
        number = sent // 1000 % 65536
        packet = struct.pack(">BBHII", 0x80, 0, number, number * 160, 66).ljust(172, b"x")
        sender.sendto(packet, (sys.argv[1], port))
        sent += 1
        if sent % 40 == 0:
            time.sleep(max(0.0, sent / 4000 - (time.monotonic() - began)))
"""


def barred_sources(at: Stage) -> set[str]:
    """Whom the relay's log says it has barred."""
    lines = [line for line in at.relay.log_text().splitlines() if "source is barred" in line]
    return {
        word.split("=")[1].rpartition(":")[0]
        for line in lines
        for word in line.split()
        if word.startswith("source=")
    }


async def test_a_temporary_address_of_ipv6_may_follow_another(record_property: Measured) -> None:
    """RFC 8981: the XMPP connection keeps the old one, calls are made from the new one."""
    async with stage(six=True) as at:
        old = at.lab.six_only("alice", f"{HOME}10")
        new = f"{HOME[:-1]}0:a1b2:c3d4:e5f6:1"
        at.lab.add_address("alice", new)
        alice = await at.phone_at("alice", "alice", new, new, server=SERVER6, extra=("--from", old))
        bob = await phone(at, "bob", six=False)
        await talk(alice, bob, seconds=3)
        await heard(alice, bob, record_property)
