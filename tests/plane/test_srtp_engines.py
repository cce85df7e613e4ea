"""What both engines promise of a party with SDES keys, on real sockets (`srtp-auth`)."""

import pytest

from jingle_hnt.plane.api import Engine
from jingle_hnt.relay.binding import Arm
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import ALICE, BOB, Bound, Party, anybody, only, until
from tests.plane.packets import rtcp, rtp
from tests.plane.sdes import Sender

pytestmark = pytest.mark.native


def protected(engine: Engine, sender: Sender) -> Bound:
    """Alice signs what she sends; Bob is known by his address."""
    bound = Bound(engine)
    assert bound.arm(0, signed(sender))
    assert bound.arm(1, only(BOB))
    bound.open()
    return bound


def signed(*senders: Sender) -> Evidence:
    tags = tuple(key for sender in senders for key in sender.keys)
    return Evidence(SourceAuth.SRTP_AUTH, anybody().sources, tags=tags)


def greet(bound: Bound, bob: Party) -> None:
    """Bob is heard, so that there is somebody to hear Alice."""
    bob.say(rtp(1))
    until(lambda: bound.pinhole(1).state is LatchState.LATCHED)


@pytest.mark.rule("L11", "L3")
def test_the_first_signed_packet_goes_on_and_none_before_it(engine: Engine) -> None:
    sender = Sender(1)
    bound = protected(engine, sender)
    with (
        bound.party(0, ALICE) as alice,
        bound.party(0, ALICE) as neighbour,
        bound.party(1, BOB) as bob,
    ):
        greet(bound, bob)
        for datagram in (rtp(1), rtcp(), Sender(2).rtp(1), b"junk"):
            neighbour.say(datagram)
        until(lambda: bound.pinhole(0).counters.dropped_unfit == 4)
        assert bound.pinhole(0).source_auth is SourceAuth.SRTP_AUTH
        first = sender.rtp(1)
        alice.say(first)
        assert bob.hears(first)
        bob.say(rtp(2))
        assert alice.hears(rtp(2))
        assert neighbour.hears_nothing()


@pytest.mark.rule("L11")
def test_the_learned_source_survives_a_choice_among_its_keys(engine: Engine) -> None:
    chosen, other = Sender(1), Sender(2)
    bound = Bound(engine)
    bound.arm(0, signed(chosen, other))
    bound.arm(1, only(BOB))
    bound.open()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        greet(bound, bob)
        alice.say(chosen.rtp(1))
        until(lambda: bound.pinhole(0).learned == alice.name)
        assert bound.arm(0, signed(chosen), generation=1)
        assert bound.pinhole(0).learned == alice.name
        last = chosen.rtp(2)
        alice.say(last)
        assert bob.hears(chosen.rtp(1))
        assert bob.hears(last)
        assert bound.arm(0, signed(other), generation=2)
        assert bound.pinhole(0).state is LatchState.ARMED


def test_another_kind_of_evidence_begins_anew(engine: Engine) -> None:
    sender = Sender(1)
    bound = protected(engine, sender)
    with bound.party(0, ALICE) as alice:
        alice.say(sender.rtp(1))
        until(lambda: bound.pinhole(0).learned == alice.name)
        assert bound.arm(0, only(ALICE), generation=1)
        assert bound.pinhole(0).learned is None
        alice.say(rtp(5))
        until(lambda: bound.pinhole(0).learned == alice.name)
        assert bound.arm(0, signed(sender), generation=2)
        assert bound.pinhole(0).learned is None
        alice.say(rtp(6))
        until(lambda: bound.pinhole(0).counters.dropped_unfit == 1)


def test_a_new_plane_takes_up_what_the_last_had_learned(engine: Engine) -> None:
    sender = Sender(1)
    bound = Bound(engine)
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        assert engine.arm(Arm(bound.name, 0, 3, signed(sender), resume=alice.name))
        bound.arm(1, only(BOB))
        bound.open()
        greet(bound, bob)
        assert alice.hears(rtp(1))
        alice.say(sender.rtp(9))
        assert bob.hears(sender.rtp(9))


@pytest.mark.rule("L5")
def test_a_party_that_moves_is_followed_by_its_tag_while_a_neighbour_sprays(
    engine: Engine,
) -> None:
    sender = Sender(1)
    bound = protected(engine, sender)
    with (
        bound.party(0, ALICE) as alice,
        bound.party(0, "127.0.0.9") as moved,
        bound.party(0, ALICE) as neighbour,
        bound.party(1, BOB) as bob,
    ):
        greet(bound, bob)
        alice.say(sender.rtp(1))
        until(lambda: bound.pinhole(0).learned == alice.name)
        stolen, sequence = sender.rtp(1), 2

        def has_moved() -> bool:
            nonlocal sequence
            for spray in (stolen, rtp(sequence), rtcp()):
                neighbour.say(spray)
            moved.say(sender.rtp(sequence))
            sequence += 1
            return bound.pinhole(0).learned == moved.name

        until(has_moved)
        bob.say(rtp(2))
        assert moved.hears(rtp(2))
        assert neighbour.hears_nothing()
