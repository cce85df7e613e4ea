"""What both engines promise at the edges: names used again, floods, silence, long evidence."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from jingle_hnt.errors import DescriptorsExhausted
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine, bind_error
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.binding import (
    Arm,
    BindingSpec,
    Drained,
    Flow,
    Gate,
    Heard,
    Rivalry,
    Side,
    Silent,
)
from jingle_hnt.relay.evidence import Evidence, Rung
from jingle_hnt.relay.latch import State
from jingle_hnt.relay.policing import Limits
from tests.plane.packets import report, rtp
from tests.plane.test_engines import (
    ALICE,
    BOB,
    RELAY,
    STRANGER,
    Bound,
    Party,
    free_port,
    next_events,
    only,
    talk,
    until,
)

pytestmark = pytest.mark.native


@pytest.fixture(params=[NativeEngine, ReferenceEngine], ids=["native", "reference"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = request.param()
    with contextlib.closing(made):
        yield made


def test_a_name_is_free_once_its_ports_are(engine: Engine) -> None:
    """Also before anybody has taken the event that says so."""
    first = Bound(engine)
    engine.release(first.name, 0)
    second = Bound(engine).ready()
    (drained,) = next_events(engine, Drained)
    assert isinstance(drained, Drained)
    assert [p.bound.port for p in drained.pinholes] == list(first.ports)
    assert [binding.name for binding in engine.snapshot()] == [second.name]
    with second.party(0, ALICE) as alice, second.party(1, BOB) as bob:
        talk(second, alice, bob)


def test_networks_of_the_other_version_refuse_nobody(engine: Engine) -> None:
    """The bytes of ::1 that an IPv4 filter would look at are those of 0.0.0.0."""
    ports = (free_port("::1"), free_port("::1"))
    first, second = (TransportAddress.of("::1", port) for port in ports)
    engine.bind([BindingSpec("six", (first, second))])
    evidence = Evidence(Rung.R5, (ip_network("::/0"),), (ip_network("0.0.0.0/8"),))
    engine.arm(Arm("six", 0, 0, evidence))
    with Party("::1", ("::1", first.port)) as alice:
        alice.say(rtp(1))
        until(lambda: engine.snapshot()[0].pinholes[0].learned == alice.name)


def test_evidence_too_long_for_a_filter_is_judged_by_the_latch(engine: Engine) -> None:
    bound = Bound(engine)
    refused = tuple(ip_network(f"198.51.{n // 250}.{n % 250}") for n in range(500))
    bound.arm(0, replace(only(ALICE), refused=refused))
    with bound.party(0, STRANGER) as stranger, bound.party(0, ALICE) as alice:
        stranger.say(rtp(1))
        until(lambda: bound.pinhole(0).counters.dropped_stranger == 1)
        alice.say(rtp(1))
        until(lambda: bound.pinhole(0).learned == alice.name)


def test_nobody_is_let_in_by_evidence_without_sources(engine: Engine) -> None:
    bound = Bound(engine)
    bound.arm(0, Evidence(Rung.R3, ()))
    with bound.party(0, ALICE) as alice:
        alice.say(rtp(1))
        assert alice.hears_nothing()
        assert bound.pinhole(0).state is State.ARMED


def test_an_order_of_datagrams_is_kept_over_the_latch(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        bob.say(rtp(1, ssrc=2))
        until(lambda: bound.pinhole(1).state is State.LATCHED)
        for number in range(1, 101):
            alice.say(rtp(number))
        assert [bob.hears(rtp(number)) for number in range(1, 101)] == [True] * 100


def test_a_flood_of_rivals_is_left_to_the_kernel() -> None:
    """The latched party goes on, and the process sees a few hundred rivals a second at most."""
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine).ready()
        with (
            bound.party(0, ALICE) as alice,
            bound.party(1, BOB) as bob,
            bound.party(0, ALICE) as rival,
        ):
            talk(bound, alice, bob)
            started = time.monotonic()
            for number in range(3, 53):
                for _ in range(200):
                    rival.say(rtp(number, ssrc=9))
                alice.say(rtp(number))
                assert bob.hears(rtp(number))
            seconds = time.monotonic() - started
            counters = bound.pinhole(0).counters
            # 200 a second, and what waited in the receive queue when the door was shut
            assert counters.dropped_rival <= 600 * (seconds + 1)
            assert counters.dropped_kernel > 5000
            assert counters.sent_packets == 1
            assert bound.pinhole(1).counters.sent_packets == 51
            assert all(e.source == rival.name for e in rivalries(engine))


def test_after_a_flood_of_rivals_a_remapped_stream_still_heals() -> None:
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine).ready()
        with (
            bound.party(0, ALICE) as alice,
            bound.party(1, BOB) as bob,
            bound.party(0, ALICE) as rival,
            bound.party(0, ALICE) as again,
        ):
            talk(bound, alice, bob)
            for number in range(1000):
                rival.say(rtp(number, ssrc=9))
            time.sleep(1.2)
            for number in range(3, 8):
                again.say(rtp(number))
            assert bob.hears(rtp(7))
            assert bound.pinhole(0).learned == again.name


def rivalries(engine: Engine) -> list[Rivalry]:
    return [event for event in engine.events() if isinstance(event, Rivalry)]


@pytest.mark.timeout(30)
def test_silence_is_told_once_and_so_is_its_end(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        number, deadline = 2, time.monotonic() + 7
        seen: list[object] = []
        while not any(isinstance(event, Silent) for event in seen):
            assert time.monotonic() < deadline
            bob.say(rtp(number, ssrc=2))
            number += 1
            time.sleep(0.1)
            seen += engine.events()
        (silent,) = [event for event in seen if isinstance(event, Silent)]
        assert (silent.name, silent.side) == (bound.name, 0)
        assert 5.0 <= silent.silent_s < 6.0
        alice.say(rtp(3))
        assert next_events(engine, Heard) == [Heard(bound.name, 0)]


def test_a_closed_gate_makes_no_silence() -> None:
    now = [100.0]
    with contextlib.closing(ReferenceEngine(clock=lambda: now[0])) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            bound.open(Flow.CLOSED, Flow.HELD)
            now[0] += 5.5
            (silent,) = next_events(engine, Silent)
            assert isinstance(silent, Silent)
            assert silent.side == 1


def test_a_stale_sender_cannot_keep_its_ports_for_ever() -> None:
    now = [100.0]
    with contextlib.closing(ReferenceEngine(clock=lambda: now[0])) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            engine.release(bound.name, 30)
            for _ in range(29):
                now[0] += 20
                alice.say(rtp(9))
                before = now[0]
                until(lambda at=before: busy_at(engine, bound) == at)  # type: ignore[misc]
            assert [binding.draining for binding in engine.snapshot()] == [True]
            now[0] += 20
            next_events(engine, Drained)
            assert engine.snapshot() == []


def busy_at(engine: ReferenceEngine, bound: Bound) -> float:
    return engine._bindings[bound.name].pinholes[0].busy_at


def test_calls_are_spread_over_workers_and_all_of_them_work() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.closing(NativeEngine(workers=4)) as engine:
        for number in range(8):
            bound = Bound(engine, f"b{number}").ready()
            with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
                talk(bound, alice, bob)
        engine.release("b3", 0)
        assert len(engine.snapshot()) == 7
    assert len(os.listdir("/proc/self/fd")) == before


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """No more than so many descriptors can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    with contextlib.ExitStack() as undo:
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        with contextlib.suppress(OSError):
            while True:
                undo.enter_context(socket.socket())
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit + count, hard))
        yield


def test_running_out_of_descriptors_is_told_and_costs_nobody_anything(engine: Engine) -> None:
    bound = Bound(engine).ready()
    ports = [TransportAddress.of(RELAY, free_port(RELAY)) for _ in range(8)]
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        with descriptors_left(3), pytest.raises(DescriptorsExhausted):
            engine.bind([BindingSpec(f"x{n}", (ports[n], ports[n + 4])) for n in range(4)])
        assert [binding.name for binding in engine.snapshot()] == [bound.name]
        with descriptors_left(0):
            talk(bound, alice, bob)  # no line can be made: the door serves alone
        alice.say(rtp(3))
        assert bob.hears(rtp(3))
    engine.bind([BindingSpec("x", (ports[0], ports[1]))])


def test_every_errno_of_a_bind_has_its_word() -> None:
    address = TransportAddress.of(RELAY, 4000)
    error = bind_error(address, OSError(28, "No space left on device"))
    assert isinstance(error, DescriptorsExhausted)
    assert str(address) in str(error)


def test_gates_of_two_sides_are_their_own(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        engine.gate(Gate(bound.name, (Flow.OPEN, Flow.CLOSED)))
        bob.say(rtp(2, ssrc=2))
        alice.say(rtp(3))
        assert bob.hears(rtp(3))
        until(lambda: bound.pinhole(1).counters.dropped_gate == 1)
        assert bound.pinhole(0).flow is Flow.OPEN
        assert bound.pinhole(1).flow is Flow.CLOSED


@pytest.mark.rule("L8")
@pytest.mark.parametrize(("size", "most"), [(172, 5), (400, 2), (1200, 0)])
def test_a_few_packets_may_go_to_a_public_candidate_unasked(
    engine: Engine, size: int, most: int
) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        early = Arm(bound.name, 1, 1, only(BOB), early=bob.name)
        assert engine.arm(early)
        for number in range(8):
            alice.say(rtp(sequence=number).ljust(size, b"."))
        until(lambda: bound.pinhole(0).counters.dropped_unlatched == 8 - most)
        for number in range(most):
            assert bob.hears(rtp(sequence=number).ljust(size, b"."))
        assert bob.hears_nothing()
        bob.say(rtp(0, ssrc=2))
        assert alice.hears(rtp(0, ssrc=2))
        assert not engine.arm(early), "a repeated order does not begin anew"


def test_how_well_a_side_is_heard_is_told_of_each_side(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        for number in (3, 5, 4, 4, 8):
            alice.say(rtp(number))
        until(lambda: bound.pinhole(0).counters.received_packets >= 6)
        said, back = report(middle=7), report(last=7)
        alice.say(said)
        until(lambda: bound.pinhole(0).counters.received_packets >= 7)
        bob.say(back)
        until(lambda: bound.pinhole(1).quality.round_trip_ms is not None)
        first, second = bound.pinhole(0).quality, bound.pinhole(1).quality
        assert (first.ssrc, first.lost, first.reordered, first.duplicates) == (1, 2, 1, 1)
        assert first.jitter_ms > 0
        assert first.round_trip_ms is None
        assert second.round_trip_ms is not None
        assert 0 <= second.round_trip_ms < 3000
        assert (second.ssrc, second.lost) == (2, 0)


@pytest.mark.parametrize("kind", [NativeEngine, ReferenceEngine])
def test_who_sends_too_much_is_cut_and_counted_and_the_other_side_is_not(
    kind: type[NativeEngine] | type[ReferenceEngine],
) -> None:
    with contextlib.closing(kind(limits=Limits(max_kbps=80))) as engine:  # 10,000 bytes
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            for number in range(3, 23):
                alice.say(rtp(number).ljust(3000, b"."))
            until(lambda: bound.pinhole(0).counters.received_packets == 22)
            dropped = bound.pinhole(0).counters.dropped_policed
            assert 10 <= dropped <= 17
            assert bound.pinhole(1).counters.sent_packets + dropped == 21
            assert bound.pinhole(1).counters.dropped_policed == 0


@pytest.mark.parametrize(("host", "parties"), [(RELAY, (ALICE, BOB)), ("::1", ("::1", "::1"))])
@pytest.mark.parametrize("kind", [NativeEngine, ReferenceEngine])
def test_what_is_sent_on_is_marked(
    kind: type[NativeEngine] | type[ReferenceEngine], host: str, parties: tuple[str, str]
) -> None:
    level, told, name = (
        (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS)
        if host == RELAY
        else (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS)
    )
    with contextlib.closing(kind(limits=Limits(dscp=46))) as engine:
        ports = (free_port(host), free_port(host))
        first, second = (TransportAddress.of(host, port) for port in ports)
        engine.bind([BindingSpec("a.1", (first, second))])
        sides: tuple[Side, Side] = (0, 1)
        for side in sides:
            engine.arm(Arm("a.1", side, 0, only(parties[side])))
        engine.gate(Gate("a.1", (Flow.OPEN, Flow.OPEN)))
        with Party(parties[0], (host, ports[0])) as a, Party(parties[1], (host, ports[1])) as b:
            b.socket.setsockopt(level, told, 1)
            b.say(rtp(1, ssrc=2))
            until(lambda: engine.snapshot()[0].pinholes[1].state is State.LATCHED)
            a.say(rtp(1))
            b.socket.settimeout(3)
            data, ancillary, _, _ = b.socket.recvmsg(2048, 64)
            ((_, kind_of, value),) = ancillary
            assert (data, kind_of, value[0]) == (rtp(1), name, 46 << 2)


def test_the_largest_datagram_goes_on_whole(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        for number in (3, 4):
            largest = rtp(number).ljust(65507, bytes((number,)))
            alice.say(largest)
            assert bob.hears(largest)
