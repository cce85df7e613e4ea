"""ICE that ends at the relay (aioice behind a real Prosody and real NATs), and what it heals."""

import asyncio
from collections.abc import Mapping
from itertools import combinations_with_replacement, pairwise

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_ice_calls import TAKING_PART, assert_talk, connect, through_us
from tests.integration.test_nat_calls import candidates, learns, legs, talk, with_action
from tests.lab.play import Caller, Stage, delivered, stage
from tests.lab.rtp import RTP_INTERVAL_S
from tests.lab.world import RELAY, RELAY6, SERVER6, NatKind

pytestmark = pytest.mark.integration

TERMINATE = '[ice]\nmode = "terminate"'
HEALED_S = 2.0


def told(party: Caller) -> str:
    """All that it was sent of its peer's agent."""
    return "".join(stanza for stanza in party.stanzas if "transports:ice-udp" in stanza)


@pytest.mark.timeout(120)
@pytest.mark.rule("I2")
async def test_every_pair_of_nats_talks_through_us_and_learns_nothing_of_the_other() -> None:
    kinds = list(NatKind)
    users = tuple(f"{role}{n}" for role in ("a", "b") for n in range(len(kinds)))
    async with stage(users=users, extra=TERMINATE) as at:
        callers = {kind: await at.ice_phone(f"a{n}", kind) for n, kind in enumerate(kinds)}
        callees = {kind: await at.ice_phone(f"b{n}", kind) for n, kind in enumerate(kinds)}
        for one, other in combinations_with_replacement(kinds, 2):
            alice, bob = callers[one], callees[other]
            for paths in await connect(alice, bob):
                assert through_us(paths)
            await assert_talk(alice, bob, seconds=0.3)
        for party in (*callers.values(), *callees.values()):
            heard = told(party)
            assert f'ip="{RELAY}"' in heard
            assert not any(f'"{p}' in heard for p in ("198.51.100.", "192.0.2.", "10."))


@pytest.mark.rule("I2")
async def test_neighbours_behind_one_nat_talk_through_us() -> None:
    """Each is told nothing of the other, so neither finds out how near it is."""
    async with stage(extra=TERMINATE) as at:
        alice = await at.ice_phone("alice", NatKind.PORT_RESTRICTED)
        inside = at.lab.neighbour("bob", of="alice")
        bob = await at.phone_at("bob", "bob", inside, alice.public, program="tests.lab.ice_phone")
        for paths in await connect(alice, bob):
            assert through_us(paths)
        await assert_talk(alice, bob)


@pytest.mark.rule("I2", "L12")
@pytest.mark.parametrize("trickle", [False, True])
async def test_both_components_are_two_contexts_towards_each_party(trickle: bool) -> None:
    extra = ("--components", "2", *(["--trickle"] if trickle else []))
    async with stage(extra=TERMINATE) as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, *extra)
        bob = await at.ice_phone("bob", NatKind.PORT_RESTRICTED, *extra)
        for paths in await connect(alice, bob):
            assert len(paths) == 2
            assert through_us(paths)
        (call,) = await at.relay.calls()
        (content,) = call["contents"]
        assert (content["ice"], content["path"]) == ("terminate", "relayed")
        for leg in legs(call).values():
            assert (leg["source_auth"], leg["latch"]) == ("ice-integrity", "latched")
            assert (leg["pair"], leg["check_failure"]) == ("prflx", None)
            assert leg["checks"]["answered"] > 0
        await assert_talk(alice, bob)
        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["calls"] == status["plane"]["bindings"] == status["ports"]["leased"] == 0


async def ice_phone(at: Stage, user: str, six: bool) -> Caller:
    if not six:
        return await at.ice_phone(user, NatKind.SYMMETRIC)
    address = at.lab.six_only(user, f"2001:db8:1::{'ab'.index(user[0]) + 10}")
    return await at.phone_at(
        user, user, address, address, server=SERVER6, extra=["--six"], program="tests.lab.ice_phone"
    )


@pytest.mark.rule("I4", "L2", "G8")
@pytest.mark.parametrize(("mode", "six"), [*zip(TAKING_PART, [True, False], strict=True)])
async def test_ipv6_only_talks_to_ipv4_only(six: bool, mode: IceMode) -> None:
    async with stage(six=True, extra=f'[ice]\nmode = "{mode}"') as at:
        alice, bob = await ice_phone(at, "alice", six), await ice_phone(at, "bob", not six)
        first, second = await connect(alice, bob)
        for paths, is_six in ((first, six), (second, not six)):
            assert [p.rpartition(":")[0] for p in paths] == [RELAY6 if is_six else RELAY]
        await assert_talk(alice, bob)


@pytest.mark.rule("I4")
@pytest.mark.parametrize("caller_is_agent", [True, False])
async def test_an_agent_talks_to_a_party_that_knows_raw_udp_only(caller_is_agent: bool) -> None:
    raw = "bob" if caller_is_agent else "alice"
    async with stage(extra=f'[ice]\nraw_udp = ["{raw}@*"]') as at:
        phones = {
            user: await (
                at.phone(user, NatKind.PORT_RESTRICTED)
                if user == raw
                else at.ice_phone(user, NatKind.SYMMETRIC, "--components", "2", "--like-raw")
            )
            for user in ("alice", "bob")
        }
        alice, bob = phones["alice"], phones["bob"]
        await talk(alice, bob, seconds=2)
        stats = {p: await p.stats() for p in (alice, bob)}
        for sender, receiver in ((alice, bob), (bob, alice)):
            for component, sent in stats[sender].items():
                assert delivered(sent, stats[receiver][component]) >= 0.99
                assert stats[receiver][component]["foreign"] == 0
        action = "session-initiate" if caller_is_agent else "session-accept"
        assert {c["ip"] for c in candidates(with_action(phones[raw], action))} == {RELAY}


def longest_gap_s(sent: int, numbers: list[int]) -> float:
    """Of what was sent, the longest time of which nothing was heard after it had begun.

    It is the time that a sender takes on an idle machine: on a busy one it is late by as much as
    all that heals is.
    """
    heard = sorted(number for number in numbers if number < sent)
    gaps = (after - before for before, after in pairwise(heard))
    return max(gaps, default=sent) * RTP_INTERVAL_S


async def connected_again(after: Mapping[Caller, int]) -> list[list[str]]:
    """The paths of all that restarted, once each has an outcome after so many of its events."""
    ends = [await p.expect("connected|unconnected", after=n) for p, n in after.items()]
    assert [end["event"] for end in ends] == ["connected"] * len(ends), ends
    return [end["paths"] for end in ends]


async def assert_healed(one: Caller, other: Caller) -> None:
    """Neither was unheard for longer than it may be, and both are heard at the end."""
    for party in (one, other):
        party.tell("quiet")
    stats = {party: (await party.settled())["rtp"] for party in (one, other)}
    for sender, receiver in ((one, other), (other, one)):
        sent, numbers = stats[sender]["sent"], stats[receiver]["numbers"]
        gap_s = longest_gap_s(sent, numbers)
        assert gap_s <= HEALED_S, f"{sender.jid} was not heard for {gap_s:.2f} s"
        assert sent - max(numbers) <= 5


@pytest.mark.rule("I2", "I3", "L4")
@pytest.mark.parametrize(("mode", "who"), [*zip(TAKING_PART, ["alice", "bob"], strict=True)])
async def test_an_ice_restart_is_not_heard(mode: IceMode, who: str) -> None:
    async with stage(extra=f'[ice]\nmode = "{mode}"') as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC)
        await connect(alice, bob)
        (before,) = await at.relay.calls()
        after = {party: len(party.events) for party in (alice, bob)}
        (alice if who == "alice" else bob).tell("restart")
        for paths in await connected_again(after):
            assert through_us(paths)
        old = {legs(before)[1, role]["learned"] for role in ("initiator", "responder")}
        for role in ("initiator", "responder"):
            await learns(at, role, lambda source: source not in ("", *old))
        for party in (alice, bob):
            await party.hears(20)
        await assert_healed(alice, bob)


@pytest.mark.rule("I2", "I3", "L5")
@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("mode", TAKING_PART)
async def test_a_change_of_network_heals_within_two_seconds(mode: IceMode, who: str) -> None:
    """As a client does it that notices: it restarts ICE from its new address."""
    async with stage(extra=f'[ice]\nmode = "{mode}"') as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC)
        await connect(alice, bob)
        await asyncio.sleep(0.5)
        party, role = (alice, "initiator") if who == "alice" else (bob, "responder")
        after = {each: len(each.events) for each in (alice, bob)}
        public = at.lab.move(who)
        party.tell("restart")
        await connected_again(after)
        await learns(at, role, lambda source: source.rpartition(":")[0] == public)
        for each in (alice, bob):
            await each.hears(20)
        await assert_healed(alice, bob)
