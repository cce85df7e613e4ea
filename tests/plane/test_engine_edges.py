"""What both engines promise at the edges: names used again, floods, silence, long evidence."""

import contextlib
import os
import select
import socket
import time
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from jingle_hnt.errors import DescriptorsExhausted
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine, bind_error
from jingle_hnt.plane.native import NativeEngine, pack, pack_networks
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.barring import SUSPECT_PACKETS
from jingle_hnt.relay.binding import (
    SILENT_S,
    Arm,
    BindingSpec,
    Drained,
    Flow,
    Gate,
    Heard,
    Rivalry,
    Silent,
)
from jingle_hnt.relay.evidence import PROBATION_PACKETS, UNTOLD, Evidence, SourceAuth
from jingle_hnt.relay.latch import LatchState
from jingle_hnt.relay.policing import MediaLimits
from tests.plane import _twins
from tests.plane.bound import (
    ALICE,
    BOB,
    PATIENCE_S,
    RELAY,
    STRANGER,
    Bound,
    Party,
    descriptors_left,
    free_port,
    next_events,
    only,
    talk,
    until,
)
from tests.plane.packets import report, rtp
from tests.threats.doses import Measured

pytestmark = pytest.mark.native


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
    evidence = Evidence(SourceAuth.PROBATION, (ip_network("::/0"),), (ip_network("0.0.0.0/8"),))
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
    bound.arm(0, Evidence(SourceAuth.SIGNALLING_ADDRESS, ()))
    with bound.party(0, ALICE) as alice:
        alice.say(rtp(1))
        assert alice.hears_nothing()
        assert bound.pinhole(0).state is LatchState.ARMED


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
            told = rivalries(engine)
            assert all(event.source == rival.name for event in told)
            assert 1 <= len(told) <= seconds + 1


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
def test_silence_is_told_once_and_so_is_its_end(engine: Engine, record_property: Measured) -> None:
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
        assert SILENT_S <= silent.silent_s < SILENT_S + 1
        record_property("told_after_s", round(silent.silent_s, 2))
        alice.say(rtp(3))
        assert next_events(engine, Heard) == [Heard(bound.name, 0)]


def test_silence_is_told_whatever_the_gate_says() -> None:
    """Else a call would be kept whose parties vanish one after the other (row S4, then F12)."""
    now = [100.0]
    with contextlib.closing(ReferenceEngine(clock=lambda: now[0])) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            bound.open(Flow.CLOSED, Flow.HELD)
            now[0] += 5.5
            told = next_events(engine, Silent)
            assert {event.side for event in told if isinstance(event, Silent)} == {0, 1}


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


def test_nor_can_it_where_time_is_the_kernels() -> None:
    """What the test above asks of the reference; ten minutes are one second here."""
    with contextlib.closing(NativeEngine(linger_cap_s=1.0)) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            released_at = time.monotonic()
            engine.release(bound.name, 30)
            while not any(isinstance(event, Drained) for event in engine.events()):
                assert time.monotonic() - released_at < 10
                alice.say(rtp(9))
                time.sleep(0.02)
            assert time.monotonic() - released_at >= 1.0
            assert engine.snapshot() == []


@pytest.mark.parametrize(("silent_s", "more_s"), [(60.0, 4.0), (20.0, 10.0), (0.0, 30.0)])
def test_who_was_silent_before_the_release_is_waited_for_no_longer(
    silent_s: float, more_s: float
) -> None:
    now = [100.0]
    with contextlib.closing(ReferenceEngine(clock=lambda: now[0])) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            now[0] += silent_s
            engine.release(bound.name, 30)
            now[0] += more_s - 0.5
            assert [binding.draining for binding in engine.snapshot()] == [True]
            now[0] += 0.6
            next_events(engine, Drained)


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


def test_a_worker_that_got_rid_of_calls_takes_the_next() -> None:
    with contextlib.closing(NativeEngine(workers=2)) as engine:
        assert watched() == [2, 2], "a clock and a wake-up each"
        for number in range(4):
            Bound(engine, f"b{number}")
        assert watched() == [6, 6]
        engine.release("b0", 0)
        engine.release("b2", 0)
        assert watched() == [2, 6]
        Bound(engine, "b4")
        Bound(engine, "b5")
        assert watched() == [6, 6]


def watched() -> list[int]:
    """What each epoll of this process watches that watches a timer, as workers do."""
    infos = [
        Path(f"/proc/self/fdinfo/{name}").read_text()
        for name in os.listdir("/proc/self/fd")
        if Path(f"/proc/self/fdinfo/{name}").exists()
    ]
    timers = {f"tfd:{at:9}" for at in timer_descriptors()}
    return sorted(info.count("tfd:") for info in infos if any(timer in info for timer in timers))


def timer_descriptors() -> list[int]:
    links = {name: f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")}
    return [
        int(name)
        for name, link in links.items()
        if os.path.lexists(link) and os.readlink(link) == "anon_inode:[timerfd]"
    ]


def test_no_end_is_lost_however_many_nobody_has_read(engine: Engine) -> None:
    names = [Bound(engine, f"b{number}").name for number in range(300)]
    for name in names:
        engine.release(name, 0)
    ended: list[str] = []
    while len(ended) < len(names):
        ready, _, _ = select.select([engine.fileno()], [], [], PATIENCE_S)
        assert ready, "more has happened than was told of"
        ended += [event.name for event in engine.events() if isinstance(event, Drained)]
    assert sorted(ended) == sorted(names)


def test_nobody_can_join_us_on_a_port(engine: Engine) -> None:
    """For a moment the door and the line share it; then it is ours alone again."""
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        for port in bound.ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind((RELAY, port))


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
@pytest.mark.parametrize(("size", "most"), [(100, 5), (172, 5), (400, 2), (1200, 0)])
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
    with contextlib.closing(kind(limits=MediaLimits(max_kbps=80))) as engine:  # 10,000 bytes
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


def test_an_ipv6_port_leaves_that_of_ipv4_to_others(engine: Engine) -> None:
    """Both ways round: a socket of both families would take IPv4 packets, and be taken for them."""
    ports = (free_port("::"), free_port("::"))
    first, second = (TransportAddress.of("::", port) for port in ports)
    engine.bind([BindingSpec("six", (first, second))])
    engine.arm(
        Arm(
            "six",
            0,
            0,
            Evidence(SourceAuth.PROBATION, (ip_network("::/0"), ip_network("0.0.0.0/0"))),
        )
    )
    with Party("::1", ("::1", ports[0])) as alice, socket.socket(type=socket.SOCK_DGRAM) as four:
        four.bind(("0.0.0.0", ports[0]))
        alice.say(rtp(1))
        until(lambda: engine.snapshot()[0].pinholes[0].state is LatchState.LATCHED)
        with socket.socket(type=socket.SOCK_DGRAM) as caller:
            caller.sendto(b"four", (RELAY, ports[0]))
        four.settimeout(PATIENCE_S)
        assert four.recv(10) == b"four"


@pytest.mark.parametrize("address", [RELAY, "::1"])
def test_a_line_hears_its_peer_only_before_it_is_connected_too(address: str) -> None:
    """Between bind and connect the kernel gives it everybody's packets, and its filter stands."""
    name = (address, free_port(address))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as line,
        Party(address, name) as peer,
        Party(address, name) as neighbour,
    ):
        _twins.filter_line(line.fileno(), pack(peer.name), b"", b"")
        line.bind(name)
        neighbour.say(b"another port of the same host")
        if address == RELAY:  # of IPv6 this machine has one host only
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.99", peer.name.port))
                stranger.sendto(b"the same port of another host", name)
        peer.say(b"peer")
        line.settimeout(PATIENCE_S)
        assert line.recv(100) == b"peer"


def test_a_line_hears_an_agents_other_sources_until_it_is_connected() -> None:
    """What it dropped would be lost: the door does not get it any more."""
    name = (RELAY, free_port(RELAY))
    with (
        socket.socket(type=socket.SOCK_DGRAM) as line,
        Party(STRANGER, name) as peer,
        Party(STRANGER, name) as neighbour,
        Party(ALICE, name) as other,
        Party(BOB, name) as refused,
    ):
        sources, but = pack_networks([ip_network("127.0.0.2/31")]), pack_networks([ip_network(BOB)])
        _twins.filter_line(line.fileno(), pack(peer.name), sources, but)
        line.bind(name)
        neighbour.say(b"neighbour")
        refused.say(b"refused")
        other.say(b"other")
        peer.say(b"peer")
        line.settimeout(PATIENCE_S)
        assert [line.recv(100), line.recv(100)] == [b"other", b"peer"]


def test_a_line_of_ipv6_hears_an_agents_other_sources_too() -> None:
    name = ("::1", free_port("::1"))
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as line,
        Party("::1", name) as peer,
        Party("::1", name) as other,
    ):
        _twins.filter_line(line.fileno(), pack(peer.name), pack_networks([ip_network("::1")]), b"")
        line.bind(name)
        other.say(b"other")
        peer.say(b"peer")
        line.settimeout(PATIENCE_S)
        assert [line.recv(100), line.recv(100)] == [b"other", b"peer"]


UNKNOWN = Evidence(SourceAuth.PROBATION, (ip_network("127.0.0.0/8"),), probation=PROBATION_PACKETS)


@pytest.mark.rule("L7", "L10")
def test_who_sends_where_nobody_was_told_is_not_taken_for_a_party(engine: Engine) -> None:
    free, bound = Bound(engine, name="free"), Bound(engine)
    free.arm(0, UNTOLD)
    bound.arm(0, UNKNOWN)
    bound.arm(1, only(BOB))
    bound.open()
    with (
        free.party(0, STRANGER) as sprayer,
        bound.party(0, STRANGER) as stranger,
        bound.party(0, ALICE) as alice,
        bound.party(1, BOB) as bob,
    ):
        for n in range(SUSPECT_PACKETS):
            sprayer.say(rtp(n, ssrc=66))
        (barred,) = next_events(engine, Rivalry)
        assert isinstance(barred, Rivalry)
        assert str(barred.source.ip) == STRANGER
        bob.say(rtp(7))
        until(lambda: bound.pinhole(1).learned is not None)
        for n in range(10):
            stranger.say(rtp(n, ssrc=66))
        until(lambda: kept_out(bound) == 10)
        for n in range(PROBATION_PACKETS):
            alice.say(rtp(n))
        assert bob.hears(rtp(PROBATION_PACKETS - 1))
        assert str(bound.pinhole(0).learned).startswith(ALICE)
    assert free.pinhole(0).state is LatchState.ARMED


def kept_out(bound: Bound) -> int:
    counters = bound.pinhole(0).counters
    return counters.dropped_stranger + counters.dropped_kernel


@pytest.mark.rule("L7")
def test_an_address_that_signalling_knows_is_believed_whatever_it_sprays(engine: Engine) -> None:
    """Likely or proven: who forges it wins nothing by having it barred."""
    free = Bound(engine, name="free")
    free.arm(0, UNTOLD)
    likely = replace(UNKNOWN, likely=only(ALICE).sources)
    with free.party(0, ALICE) as forger:
        for n in range(SUSPECT_PACKETS):
            forger.say(rtp(n, ssrc=66))
        next_events(engine, Rivalry)
    for name, evidence in (("proven", only(ALICE)), ("likely", likely)):
        bound = Bound(engine, name=name)
        bound.arm(0, evidence)
        bound.arm(1, only(BOB))
        bound.open()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            bob.say(rtp(7))
            until(lambda: bound.pinhole(1).learned is not None)  # noqa: B023
            alice.say(rtp(1))
            assert bob.hears(rtp(1))
