"""What both engines promise between two ICE agents, on real sockets."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial

import pytest
from aioice import stun as other

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.relay.binding import Arm, Flow, Gate, Latched
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_latch import LONGEST_KEPT
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import (
    ALICE,
    BOB,
    STRANGER,
    Bound,
    Party,
    anybody,
    next_events,
    only,
    until,
)
from tests.plane.checks import answer, believed, check
from tests.plane.packets import dtls, rtp

pytestmark = pytest.mark.native


OF_ALICE, OF_BOB = IceKey("B:A", "pwd-of-b"), IceKey("A:B", "pwd-of-a")
"""What Alice's checks are made with, and what Bob's."""


class Call:
    """A binding between two agents, armed and open, with a socket each."""

    def __init__(self, engine: Engine, stack: contextlib.ExitStack) -> None:
        self.bound = Bound(engine)
        self.arm(0, OF_ALICE)
        self.arm(1, OF_BOB)
        self.bound.open()
        self._stack = stack
        self.alice, self.bob = self.party(0, ALICE), self.party(1, BOB)

    def arm(self, side: int, *keys: IceKey, generation: int = 0) -> None:
        evidence = Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=keys)
        assert self.bound.arm(side, evidence, generation)

    def party(self, side: int, address: str) -> Party:
        return self._stack.enter_context(self.bound.party(side, address))

    def source(self, party: Party) -> TransportAddress:
        return TransportAddress.of(*party.socket.getsockname())

    def wait(self, side: int, party: Party) -> None:
        """Until this party is the selected source."""
        until(lambda: self.bound.pinhole(side).learned == self.source(party))

    def meet(self) -> "Call":
        """Both have asked, and so are known; neither has nominated."""
        self.alice.say(alices(b"alice known."))
        self.wait(0, self.alice)
        self.bob.say(bobs(b"bob is known"))
        self.wait(1, self.bob)
        assert self.bob.hears(alices(b"alice known."))
        assert self.alice.hears(bobs(b"bob is known"))
        return self


def alices(transaction: bytes, nominates: bool = False) -> bytes:
    return check(OF_ALICE.username, OF_ALICE.password, nominates, transaction)


def bobs(transaction: bytes, nominates: bool = False) -> bytes:
    return check(OF_BOB.username, OF_BOB.password, nominates, transaction)


@pytest.fixture
def call(engine: Engine) -> Iterator[Call]:
    with contextlib.ExitStack() as stack:
        yield Call(engine, stack)


@pytest.mark.rule("I3")
def test_who_checks_while_it_rings_is_answered_and_found_at_the_accept(engine: Engine) -> None:
    """RFC 8445 section 7.3: Bob knows what he was offered, and nobody knows Alice's source yet."""
    bound = Bound(engine)

    def arm(side: int, key: IceKey, generation: int) -> None:
        evidence = Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=(key,))
        assert bound.arm(side, evidence, generation)

    arm(1, IceKey("A:", "pwd-of-a"), 0)
    engine.gate(Gate(bound.name, (Flow.NOMINAL, Flow.NOMINAL)))
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        for forged in (check("A:B", "guessed"), check("C:B", "pwd-of-a"), answer("pwd-of-a")):
            bob.say(forged)
        bob.say(bobs(b"bob is early"))
        said = believed(bob.next(), b"pwd-of-a")
        assert said.transaction_id == b"bob is early"
        assert said.attributes["XOR-MAPPED-ADDRESS"] == bob.socket.getsockname()
        arm(0, OF_ALICE, 0)
        arm(1, OF_BOB, 1)
        engine.gate(Gate(bound.name, (Flow.WAITING, Flow.WAITING)))
        alice.say(alices(b"alice known."))
        until(lambda: bound.pinhole(0).state is LatchState.LATCHED)
        engine.gate(Gate(bound.name, (Flow.OPEN, Flow.OPEN)))
        assert alice.hears(bobs(b"bob is early"))
        assert bob.hears(alices(b"alice known."))
        bob.say(bobs(b"bob is known"))
        assert alice.hears(bobs(b"bob is known"))
        assert bob.hears_nothing()


@pytest.mark.rule("I3", "L3")
def test_checks_and_answers_go_on_as_they_came(call: Call) -> None:
    call.meet()
    call.alice.say(alices(b"alice asks.."))
    assert call.bob.hears(alices(b"alice asks.."))
    call.bob.say(answer("pwd-of-b", b"alice asks.."))
    assert call.alice.hears(answer("pwd-of-b", b"alice asks.."))


def test_media_goes_both_ways_once_both_are_known(call: Call) -> None:
    call.meet()
    call.alice.say(rtp(1))
    assert call.bob.hears(rtp(1))
    call.bob.say(dtls())
    assert call.alice.hears(dtls())


@pytest.mark.rule("L7", "I3")
def test_strangers_reach_nobody_and_learn_nothing(call: Call) -> None:
    call.meet()
    stranger = call.party(0, STRANGER)
    for datagram in (
        check("B:A", "guessed", nominates=True),
        check("A:B", "pwd-of-a", nominates=True),  # Bob's, at Alice's pinhole
        answer("pwd-of-b", b"bob is known"),
        rtp(1),
        dtls(),
    ):
        stranger.say(datagram)
    until(lambda: sum(dropped(call)) == 5)
    call.alice.say(rtp(2))
    assert call.bob.hears(rtp(2))
    assert call.bound.pinhole(0).learned == call.source(call.alice)
    stranger.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        stranger.socket.recv(1)


@pytest.mark.rule("L7")
def test_a_check_of_one_component_is_no_check_of_another(call: Call, engine: Engine) -> None:
    """All components of a session have the same keys: who repeats what was said to one of them to
    another is not believed there; who says something new is."""
    call.meet()
    second = Bound(engine, "call.1.2")
    assert second.arm(0, Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=(OF_ALICE,)))
    second.open()
    with second.party(0, STRANGER) as stranger, second.party(0, ALICE) as alice:
        stranger.say(alices(b"alice known."))
        until(lambda: second.pinhole(0).counters.dropped_rival == 1)
        assert second.pinhole(0).state is LatchState.ARMED
        alice.say(alices(b"alice again!"))
        until(lambda: second.pinhole(0).learned == call.source(alice))


def dropped(call: Call) -> tuple[int, int]:
    counters = call.bound.pinhole(0).counters
    return counters.dropped_stranger, counters.dropped_unfit


def test_a_check_that_comes_too_early_is_kept_until_the_other_agent_is_known(call: Call) -> None:
    """The last one; its answer finds its way, and no second copy of it is sent."""
    second = call.party(0, ALICE)
    call.alice.say(alices(b"too early..."))
    call.wait(0, call.alice)
    second.say(alices(b"early enough", nominates=True))
    until(lambda: call.bound.pinhole(0).counters.dropped_unlatched == 2)
    assert call.bound.pinhole(1).state is LatchState.ARMED
    call.bob.say(bobs(b"bob is known"))
    assert call.bob.hears(alices(b"early enough", nominates=True))
    call.bob.say(answer("pwd-of-b", b"early enough"))
    assert second.hears(bobs(b"bob is known"))
    assert second.hears(answer("pwd-of-b", b"early enough"))
    assert call.bob.hears_nothing()
    assert call.bound.pinhole(1).counters.sent_packets == 1


@pytest.mark.rule("I3")
def test_checks_wait_while_a_direct_path_has_its_head_start(call: Call) -> None:
    """Both are known and nothing of theirs goes on; then each gets the other's last check."""
    call.bound.open(Flow.WAITING, Flow.WAITING)
    for side, (party, check_of) in enumerate(((call.alice, alices), (call.bob, bobs))):
        party.say(check_of(b"first of %d..." % side))
        call.wait(side, party)
        party.say(check_of(b"the last of%d" % side, nominates=True))
        party.say(dtls())
        until(partial(kept_waiting, call, side))
    assert call.alice.hears_nothing()
    assert call.bob.hears_nothing()
    call.bound.open()
    assert call.bob.hears(alices(b"the last of0", nominates=True))
    assert call.alice.hears(bobs(b"the last of1", nominates=True))
    call.bob.say(answer("pwd-of-b", b"the last of0"))
    assert call.alice.hears(answer("pwd-of-b", b"the last of0"))
    call.bound.open()
    assert call.bob.hears_nothing()


def kept_waiting(call: Call, side: int) -> bool:
    """Whether two checks were kept, and the gate has stopped what is none."""
    counters = call.bound.pinhole(side).counters
    return (counters.dropped_unlatched, counters.dropped_gate) == (2, 1)


def test_what_is_not_signed_or_too_long_is_not_kept(call: Call) -> None:
    call.alice.say(alices(b"alice known."))
    call.wait(0, call.alice)
    call.alice.say(long_check())
    until(lambda: call.bound.pinhole(0).counters.dropped_unlatched == 2)
    call.alice.say(check("B:A", "guessed"))
    until(lambda: sum(dropped(call)) == 1)
    call.bob.say(bobs(b"bob is known"))
    call.wait(1, call.bob)
    assert call.bob.hears_nothing()


def long_check() -> bytes:
    """A check that is signed, and longer than one that is kept."""
    message = other.Message(other.Method.BINDING, other.Class.REQUEST)
    message.attributes["USERNAME"] = OF_ALICE.username
    message.attributes["SOFTWARE"] = "x" * LONGEST_KEPT
    message.add_message_integrity(OF_ALICE.password.encode())
    return bytes(message)


def test_each_answer_finds_the_socket_that_asked(call: Call) -> None:
    call.meet()
    second = call.party(0, ALICE)
    call.alice.say(alices(b"of the first"))
    second.say(alices(b"of the other"))
    assert call.bob.hears(alices(b"of the first"))
    assert call.bob.hears(alices(b"of the other"))
    call.bob.say(answer("pwd-of-b", b"of the other"))
    call.bob.say(answer("pwd-of-b", b"of the first"))
    assert second.hears(answer("pwd-of-b", b"of the other"))
    assert call.alice.hears(answer("pwd-of-b", b"of the first"))


@pytest.mark.rule("L5")
def test_media_follows_the_nomination(call: Call, engine: Engine) -> None:
    call.meet()
    engine.events()
    second = call.party(0, ALICE)
    second.say(alices(b"i am the one", nominates=True))
    assert call.bob.hears(alices(b"i am the one", nominates=True))
    call.wait(0, second)
    call.bob.say(rtp(1))
    assert second.hears(rtp(1))
    (event,) = next_events(engine, Latched)
    assert isinstance(event, Latched)
    assert (event.side, event.source, event.relatched) == (0, call.source(second), True)


def test_nothing_is_lost_while_a_nomination_is_followed(call: Call) -> None:
    """Neither of whom is left, which may be under way for a while yet."""
    call.meet()
    pair = call.alice, call.party(0, ALICE)
    sequence = 0
    for turn in range(1, 8):
        nominates = alices(b"number %5d" % turn, nominates=True)
        pair[turn % 2].say(nominates)
        assert call.bob.hears(nominates)
        until_then = time.monotonic() + 0.2
        while time.monotonic() < until_then:
            call.bob.say(rtp(sequence))  # who is silent is not given hundreds of packets at once
            said = {rtp(sequence + n) for n in range(20)}
            sequence += len(said)
            for datagram in said:
                pair[1 - turn % 2].say(datagram)
            assert {call.bob.next() for _ in said} == said, "some are lost, or came twice"


def test_the_other_partys_nomination_selects_whom_it_reaches(call: Call) -> None:
    call.meet()
    second = call.party(1, BOB)
    second.say(bobs(b"asked later."))
    assert call.alice.hears(bobs(b"asked later."))
    call.alice.say(alices(b"you it shall", nominates=True))
    assert second.hears(alices(b"you it shall", nominates=True))
    call.wait(1, second)


def test_a_restart_takes_the_agents_over_without_a_gap(call: Call) -> None:
    call.meet()
    call.arm(0, IceKey("B2:A2", "new-pwd"), OF_ALICE, generation=1)
    assert call.bound.pinhole(0).learned == call.source(call.alice)
    call.bob.say(rtp(1))
    assert call.alice.hears(rtp(1))
    call.alice.say(alices(b"the old ones"))
    assert call.bob.hears(alices(b"the old ones"))
    moved = call.party(0, "127.0.0.4")
    moved.say(check("B2:A2", "new-pwd", nominates=True))
    call.wait(0, moved)
    before = sum(dropped(call))
    call.alice.say(alices(b"too late now"))
    until(lambda: sum(dropped(call)) == before + 1)


@pytest.mark.rule("G4")
def test_a_hold_stops_media_and_lets_checks_through(call: Call) -> None:
    call.meet()
    call.bound.open(Flow.HELD, Flow.OPEN)
    call.alice.say(rtp(1))
    call.alice.say(alices(b"consent?...."))
    assert call.bob.hears(alices(b"consent?...."))
    assert call.bound.pinhole(0).counters.dropped_gate == 1


def test_a_plane_that_lost_its_memory_is_told_who_was_known(call: Call) -> None:
    home = call.source(call.alice)
    evidence = Evidence(SourceAuth.ICE_INTEGRITY, anybody().sources, keys=(OF_ALICE,))
    assert call.bound.engine.arm(Arm(call.bound.name, 0, 1, evidence, resume=home))
    call.bob.say(bobs(b"bob is known"))
    assert call.alice.hears(bobs(b"bob is known"))


def test_a_pinhole_can_become_another_kind(call: Call) -> None:
    """A transport that is no ICE follows the rules that it has."""
    call.meet()
    assert call.bound.arm(0, only(ALICE), generation=1)
    second = call.party(0, ALICE)
    second.say(rtp(1))
    assert call.bob.hears(rtp(1))
    second.say(alices(b"nothing here"))
    until(lambda: call.bound.pinhole(0).counters.received_packets >= 3)
    call.arm(0, OF_ALICE, generation=2)
    assert call.bound.pinhole(0).state is LatchState.ARMED
