"""One contract for both engines: what `plane/api.py` promises, on real sockets."""

import contextlib
import os
import socket
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from jingle_hnt.errors import (
    AddressUnavailable,
    DuplicateBinding,
    PortTaken,
    UnknownBinding,
)
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.relay.binding import (
    NOMINAL_PACKETS_PER_S,
    Arm,
    BindingSpec,
    Drained,
    Flow,
    Gate,
    Latched,
    Rivalry,
)
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import (
    ALICE,
    BOB,
    PATIENCE_S,
    RELAY,
    STRANGER,
    Bound,
    Party,
    anybody,
    free_port,
    next_events,
    only,
    talk,
    until,
)
from tests.plane.packets import dtls, rtcp, rtp, stun

pytestmark = pytest.mark.native


@pytest.mark.rule("L3")
def test_each_hears_the_other_once_both_were_heard(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        event = next_events(engine, Latched)[0]
        assert isinstance(event, Latched)
        assert 0 < event.after_s < 1
        expected = Latched(bound.name, 0, 0, alice.name, False, event.after_s, (1, 1))
        assert event == expected
        pinhole = bound.pinhole(0)
        assert pinhole.learned == alice.name
        assert pinhole.source_auth is SourceAuth.SIGNALLING_ADDRESS
        assert pinhole.counters.received_packets == 2
        assert pinhole.counters.dropped_unlatched == 1
        assert bound.pinhole(1).counters.sent_packets == 1


@pytest.mark.rule("G1")
def test_a_shut_latch_hears_nothing(engine: Engine) -> None:
    bound = Bound(engine)
    bound.open()
    with bound.party(0, ALICE) as alice:
        alice.say(rtp(1))
        assert alice.hears_nothing()
        assert bound.pinhole(0).state is LatchState.SHUT
        assert bound.pinhole(0).learned is None


@pytest.mark.rule("L6", "L7")
def test_strangers_get_no_answer_and_no_latch(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, STRANGER) as stranger,
    ):
        stranger.socket.connect(stranger.relay)
        for _ in range(3):
            stranger.socket.send(rtp(1))
        assert stranger.hears_nothing()
        assert bound.pinhole(0).state is LatchState.ARMED
        talk(bound, alice, bob)
        for datagram in (rtp(9), rtcp(), b"\x80\0\0\0", stun(), b"junk", b"", b"x" * 65507):
            stranger.socket.send(datagram)
        assert bob.hears_nothing()
        stranger.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):  # ECONNREFUSED here would be an answer
            stranger.socket.recv(1)
        alice.say(rtp(3))
        assert bob.hears(rtp(3))


def test_the_kernel_keeps_strangers_from_the_native_engine() -> None:
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, STRANGER) as stranger:
            for number in range(50):
                stranger.say(rtp(number))
            until(lambda: bound.pinhole(0).counters.dropped_kernel == 50)
            assert bound.pinhole(0).counters.dropped_stranger == 0


def test_the_kernel_keeps_them_out_after_the_latch_as_well() -> None:
    """Also where the evidence would have let them try: the latch has narrowed it to one address."""
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine)
        bound.arm(0, anybody())
        with bound.party(0, ALICE) as alice, bound.party(0, STRANGER) as stranger:
            for number in range(6):
                alice.say(rtp(number))
            until(lambda: bound.pinhole(0).learned == alice.name)
            for number in range(50):
                stranger.say(rtp(number))
            until(lambda: bound.pinhole(0).counters.dropped_kernel == 50)
            counters = bound.pinhole(0).counters
            assert counters.dropped_rival == counters.dropped_stranger == 0


def test_who_is_refused_is_not_admitted(engine: Engine) -> None:
    bound = Bound(engine)
    evidence = replace(only("127.0.0.0/8"), refused=(ip_network(ALICE),))
    bound.arm(0, evidence)
    with bound.party(0, ALICE) as alice, bound.party(0, BOB) as bob:
        alice.say(rtp(1))
        assert alice.hears_nothing()
        assert bound.pinhole(0).state is LatchState.ARMED
        bob.say(rtp(1))
        until(lambda: bound.pinhole(0).learned == bob.name)


def test_evidence_too_long_for_a_filter_still_holds(engine: Engine) -> None:
    bound = Bound(engine)
    refused = tuple(ip_network(f"198.51.100.{n}") for n in range(250))
    bound.arm(0, replace(only(ALICE), refused=refused))
    with bound.party(0, STRANGER) as stranger, bound.party(0, ALICE) as alice:
        stranger.say(rtp(1))
        alice.say(rtp(1))
        until(lambda: bound.pinhole(0).learned == alice.name)


@pytest.mark.rule("G2", "G4", "G6")
def test_the_gate_lets_through_what_it_says(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        bound.open(Flow.CLOSED, Flow.OPEN)
        alice.say(rtp(3))
        alice.say(rtcp())
        assert bob.hears_nothing()
        bob.say(rtp(2, ssrc=2))
        assert alice.hears(rtp(2, ssrc=2))
        bound.open(Flow.HELD, Flow.OPEN)
        alice.say(rtp(4))
        alice.say(rtcp())
        assert bob.hears(rtcp())
        bound.open(Flow.NOMINAL, Flow.OPEN)
        alice.say(rtp(5))
        alice.say(dtls())
        assert bob.hears(dtls())
        assert bob.hears_nothing()
        for _ in range(5 * NOMINAL_PACKETS_PER_S):
            alice.say(stun())
        until(lambda: bound.pinhole(0).counters.dropped_gate >= 2 * NOMINAL_PACKETS_PER_S)


@pytest.mark.rule("L4")
def test_a_rival_of_the_same_address_is_told_and_not_heard(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, ALICE) as rival,
    ):
        talk(bound, alice, bob)
        rival.say(rtp(3, ssrc=9))
        (event,) = next_events(engine, Rivalry)
        assert event == Rivalry(bound.name, 0, rival.name)
        assert bob.hears_nothing()
        alice.say(rtp(3))
        assert bob.hears(rtp(3))


@pytest.mark.rule("L5")
def test_a_remapped_stream_heals_after_a_second_of_silence(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, ALICE) as again,
    ):
        talk(bound, alice, bob)
        time.sleep(1.1)
        for number in range(3, 8):
            again.say(rtp(number))
        assert bob.hears(rtp(7))
        events = next_events(engine, Latched)
        assert any(isinstance(event, Latched) and event.relatched for event in events)
        bob.say(rtp(3, ssrc=2))
        assert again.hears(rtp(3, ssrc=2))
        assert alice.hears_nothing()


def test_an_unknown_party_is_on_probation_and_nobody_wins_while_two_compete(
    engine: Engine,
) -> None:
    bound = Bound(engine)
    bound.arm(0, anybody())
    with bound.party(0, ALICE) as alice, bound.party(0, STRANGER) as stranger:
        for number in range(20):
            alice.say(rtp(number))
            stranger.say(rtp(number, ssrc=9))
            if number == 0:
                until(lambda: bound.pinhole(0).counters.dropped_rival > 0)
        assert bound.pinhole(0).state is LatchState.ARMED
        time.sleep(1.1)
        for number in range(20, 26):
            alice.say(rtp(number))
        until(lambda: bound.pinhole(0).learned == alice.name)


@pytest.mark.rule("L4")
def test_a_greater_generation_makes_the_learned_source_obsolete(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
        bound.party(0, ALICE) as moved,
    ):
        talk(bound, alice, bob)
        assert not bound.arm(0, only(ALICE), generation=0)
        assert bound.pinhole(0).learned == alice.name
        assert bound.arm(0, only(ALICE), generation=1)
        bob.say(rtp(2, ssrc=2))
        assert alice.hears_nothing()
        moved.say(rtp(50))
        assert bob.hears(rtp(50))
        bob.say(rtp(3, ssrc=2))
        assert moved.hears(rtp(3, ssrc=2))


def test_what_came_before_a_latch_is_armed_anew_goes_on(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        for generation in range(1, 100):
            hers, his = ([rtp(3 * generation + n, ssrc) for n in range(3)] for ssrc in (1, 2))
            for from_alice, from_bob in zip(hers, his, strict=True):
                bob.say(from_bob)
                alice.say(from_alice)
            assert bound.arm(0, only(ALICE), generation)
            assert all(bob.hears(datagram) for datagram in hers)
            assert all(alice.hears(datagram) for datagram in his)
            alice.say(rtp(3 * generation + 3))  # the new generation's first
            assert bob.hears(rtp(3 * generation + 3))


def test_a_new_life_goes_on_with_what_was_learned(engine: Engine) -> None:
    bound = Bound(engine)
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        engine.arm(Arm(bound.name, 0, 3, only(ALICE), resume=alice.name))
        bound.arm(1, only(BOB))
        bound.open()
        bob.say(rtp(1, ssrc=2))
        assert alice.hears(rtp(1, ssrc=2))


def test_bind_makes_all_or_none(engine: Engine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind((RELAY, 0))
        taken = TransportAddress.of(RELAY, foreign.getsockname()[1])
        free = [TransportAddress.of(RELAY, free_port(RELAY)) for _ in range(3)]
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(PortTaken, match=str(taken.port)) as caught:
            engine.bind(
                [BindingSpec("one", (free[0], free[1])), BindingSpec("two", (free[2], taken))]
            )
        assert len(os.listdir("/proc/self/fd")) == before
        assert engine.snapshot() == []
    assert caught.value.address == str(taken)
    elsewhere = TransportAddress.of("203.0.113.9", 4000)
    with pytest.raises(AddressUnavailable, match=r"203\.0\.113\.9"):
        engine.bind([BindingSpec("one", (free[0], elsewhere))])
    engine.bind([BindingSpec("one", (free[0], free[1]))])
    with pytest.raises(DuplicateBinding):
        engine.bind([BindingSpec("one", (free[2], free[2]))])


@pytest.mark.rule("G7")
def test_release_frees_the_ports_at_once_or_when_they_were_idle(engine: Engine) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        engine.release(bound.name, 0.4)
        (snapshot,) = engine.snapshot()
        assert snapshot.draining
        with pytest.raises(UnknownBinding):
            bound.open()
        alice.say(rtp(3))
        assert bob.hears_nothing()
        (drained,) = next_events(engine, Drained)
        assert isinstance(drained, Drained)
        assert drained.name == bound.name
        assert [p.bound.port for p in drained.pinholes] == list(bound.ports)
        assert drained.pinholes[0].counters.received_packets == 2
    assert engine.snapshot() == []
    first, second = (TransportAddress.of(RELAY, port) for port in bound.ports)
    engine.bind([BindingSpec(bound.name, (first, second))])
    engine.release(bound.name, 0)
    next_events(engine, Drained)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_name_is_free_again_before_its_end_was_told(engine: Engine) -> None:
    bound = Bound(engine)
    engine.release(bound.name, 0)
    again = Bound(engine, bound.name).ready()
    next_events(engine, Drained)
    with again.party(0, ALICE) as alice, again.party(1, BOB) as bob:
        talk(again, alice, bob)


def test_a_stale_sender_keeps_its_ports_from_the_next_call(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        engine.release(bound.name, 0.3)
        for number in range(8):
            alice.say(rtp(number + 3))
            time.sleep(0.1)
        assert [b.draining for b in engine.snapshot()] == [True]
        next_events(engine, Drained)


def test_unknown_bindings_are_named(engine: Engine) -> None:
    with pytest.raises(UnknownBinding, match="nobody"):
        engine.gate(Gate("nobody", (Flow.OPEN, Flow.OPEN)))
    with pytest.raises(UnknownBinding, match="nobody"):
        engine.arm(Arm("nobody", 0, 0, only(ALICE)))
    with pytest.raises(UnknownBinding, match="nobody"):
        engine.release("nobody", 0)
    assert engine.snapshot(["nobody"]) == []


@pytest.mark.rule("G8")
def test_one_side_may_be_ipv6(engine: Engine) -> None:
    first = TransportAddress.of(RELAY, free_port(RELAY))
    second = TransportAddress.of("::1", free_port("::1"))
    engine.bind([BindingSpec("mixed", (first, second))])
    engine.arm(Arm("mixed", 0, 0, only(ALICE)))
    engine.arm(Arm("mixed", 1, 0, only("::1")))
    engine.gate(Gate("mixed", (Flow.OPEN, Flow.OPEN)))
    with Party(ALICE, (RELAY, first.port)) as alice, Party("::1", ("::1", second.port)) as bob:
        alice.say(rtp(1))
        bob.say(rtp(1, ssrc=2))
        assert alice.hears(rtp(1, ssrc=2))
        alice.say(rtp(2))
        bob.socket.settimeout(PATIENCE_S)
        assert bob.socket.recv(2000) in (rtp(1), rtp(2))


def test_many_bindings_open_and_close_cleanly(engine: Engine) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        Bound(engine, f"b{number}")
    assert len(engine.snapshot()) == 100
    engine.close()
    engine.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_a_partys_icmp_errors_do_no_harm(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice:
        with bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
        for number in range(3, 20):  # nobody is at Bob's port: the kernel says so by ICMP
            alice.say(rtp(number))
        until(lambda: bound.pinhole(0).counters.received_packets >= 19)
        assert bound.pinhole(0).state is LatchState.LATCHED


def test_a_burst_to_nobody_costs_no_packet_but_by_the_network(engine: Engine) -> None:
    """The error of one packet is told to the next that is sent, which was not sent then."""
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice:
        with bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
        for first in range(3, 1003, 100):
            for number in range(first, first + 100):
                alice.say(rtp(number))
            until(lambda last=number: bound.pinhole(0).counters.received_packets == last)  # type: ignore[misc]
        counters = bound.pinhole(1).counters
        assert (counters.sent_packets, counters.dropped_send) == (1001, 0)
