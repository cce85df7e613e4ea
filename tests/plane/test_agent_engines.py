"""What both engines promise where ICE ends at them: aioice is the party, which shares no code."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from unittest.mock import patch

import aioice
import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.binding import Arm, Side, Silent
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import CONSENT_LOST_S, Checks
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import (
    ALICE,
    BOB,
    STRANGER,
    Bound,
    Party,
    anybody,
    only,
    until,
)
from tests.plane.checks import check
from tests.plane.packets import dtls, rtp
from tests.plane.packets import stun as unsigned

pytestmark = pytest.mark.native


PATIENCE_S = 30.0


@dataclass
class Own:
    """Our agent in place of one party's: what it is called, and what it signs with."""

    ufrag: str
    pwd: str


OF_US = (Own("uuuu", "of-us-towards-alice-0123"), Own("vvvv", "of-us-towards-bob-456789"))


async def gathered(controlling: bool, address: str) -> aioice.Connection:
    """An agent that has one host candidate."""
    agent = aioice.Connection(controlling, components=1, use_ipv6=False)
    with patch("aioice.ice.get_host_addresses", return_value=[address]):
        await agent.gather_candidates()
    return agent


class Call:
    """A binding whose sides end ICE towards the agents that they are told of."""

    def __init__(self, engine: Engine) -> None:
        self.bound = Bound(engine)
        self.bound.open()
        self.generation = 0

    def arm(
        self, side: Side, agent: aioice.Connection, controlling: bool, asks: bool = True
    ) -> None:
        """What signalling does of our agent towards this one; it asks its candidate, or nobody."""
        own, theirs = OF_US[side], (agent.local_username, agent.local_password)
        (candidate,) = agent.local_candidates
        target = TransportAddress.of(candidate.host, candidate.port)
        checks = Checks(
            f"{theirs[0]}:{own.ufrag}",
            theirs[1],
            f"secret-{side}",
            tie_breaker=1 << 62,
            controlling=controlling,
            targets=(target,) if asks else (),
        )
        key = IceKey(f"{own.ufrag}:{theirs[0]}", own.pwd)
        evidence = Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=(key,))
        self.generation += 1
        order = Arm(self.bound.name, side, self.generation, evidence, checks=checks)
        assert self.bound.engine.arm(order)

    async def tell(self, side: Side, agent: aioice.Connection) -> None:
        """What signalling tells the party of us."""
        own = OF_US[side]
        agent.remote_username, agent.remote_password = own.ufrag, own.pwd
        port = self.bound.ports[side]
        await agent.add_remote_candidate(
            aioice.Candidate("1", 1, "udp", 2130706431, self.bound.relay, port, "host")
        )
        await agent.add_remote_candidate(None)

    async def join(self, side: Side, agent: aioice.Connection, controlling: bool = True) -> None:
        self.arm(side, agent, controlling)
        await self.tell(side, agent)
        await agent.connect()


@pytest.mark.rule("I2")
async def test_two_agents_that_know_only_us_talk_through_us(engine: Engine) -> None:
    call = Call(engine)
    alice, bob = await gathered(True, ALICE), await gathered(False, BOB)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(call.join(0, alice, False), call.join(1, bob, True))
        for one, other in ((alice, bob), (bob, alice)):
            for datagram in (rtp(1), dtls()):
                await one.send(datagram)
                assert await other.recv() == datagram
    for side, address in ((0, ALICE), (1, BOB)):
        pinhole = call.bound.pinhole(side)
        assert pinhole.state is LatchState.LATCHED
        assert pinhole.learned is not None
        assert str(pinhole.learned.ip) == address
        assert pinhole.counters.checks_answered > 0
    await asyncio.gather(alice.close(), bob.close())


@pytest.mark.rule("I2")
@pytest.mark.parametrize("theirs", [True, False])
async def test_a_role_that_both_want_is_settled(engine: Engine, theirs: bool) -> None:
    call = Call(engine)
    alice = await gathered(theirs, ALICE)
    async with asyncio.timeout(PATIENCE_S):
        await call.join(0, alice, controlling=theirs)
    await alice.close()


async def test_who_signs_with_other_credentials_is_counted(engine: Engine) -> None:
    """We ask it nothing here: an answer that it signs rightly would be believed."""
    call = Call(engine)
    alice = await gathered(True, ALICE)
    call.arm(0, alice, False, asks=False)
    await call.tell(0, alice)
    alice.remote_password = "what-was-not-signalled-0123"
    task = asyncio.create_task(alice.connect())
    await meanwhile(lambda: call.bound.pinhole(0).counters.dropped_unfit > 0)
    assert call.bound.pinhole(0).learned is None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await task
    await alice.close()


@pytest.mark.rule("I2", "L7")
async def test_who_cannot_sign_gets_no_answer_from_our_agent(engine: Engine) -> None:
    """Not even one that says why (RFC 8445 section 7.3): nothing is sent to who is nobody."""
    call = Call(engine)
    alice = await gathered(True, ALICE)
    call.arm(0, alice, False, asks=False)
    named = f"{OF_US[0].ufrag}:{alice.local_username}"
    forged = (unsigned(), check(named, "guessed", True), check("x:y", OF_US[0].pwd))
    with call.bound.party(0, STRANGER) as stranger:
        for datagram in forged:
            stranger.say(datagram)
        await meanwhile(lambda: call.bound.pinhole(0).counters.dropped_unfit == len(forged))
        assert call.bound.pinhole(0).learned is None
        assert call.bound.pinhole(0).counters.checks_answered == 0
        assert await in_thread(stranger.hears_nothing)
    await alice.close()


@contextlib.asynccontextmanager
async def beside_a_party_without(
    engine: Engine,
) -> AsyncIterator[tuple[Call, aioice.Connection, Party]]:
    """Alice's agent has joined, Bob's client has none; his first packet was heard."""
    call = Call(engine)
    alice = await gathered(True, ALICE)
    with call.bound.party(1, BOB) as bob:
        call.bound.arm(1, only(BOB))
        async with asyncio.timeout(PATIENCE_S):
            await call.join(0, alice, False)
            bob.say(rtp(1))
            assert await alice.recv() == rtp(1)
            yield call, alice, bob
    await alice.close()


@pytest.mark.rule("I4")
async def test_an_agent_and_a_party_without_talk_through_us(engine: Engine) -> None:
    async with beside_a_party_without(engine) as (_, alice, bob):
        await alice.send(rtp(2))
        assert await in_thread(lambda: bob.hears(rtp(2)))


@pytest.mark.rule("I4")
async def test_what_a_party_without_asks_goes_to_no_agent(engine: Engine) -> None:
    """Nothing unsigned is asked in our name."""
    async with beside_a_party_without(engine) as (call, _, bob):
        bob.say(check("a:b", "c"))
        await meanwhile(lambda: call.bound.pinhole(1).counters.dropped_unlatched == 1)


async def test_who_does_not_consent_any_more_is_forgotten_and_told() -> None:
    """RFC 7675. The C engine's rule is compared packet by packet; here the clock is ours."""
    later_s = [0.0]
    engine = ReferenceEngine(clock=lambda: time.monotonic() + later_s[0])
    with contextlib.closing(engine):
        call = Call(engine)
        alice = await gathered(True, ALICE)
        async with asyncio.timeout(PATIENCE_S):
            await call.join(0, alice, False)
        await alice.close()
        later_s[0] = CONSENT_LOST_S + 1.0
        await meanwhile(lambda: call.bound.pinhole(0).learned is None)
        assert any(isinstance(event, Silent) for event in engine.events())


async def in_thread(ask: Callable[[], bool]) -> bool:
    return await asyncio.to_thread(ask)


async def meanwhile(condition: Callable[[], bool]) -> None:
    """Wait for what comes while the agents go on."""
    await asyncio.to_thread(until, condition)


@pytest.mark.rule("I2")
async def test_who_has_asked_while_it_rang_is_asked_first_and_at_once(engine: Engine) -> None:
    """RFC 8445 section 7.3: it is answered before it has said its name."""
    call = Call(engine)
    bob = await gathered(False, BOB)
    own = OF_US[1]
    evidence = Evidence(
        SourceAuth.ICE_INTEGRITY, anybody().sources, keys=(IceKey(f"{own.ufrag}:", own.pwd),)
    )
    assert engine.arm(Arm(call.bound.name, 1, 0, evidence))
    await call.tell(1, bob)
    task = asyncio.create_task(bob.connect())
    await meanwhile(lambda: call.bound.pinhole(1).learned is not None)
    assert call.bound.pinhole(1).counters.checks_sent == 0
    call.arm(1, bob, True, asks=False)
    async with asyncio.timeout(PATIENCE_S):
        await task
    await meanwhile(lambda: call.bound.pinhole(1).counters.checks_answered >= 2)
    await bob.close()
