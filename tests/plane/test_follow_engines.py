"""The latch follows its party on real sockets, doors and lines: both engines."""

import time
from dataclasses import replace

import pytest

from jingle_hnt.plane.api import Arm, Engine, Flow, StreamChanged
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import ALICE, BOB, Bound, Party, next_events, only, talk, until
from tests.plane.packets import rtcp, rtp

pytestmark = pytest.mark.native


def speak(party: Party, first: int, count: int, ssrc: int = 1) -> None:
    """So many packets, 20 ms apart."""
    for number in range(first, first + count):
        party.say(rtp(number, ssrc))
        time.sleep(0.02)


@pytest.mark.rule("L7")
def test_a_forged_datagram_before_the_first_packet_mutes_nobody(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(0, ALICE) as forger:
        forger.say(rtp(1, ssrc=9))
        until(lambda: bound.pinhole(0).state is LatchState.LATCHED)
        first = 0
        while bound.pinhole(0).learned != alice.name:
            assert first < 500
            speak(alice, first, 5)
            first += 5


@pytest.mark.rule("L4")
def test_another_ssrc_without_a_pause_is_heard_and_is_no_rival(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        speak(alice, 3, 10)
        speak(alice, 700, 30, ssrc=2)
        until(lambda: bound.pinhole(0).stream == (2, 729))
        assert bound.pinhole(0).counters.dropped_rival == 0


@pytest.mark.rule("L7")
def test_reports_from_another_port_move_nothing(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, ALICE) as other,
    ):
        talk(bound, alice, bob)
        speak(alice, 3, 110)
        time.sleep(1.1)
        for _ in range(10):
            other.say(rtcp(0xDEAD))
        until(lambda: bound.pinhole(0).counters.dropped_rival == 10)
        assert bound.pinhole(0).learned == alice.name


def test_another_stream_of_the_learned_source_is_told(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        speak(alice, 700, 70, ssrc=2)
        (event,) = next_events(engine, StreamChanged)
        assert isinstance(event, StreamChanged)
        assert (event.name, event.side, event.stream[0]) == (bound.name, 0, 2)


def test_a_new_plane_follows_the_stream_that_was_told_to_another_port(engine: Engine) -> None:
    """Row F28: the NAT has another port for the party when the plane is there again."""
    bound = Bound(engine)
    with (
        bound.party(0, ALICE) as before,
        bound.party(0, ALICE) as alice,
        bound.party(0, ALICE) as neighbour,
    ):
        order = Arm(bound.name, 0, 1, only(ALICE), before.name, stream=(1, 100))
        assert engine.arm(order)
        bound.arm(1, only(BOB))
        bound.open()
        began = time.monotonic()
        number = 0
        while bound.pinhole(0).learned != alice.name:
            assert time.monotonic() - began < 5
            neighbour.say(rtp(number, ssrc=9))
            if number % 2 == 0:
                alice.say(rtp(40_000 + number // 2))
            number += 1
            time.sleep(0.01)


@pytest.mark.rule("G4", "L7")
@pytest.mark.parametrize("flow", [Flow.OPEN, Flow.HOLDING])
def test_the_silence_of_who_holds_the_call_means_nothing(engine: Engine, flow: Flow) -> None:
    bound = Bound(engine)
    bound.arm(0, replace(only(ALICE), lapse_s=1.0))
    bound.arm(1, only(BOB))
    bound.open(flow, Flow.HELD)
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, ALICE) as neighbour,
    ):
        bob.say(rtp(1, ssrc=2))
        until(lambda: bound.pinhole(1).learned == bob.name)
        alice.say(rtp(1))
        assert bob.hears(rtp(1)), "music"
        speak(alice, 2, 110)
        until(lambda: bound.pinhole(0).stream == (1, 111))
        time.sleep(1.1)
        speak(neighbour, 0, 10, ssrc=9)
        taken = (Flow.OPEN, neighbour.name), (Flow.HOLDING, alice.name)
        until(lambda: bound.pinhole(0).learned == dict(taken)[flow])
        assert (bound.pinhole(0).counters.dropped_rival > 5) is (flow is Flow.HOLDING)
