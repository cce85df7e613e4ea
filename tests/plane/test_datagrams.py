"""What becomes of a datagram: it goes on whole, in its order and marked, or not at all."""

import contextlib
import socket
import time

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.binding import (
    Arm,
    BindingSpec,
    Counters,
    Flow,
    Gate,
    Side,
)
from jingle_hnt.relay.latch import LatchState
from jingle_hnt.relay.policing import MediaLimits
from tests.plane.bound import (
    ALICE,
    BOB,
    RELAY,
    Bound,
    Party,
    free_port,
    only,
    talk,
    until,
)
from tests.plane.packets import rtp

pytestmark = pytest.mark.native


@pytest.mark.parametrize("size", [12, 172, 1472, 9000, 65507])
def test_datagrams_go_on_whole(engine: Engine, size: int) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        datagram = rtp(3).ljust(size, b"\xaa")[:size]
        alice.say(datagram)
        assert bob.hears(datagram)


def test_an_order_of_datagrams_is_kept_over_the_latch(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        bob.say(rtp(1, ssrc=2))
        until(lambda: bound.pinhole(1).state is LatchState.LATCHED)
        for number in range(1, 101):
            alice.say(rtp(number))
        assert [bob.hears(rtp(number)) for number in range(1, 101)] == [True] * 100


@pytest.mark.parametrize(
    "sizes",
    [[1200] * 40, [1200] * 9 + [700], [700] + [1200] * 9, [1200, 300] * 20, [32] * 40, [1201] * 64],
)
def test_a_burst_goes_on_packet_by_packet_as_it_came(engine: Engine, sizes: list[int]) -> None:
    """Whatever the sizes are: nothing is joined or cut."""
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        before = bound.pinhole(1).counters
        for first in range(10, 10 + 5 * len(sizes), len(sizes)):
            burst = [rtp(first + n).ljust(size, b"x") for n, size in enumerate(sizes)]
            for datagram in burst:
                alice.say(datagram)
            assert [bob.hears(datagram) for datagram in burst] == [True] * len(sizes)
        after = bound.pinhole(1).counters
        assert after.sent_packets - before.sent_packets == 5 * len(sizes)
        assert after.sent_bytes - before.sent_bytes == 5 * sum(sizes)
        assert after.dropped_send == 0


def test_an_empty_datagram_goes_nowhere_and_is_counted(engine: Engine) -> None:
    bound = Bound(engine).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        alice.say(b"")
        alice.say(rtp(3))
        assert bob.hears(rtp(3))
        assert bound.pinhole(0).counters.dropped_empty == 1


def test_a_datagram_that_cannot_go_on_whole_is_dropped_whole_and_counted(engine: Engine) -> None:
    """IPv6 carries 20 bytes more of UDP than IPv4, whose length counts its own header."""
    ports = (free_port("::1"), free_port(RELAY))
    first, second = TransportAddress.of("::1", ports[0]), TransportAddress.of(RELAY, ports[1])
    engine.bind([BindingSpec("a.1", (first, second))])
    engine.arm(Arm("a.1", 0, 0, only("::1")))
    engine.arm(Arm("a.1", 1, 0, only(BOB)))
    engine.gate(Gate("a.1", (Flow.OPEN, Flow.OPEN)))
    with Party("::1", ("::1", ports[0])) as alice, Party(BOB, (RELAY, ports[1])) as bob:
        bob.say(rtp(1, ssrc=2))
        until(lambda: engine.snapshot()[0].pinholes[1].state is LatchState.LATCHED)
        alice.say(rtp(1))
        assert bob.hears(rtp(1))
        alice.say(rtp(2).ljust(65527, b"."))
        until(lambda: engine.snapshot()[0].pinholes[1].counters.dropped_send == 1)
        alice.say(rtp(3))
        assert bob.hears(rtp(3))


def test_what_the_receive_queue_has_no_room_for_is_seen_and_not_forgotten() -> None:
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            said, large = 2, rtp(3).ljust(60000, b".")

            def counters() -> Counters:
                return bound.pinhole(0).counters

            deadline = time.monotonic() + 10
            while not counters().dropped_kernel and time.monotonic() < deadline:
                for _ in range(200):
                    alice.say(large)
                    said += 1
            until(lambda: counters().received_packets + counters().dropped_kernel == said)
            dropped = counters().dropped_kernel
            assert dropped > 0
            bound.arm(0, only(ALICE), generation=1)
            assert counters().dropped_kernel == dropped


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
    with contextlib.closing(kind(limits=MediaLimits(dscp=46))) as engine:
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
            until(lambda: engine.snapshot()[0].pinholes[1].state is LatchState.LATCHED)
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
