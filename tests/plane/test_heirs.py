"""Sockets that outlive a plane: what came while there was none goes on, and nothing else does."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from jingle_hnt.errors import PortTaken
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.relay.binding import Arm, BindingSpec, Drained, Flow, Gate
from jingle_hnt.relay.latch import LatchState
from tests.plane.bound import ALICE, BOB, STRANGER, Bound, next_events, only, talk, watched
from tests.plane.packets import rtp

pytestmark = pytest.mark.native


AWAY = range(10, 30)
"""Sequence numbers of what is sent while no plane runs."""


@pytest.fixture
def next_life() -> Iterator[NativeEngine]:
    with contextlib.closing(NativeEngine()) as engine:
        yield engine


def crash(engine: NativeEngine, bound: Bound) -> list[int]:
    """The plane ends in mid-call; somebody has copies of its sockets."""
    held = engine.sockets(bound.name)
    engine.close()
    return held


def take_up(engine: NativeEngine, bound: Bound, *learned: TransportAddress | None) -> None:
    """As the signalling process has it: the same ports, and what had been learned."""
    first, second = (TransportAddress.of(bound.relay, port) for port in bound.ports)
    engine.bind([BindingSpec(bound.name, (first, second))])
    for side, (host, resume) in enumerate(zip((ALICE, BOB), learned, strict=True)):
        engine.arm(Arm(bound.name, 0 if side == 0 else 1, 1, only(host), resume))
    engine.gate(Gate(bound.name, (Flow.OPEN, Flow.OPEN)))
    bound.engine = engine


def test_no_packet_is_lost_and_their_order_is_kept(next_life: NativeEngine) -> None:
    first = NativeEngine()
    bound = Bound(first).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        held = crash(first, bound)
        assert len(held) == 4  # two doors, two lines
        for number in AWAY:
            alice.say(rtp(number))
            bob.say(rtp(number, ssrc=2))
        for descriptor in held:
            next_life.inherit(descriptor)
        take_up(next_life, bound, alice.name, bob.name)
        for number in AWAY:
            assert bob.hears(rtp(number))
            assert alice.hears(rtp(number, ssrc=2))
        assert bound.pinhole(0).counters.received_packets == len(AWAY)
        alice.say(rtp(AWAY.stop))
        assert bob.hears(rtp(AWAY.stop))


def test_what_strangers_sent_meanwhile_is_not_heard(next_life: NativeEngine) -> None:
    """Nor what waited at a door: the latch of the new life has to learn for itself."""
    first = NativeEngine()
    bound = Bound(first)
    bound.arm(0, only(ALICE, STRANGER))
    held = crash(first, bound)
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        with bound.party(0, STRANGER) as stranger:
            stranger.say(rtp(1))
            for descriptor in held:
                next_life.inherit(descriptor)
            take_up(next_life, bound, None, None)
        assert bound.pinhole(0).state is LatchState.ARMED
        talk(bound, alice, bob)


def test_the_line_to_another_source_is_not_taken_up(next_life: NativeEngine) -> None:
    """And swallows nothing of its peer's, though somebody still holds it."""
    first = NativeEngine()
    bound = Bound(first).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        held = crash(first, bound)
        copies = [os.dup(descriptor) for descriptor in held]
        for descriptor in held:
            next_life.inherit(descriptor)
        take_up(next_life, bound, None, None)
        talk(bound, alice, bob)
        for descriptor in copies:
            os.close(descriptor)


def test_what_others_said_at_a_line_before_it_was_connected_is_not_its_peers(
    next_life: NativeEngine,
) -> None:
    """The kernel tells a line's peer from others when it finds a socket, not when it is read."""
    bound = Bound(first := NativeEngine())
    first.close()
    with (
        bound.party(0, ALICE) as alice,
        bound.party(0, STRANGER) as stranger,
        bound.party(1, BOB) as bob,
    ):
        door, line = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        for each in (door, line):
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((bound.relay, bound.ports[0]))
        stranger.say(rtp(1))
        line.connect(alice.socket.getsockname())
        alice.say(rtp(2))
        next_life.inherit(door.detach())
        next_life.inherit(line.detach())
        take_up(next_life, bound, alice.name, bob.name)
        assert bob.hears(rtp(2))
        counters = bound.pinhole(0).counters
        assert (counters.dropped_stranger, counters.received_packets) == (1, 1)


def test_a_line_that_is_hung_up_leaves_its_peer_to_the_door() -> None:
    with contextlib.closing(NativeEngine()) as engine:
        bound = Bound(engine).ready()
        with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
            talk(bound, alice, bob)
            held = engine.sockets(bound.name)
            bound.arm(0, only(ALICE), generation=1)
            alice.say(rtp(3))
            assert bob.hears(rtp(3))
            for descriptor in held:
                os.close(descriptor)


def test_a_released_binding_is_not_told_of_what_comes_to_a_copy(next_life: NativeEngine) -> None:
    """Closing a socket leaves it in epoll while a copy is open: a packet that waited there was once
    read for a binding that had been freed."""
    before = watched()
    bound = Bound(next_life).ready()
    with bound.party(0, ALICE) as alice, bound.party(1, BOB) as bob:
        talk(bound, alice, bob)
        assert watched() == before + 4
        held = next_life.sockets(bound.name)
        next_life.release(bound.name, 0)
        next_events(next_life, Drained)
        assert watched() == before
    for descriptor in held:
        os.close(descriptor)


def test_a_binding_that_could_not_be_made_is_told_of_nothing(next_life: NativeEngine) -> None:
    """The door that it had from an earlier life is still held by somebody."""
    bound = Bound(first := NativeEngine())
    held = crash(first, bound)
    before = watched()
    doors = [TransportAddress.of(bound.relay, port) for port in bound.ports]
    copies = [os.dup(descriptor) for descriptor in held]
    with socket.socket(fileno=held[1]):  # the second address is somebody else's
        next_life.inherit(held[0])
        with pytest.raises(PortTaken):
            next_life.bind([BindingSpec(bound.name, (doors[0], doors[1]))])
        assert watched() == before
    for descriptor in copies:
        os.close(descriptor)


def test_what_nobody_wants_is_closed_and_rubbish_does_no_harm(next_life: NativeEngine) -> None:
    first = NativeEngine()
    bound = Bound(first).ready()
    held = crash(first, bound)
    rubbish = [os.open("/dev/null", os.O_RDONLY), *os.pipe()]
    for descriptor in (*held, *rubbish):
        next_life.inherit(descriptor)
    next_life.disown()
    for descriptor in (*held, *rubbish):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    take_up(next_life, bound, None, None)  # the ports are free
