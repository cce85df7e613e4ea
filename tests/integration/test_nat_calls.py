"""Calls through a real Prosody and real NATs, between phones that share no code with us."""

import asyncio
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest

from tests.lab.play import COMPONENTS, Caller, Event, Stage, delivered, descriptors, stage
from tests.lab.world import RELAY, NatKind
from tests.threats.doses import Measured

pytestmark = pytest.mark.integration
both = pytest.mark.usefixtures("each_server")
one = pytest.mark.usefixtures("either_server")
"""What NATs and phones do is the same whichever the server is."""

CANDIDATE = "{urn:xmpp:jingle:transports:raw-udp:1}candidate"


async def hang_up(caller: Caller, callee: Caller) -> None:
    """Both stop sending, then one hangs up: what was sent can be compared with what was heard."""
    for party in (caller, callee):
        party.tell("quiet")
        await party.stats()  # answered after the command before it
    await asyncio.gather(caller.settled(), callee.settled())
    after = len(callee.events)
    caller.tell("hangup")
    await callee.expect("ended", after=after)


async def talk(caller: Caller, callee: Caller, seconds: float) -> None:
    """One call from offer to hang-up."""
    after = len(caller.events)
    caller.tell("call", to=callee.jid)
    await caller.expect("accepted", after=after)
    await asyncio.sleep(seconds)
    await hang_up(caller, callee)


async def assert_heard(one: Caller, other: Caller, part: float = 0.995) -> None:
    """Both directions, both components: this part at least, nothing twice, nothing foreign."""
    stats = {one: await one.stats(), other: await other.stats()}
    for sender, receiver in ((one, other), (other, one)):
        for component in COMPONENTS:
            sent, heard = stats[sender][component], stats[receiver][component]
            share = delivered(sent, heard)
            assert share >= part, f"{sender.jid} {component}: {share:.4f} of {sent['sent']}"
            assert heard["duplicates"] == 0
            assert heard["foreign"] == 0


def candidates(stanza: str) -> list[dict[str, str]]:
    """The raw-udp candidates of a stanza, as their attributes."""
    return [dict(c.attrib) for c in ET.fromstring(stanza).iter(CANDIDATE)]


def with_action(caller: Caller, action: str) -> str:
    """The stanza of this action that a phone received."""
    return next(s for s in caller.stanzas if f'action="{action}"' in s)


def legs(call: Event) -> dict[tuple[int, str], Event]:
    """A call's legs by component and role."""
    (content,) = call["contents"]
    return {(c["component"], leg["leg"]): leg for c in content["components"] for leg in c["legs"]}


async def learns(at: Stage, role: str, wanted: Callable[[str], bool]) -> str:
    """Wait until the source that the relay has learned of a leg's RTP is as wanted."""

    def source(answer: Event) -> str:
        (call,) = answer["calls"]
        return str(legs(call)[1, role]["learned"] or "")

    return source(await at.relay.until(lambda a: wanted(source(a)), command="calls"))


@pytest.mark.rule("L1", "L3", "L6", "L12", "J7", "J12", "J13", "G2")
@both
async def test_a_call_connects_through_a_port_restricted_and_a_symmetric_nat() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(4)
        (call,) = await at.relay.calls()
        await hang_up(alice, bob)
        await assert_heard(alice, bob)

        for receiver, sender, action in (
            (bob, alice, "session-initiate"),
            (alice, bob, "session-accept"),
        ):
            stanza = with_action(receiver, action)
            assert ET.fromstring(stanza).get("from") == sender.jid
            rtp, rtcp = candidates(stanza)
            assert {rtp["ip"], rtcp["ip"]} == {RELAY}
            assert (rtp["component"], rtcp["component"]) == ("1", "2")
            assert rtp["type"] == rtcp["type"] == "relay"
            assert int(rtp["port"]) % 2 == 0
            assert int(rtcp["port"]) == int(rtp["port"]) + 1

        for leg in legs(call).values():
            party = alice if leg["leg"] == "initiator" else bob
            assert leg["source_auth"] == "signalling-address"
            assert leg["latch"] == "latched"
            assert leg["learned"].rpartition(":")[0] == party.public
            assert 0 < leg["latched_after_s"] < 4

        acks = [s for s in alice.stanzas if 'type="result"' in s]
        assert acks
        assert all(f'from="{bob.jid}"' in ack for ack in acks)

        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["calls"] == status["plane"]["bindings"] == status["ports"]["leased"] == 0


@pytest.mark.rule("J11")
@one
async def test_nothing_of_a_partys_addresses_reaches_the_other(record_property: Measured) -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await talk(alice, bob, seconds=0.5)
        for party, other in ((alice, bob), (bob, alice)):
            heard = "".join(party.stanzas)
            inside = re.findall(r"192\.0\.2\.\d+", heard)
            assert not inside
            assert other.public not in heard
        stanzas = len(alice.stanzas) + len(bob.stanzas)
        assert stanzas > 0
        record_property("stanzas", stanzas)


@one
async def test_the_same_call_without_us_has_no_media() -> None:
    async with stage(relayed=False) as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await talk(alice, bob, seconds=1.5)
        for party in (alice, bob):
            stats = await party.stats()
            assert all(stats[c]["sent"] > 0 for c in COMPONENTS)
            assert all(stats[c]["numbers"] == [] for c in COMPONENTS)


async def pairs(at: Stage, count: int) -> list[tuple[Caller, Caller]]:
    """So many pairs of phones, the callers in one site and the callees in another."""
    home, home_public = at.lab.site("home", NatKind.PORT_RESTRICTED)
    office, office_public = at.lab.site("office", NatKind.SYMMETRIC)
    made = []
    for number in range(count):
        port = 7000 + 2 * number
        caller = await at.phone_at("home", f"a{number}", home, home_public, port)
        callee = await at.phone_at("office", f"b{number}", office, office_public, port)
        made.append((caller, callee))
    return made


@pytest.mark.timeout(180)
@pytest.mark.rule("G7")
@one
async def test_twenty_calls_at_once_and_nothing_left_of_them() -> None:
    users = tuple(f"{side}{number}" for side in "ab" for number in range(20))
    async with stage(users) as at:
        processes = at.relay.processes.values()
        idle = await at.relay.status()
        descriptors_idle = [descriptors(p.pid) for p in processes]
        made = await pairs(at, 20)
        for caller, callee in made:
            caller.tell("call", to=callee.jid, sid="the same for all")
        for caller, _ in made:
            await caller.expect("accepted")
        await asyncio.sleep(3)
        status = await at.relay.status()
        assert status["calls"] == 20
        assert status["ports"]["leased"] == 80
        for caller, callee in made:
            await hang_up(caller, callee)
        for caller, callee in made:
            await assert_heard(caller, callee)
        after = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert after["ports"] == idle["ports"]
        assert after["calls"] == after["plane"]["bindings"] == 0
        assert after["tasks"] <= idle["tasks"]
        for _ in range(200):  # what writes the reports ends a moment later
            if [descriptors(p.pid) for p in processes] == descriptors_idle:
                break
            await asyncio.sleep(0.1)
        assert [descriptors(p.pid) for p in processes] == descriptors_idle


@pytest.mark.rule("L4", "L5")
@one
async def test_a_moved_port_is_followed_with_its_new_generation() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await bob.hears(20)
        alice.tell("move", port=9000)
        await bob.expect("stanza", lambda e: 'action="transport-info"' in e["xml"])
        told = candidates(with_action(bob, "transport-info"))
        assert [c["ip"] for c in told] == [RELAY, RELAY]
        assert {c["generation"] for c in told} == {"1"}
        await learns(at, "initiator", lambda source: source.endswith(":9000"))
        for party in (alice, bob):
            await party.hears(20)
        await hang_up(alice, bob)


@pytest.mark.rule("L5")
@one
async def test_a_nat_remapping_in_mid_call_heals_within_two_seconds() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        for party in (alice, bob):
            await party.hears(20)
        old = await learns(at, "initiator", bool)
        at.lab.remap("alice")
        await asyncio.sleep(0.1)  # what was on its way has passed, and nothing has healed yet
        broken = {party: (await party.stats())["rtp"]["sent"] for party in (alice, bob)}
        await asyncio.sleep(1.9)
        healed = {party: (await party.stats())["rtp"]["sent"] for party in (alice, bob)}
        new = await learns(at, "initiator", lambda source: source != old)
        assert new.startswith(alice.public)
        for sender, receiver in ((alice, bob), (bob, alice)):
            await receiver.hears(20)
            numbers = (await receiver.stats())["rtp"]["numbers"]
            first = min(number for number in numbers if number > broken[sender])
            assert first < healed[sender], "what was sent after two seconds is the first heard"
        await hang_up(alice, bob)


@one
async def test_a_declined_and_a_cancelled_call_leave_nothing() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        bob.tell("answer", how="decline")
        alice.tell("call", to=bob.jid)
        await alice.expect("ended")
        bob.tell("answer", how="ring")
        after = len(bob.events)
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing", after=after)
        assert (await at.relay.status())["calls"] == 1
        alice.tell("hangup")
        await bob.expect("ended", after=after)
        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["calls"] == status["ports"]["leased"] == 0
