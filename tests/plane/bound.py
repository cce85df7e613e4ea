"""A binding of an engine, with its parties' sockets.

Loopback has as many hosts as a test wants: the relay is 127.0.0.1, the parties and strangers are
other addresses of 127.0.0.0/8.
"""

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import Engine
from jingle_hnt.relay.binding import (
    Arm,
    BindingSpec,
    Event,
    Flow,
    Gate,
    PinholeSnapshot,
)
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import LatchState
from tests import ports
from tests.plane.packets import rtp

RELAY, ALICE, BOB, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.66"
PATIENCE_S = 20.0


class Bound:
    """A binding with two parties' sockets, on ports that were free a moment ago."""

    def __init__(self, engine: Engine, name: str = "call.1.1", relay: str = RELAY) -> None:
        self.engine = engine
        self.name = name
        self.ports = (free_port(relay), free_port(relay))
        self.relay = relay
        first, second = (TransportAddress.of(relay, port) for port in self.ports)
        engine.bind([BindingSpec(name, (first, second))])

    def arm(self, side: int, evidence: Evidence, generation: int = 0) -> bool:
        return self.engine.arm(Arm(self.name, 0 if side == 0 else 1, generation, evidence))

    def open(self, one: Flow = Flow.OPEN, other: Flow = Flow.OPEN) -> None:
        self.engine.gate(Gate(self.name, (one, other)))

    def ready(self) -> "Bound":
        """Armed for Alice and Bob by address, with the gate open."""
        self.arm(0, only(ALICE))
        self.arm(1, only(BOB))
        self.open()
        return self

    def pinhole(self, side: int) -> PinholeSnapshot:
        (snapshot,) = self.engine.snapshot([self.name])
        return snapshot.pinholes[side]

    def party(self, side: int, address: str) -> "Party":
        return Party(address, (self.relay, self.ports[side]))


class Party:
    """A socket of one host that sends to the relay."""

    def __init__(self, address: str, relay: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.relay = relay

    def __enter__(self) -> "Party":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.relay)

    def hears(self, datagram: bytes) -> bool:
        """Whether exactly this arrives, from the relay's port."""
        return self.next() == datagram

    def next(self) -> bytes:
        """What arrives next, from the relay's port."""
        self.socket.settimeout(PATIENCE_S)
        datagram, source = self.socket.recvfrom(65535)
        assert source == self.relay
        return datagram

    def hears_nothing(self) -> bool:
        ready, _, _ = select.select([self.socket], [], [], 0.15)
        return not ready

    @property
    def name(self) -> TransportAddress:
        ip, port = self.socket.getsockname()[:2]
        return TransportAddress.of(ip, port)


def only(*addresses: str) -> Evidence:
    return Evidence(
        SourceAuth.SIGNALLING_ADDRESS, tuple(ip_network(address) for address in addresses)
    )


def anybody() -> Evidence:
    return Evidence(SourceAuth.PROBATION, (ip_network("127.0.0.0/8"),), probation=5)


def free_port(address: str) -> int:
    """A UDP port that nobody has, and nobody is given."""
    return ports.free_port(address, socket.SOCK_DGRAM)


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.005)


def next_events(engine: Engine, wanted: type[Event]) -> list[Event]:
    """The events of one kind, once there are some."""
    seen: list[Event] = []
    deadline = time.monotonic() + PATIENCE_S
    while not any(isinstance(event, wanted) for event in seen):
        left = deadline - time.monotonic()
        assert left > 0, f"no {wanted.__name__} among {seen}"
        select.select([engine.fileno()], [], [], left)
        seen += engine.events()
    return [event for event in seen if isinstance(event, wanted)]


def talk(bound: Bound, alice: Party, bob: Party) -> None:
    """Teach both latches: the first packet of Alice finds nobody, then both hear each other."""
    alice.say(rtp(1))
    until(lambda: bound.pinhole(0).state is LatchState.LATCHED)
    bob.say(rtp(1, ssrc=2))
    assert alice.hears(rtp(1, ssrc=2))
    alice.say(rtp(2))
    assert bob.hears(rtp(2))


def watched() -> int:
    """How many descriptors the epolls of this process wait for (proc(5), fdinfo)."""
    count = 0
    for descriptor in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            count += Path("/proc/self/fdinfo", descriptor).read_text().count("tfd:")
    return count


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
