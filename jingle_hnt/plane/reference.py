"""The reference engine: the whole plane in pure Python.

It is the oracle that the native engine is tested against, and the fallback where no compiler was
at hand. It uses the rules of `relay/` directly. One thread moves the media; a lock lets the control
side look and change in between.
"""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jingle_hnt.errors import DuplicateBinding, UnknownBinding
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import LINGER_CAP_S, bind_error
from jingle_hnt.relay import stun
from jingle_hnt.relay.binding import (
    EARLY_BYTES,
    EARLY_PACKETS,
    NOMINAL_PACKETS_PER_S,
    SILENT_S,
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Counters,
    Drained,
    Event,
    Flow,
    Gate,
    Heard,
    Latched,
    PinholeSnapshot,
    Rivalry,
    Side,
    Silent,
)
from jingle_hnt.relay.evidence import Evidence
from jingle_hnt.relay.ice_latch import IceLatch
from jingle_hnt.relay.latch import Latch, State, Verdict
from jingle_hnt.relay.packet import SETUP_KINDS, Header, Kind, classify
from jingle_hnt.relay.policing import NO_LIMITS, Bucket, Limits
from jingle_hnt.relay.quality import Stream
from jingle_hnt.relay.srtp_latch import SrtpLatch

TICK_S = 0.1
"""How often silence and draining are looked at."""

RIVALRY_EVENT_S = 1.0
"""A rivalry is told at most this often per pinhole."""

BATCH = 64
"""Packets taken from one socket before the others have their turn."""

_DROPS = {
    Verdict.SHUT: "dropped_shut",
    Verdict.STRANGER: "dropped_stranger",
    Verdict.UNFIT: "dropped_unfit",
    Verdict.PROBATION: "dropped_probation",
    Verdict.RIVAL: "dropped_rival",
}


@dataclass(slots=True, eq=False)
class _Pinhole:
    """One socket facing one side, its latch and its counts."""

    side: Side
    bound: TransportAddress
    socket: socket.socket
    binding: "_Binding"
    bucket: Bucket
    latch: Latch | IceLatch | SrtpLatch = field(default_factory=Latch)
    early: TransportAddress | None = None
    early_left: tuple[int, int] = (0, 0)  # packets and bytes
    flow: Flow = Flow.CLOSED
    counts: dict[str, int] = field(default_factory=dict)
    stream: Stream = field(default_factory=Stream)
    armed_at: float = 0.0
    busy_at: float = 0.0
    silent: bool = False
    moved: bool = False  # an ICE agent nominated another source; told at the next tick
    rivalry_told_at: float = float("-inf")
    nominal: tuple[int, int] = (0, 0)  # the second, and the packets let through in it

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm the latch that this evidence calls for; False where the generation is not greater."""
        kind = _kind_of_latch(evidence)
        if not isinstance(self.latch, kind) and generation > self.latch.generation:
            self.latch = kind()
        return self.latch.arm(generation, evidence)

    def observe(
        self, source: TransportAddress, header: Header, datagram: bytes, now: float
    ) -> Verdict:
        if isinstance(self.latch, IceLatch | SrtpLatch):
            return self.latch.observe(source, header, datagram, now)
        return self.latch.observe(source, header, now)

    def unasked(self, size: int) -> TransportAddress | None:
        """Where a packet goes while nothing is learned, if this one may (RFC 7362 section 4)."""
        packets, octets = self.early_left
        if self.early is None or packets == 0 or octets < size:
            return None
        self.early_left = (packets - 1, octets - size)
        return self.early

    def snapshot(self, now: float) -> PinholeSnapshot:
        latch, latched = self.latch, self.latch.state is State.LATCHED
        return PinholeSnapshot(
            bound=self.bound,
            state=latch.state,
            generation=latch.generation,
            rung=None if latch.evidence is None else latch.evidence.rung,
            learned=latch.source,
            latched_s=now - latch.latched_at if latched else None,
            heard_s=now - latch.heard_at if latched else None,
            flow=self.flow,
            counters=Counters(**self.counts),
            quality=self.stream.quality,
        )


@dataclass(slots=True, eq=False)
class _Binding:
    name: BindingName
    pinholes: tuple[_Pinhole, ...] = ()
    linger_s: float | None = None  # set when it is released
    released_at: float = 0.0

    def snapshot(self, now: float) -> BindingSnapshot:
        first, second = self.pinholes
        pinholes = (first.snapshot(now), second.snapshot(now))
        return BindingSnapshot(self.name, pinholes, draining=self.linger_s is not None)


class ReferenceEngine:
    """See `api.Engine`."""

    name = "reference"

    def __init__(
        self, limits: Limits = NO_LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._bindings: dict[BindingName, _Binding] = {}
        self._events: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        self._told, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closed = False
        self._ticked_at = clock()
        self._thread = threading.Thread(target=self._run, name="reference-plane", daemon=True)
        self._thread.start()

    # Orders

    def bind(self, specs: Sequence[BindingSpec]) -> None:
        with self._lock:
            names = [spec.name for spec in specs]
            if len(set(names)) < len(names) or not self._bindings.keys().isdisjoint(names):
                raise DuplicateBinding(f"a binding of these names exists already: {names}")
            with contextlib.ExitStack() as undo:
                made = [self._open(spec, undo) for spec in specs]
                undo.pop_all()
            for binding in made:
                self._bindings[binding.name] = binding
                for pinhole in binding.pinholes:
                    self._selector.register(pinhole.socket, selectors.EVENT_READ, pinhole)

    def arm(self, order: Arm) -> bool:
        with self._lock:
            pinhole = self._live(order.name).pinholes[order.side]
            if not pinhole.arm(order.generation, order.evidence):
                return False
            pinhole.armed_at = self._clock()
            pinhole.silent = False
            pinhole.early, pinhole.early_left = order.early, (EARLY_PACKETS, EARLY_BYTES)
            if order.resume is not None:
                pinhole.latch.resume(order.resume, pinhole.armed_at)
            return True

    def gate(self, order: Gate) -> None:
        with self._lock:
            for pinhole, flow in zip(self._live(order.name).pinholes, order.flows, strict=True):
                pinhole.flow = flow

    def release(self, name: BindingName, linger_s: float) -> None:
        with self._lock:
            binding = self._live(name)
            binding.linger_s = linger_s
            binding.released_at = self._clock()
            for pinhole in binding.pinholes:
                pinhole.flow = Flow.CLOSED
                pinhole.busy_at = binding.released_at
            if linger_s <= 0:
                self._drain(binding, binding.released_at)

    def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        with self._lock:
            now = self._clock()
            wanted = self._bindings if names is None else names
            found = (self._bindings.get(name) for name in wanted)
            return [binding.snapshot(now) for binding in found if binding is not None]

    def events(self) -> list[Event]:
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.read(self._told, 4096)
            taken = list(self._events)
            self._events.clear()
            return taken

    def fileno(self) -> int:
        return self._told

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        os.write(self._wake, b"x")
        self._thread.join()
        for binding in self._bindings.values():
            for pinhole in binding.pinholes:
                pinhole.socket.close()
        self._bindings.clear()
        self._selector.close()
        for descriptor in (self._told, self._tell, self._woken, self._wake):
            os.close(descriptor)

    # Bindings

    def _live(self, name: BindingName) -> _Binding:
        binding = self._bindings.get(name)
        if binding is None or binding.linger_s is not None:
            raise UnknownBinding(f"no binding {name!r}; it was released or never made")
        return binding

    def _open(self, spec: BindingSpec, undo: contextlib.ExitStack) -> _Binding:
        binding = _Binding(spec.name)
        sides: Iterable[Side] = (0, 1)
        pinholes = []
        for side in sides:
            bound = spec.pinholes[side]
            opened = _open_socket(bound, self._limits.dscp)
            undo.callback(opened.close)
            pinholes.append(_Pinhole(side, bound, opened, binding, Bucket(self._limits)))
        binding.pinholes = tuple(pinholes)
        return binding

    def _drain(self, binding: _Binding, now: float) -> None:
        first, second = binding.pinholes
        self._happened(Drained(binding.name, (first.snapshot(now), second.snapshot(now))))
        del self._bindings[binding.name]
        for pinhole in binding.pinholes:
            self._selector.unregister(pinhole.socket)
            pinhole.socket.close()

    # Media

    def _run(self) -> None:
        while not self._closed:
            ready = self._selector.select(TICK_S)
            with self._lock:
                now = self._clock()
                for key, _ in ready:
                    if isinstance(key.data, _Pinhole):
                        self._receive(key.data, now)
                if now - self._ticked_at >= TICK_S:
                    self._ticked_at = now
                    self._tick(now)

    def _receive(self, pinhole: _Pinhole, now: float) -> None:
        for _ in range(BATCH):
            try:
                datagram, address = pinhole.socket.recvfrom(65535)
            except OSError:  # nothing left, the socket was just closed, or an ICMP error of old
                return
            source = TransportAddress.of(address[0].partition("%")[0], address[1])
            self._judge(pinhole, source, datagram, now)

    def _judge(
        self, pinhole: _Pinhole, source: TransportAddress, datagram: bytes, now: float
    ) -> None:
        if pinhole.binding.linger_s is not None:
            pinhole.busy_at = now
            return
        header = classify(datagram)
        verdict = pinhole.observe(source, header, datagram, now)
        if drop := _DROPS.get(verdict):
            pinhole.count(drop)
            if verdict is Verdict.RIVAL:
                self._rivalry(pinhole, source, now)
            return
        if verdict is Verdict.RELATCHED and isinstance(pinhole.latch, IceLatch):
            pinhole.moved = True
        elif verdict in (Verdict.LATCHED, Verdict.RELATCHED):
            self._latched(pinhole, source, verdict is Verdict.RELATCHED, now)
        self._heard(pinhole)
        pinhole.count("received_packets")
        pinhole.count("received_bytes", len(datagram))
        other = pinhole.binding.pinholes[1 - pinhole.side]
        pinhole.stream.observe(header, datagram, now, other.stream)
        self._forward(pinhole, header, datagram, now)
        if verdict is Verdict.LATCHED:
            self._deliver_kept(pinhole, now)

    def _forward(self, pinhole: _Pinhole, header: Header, datagram: bytes, now: float) -> None:
        other = pinhole.binding.pinholes[1 - pinhole.side]
        if header.kind is Kind.EMPTY:
            pinhole.count("dropped_empty")
        elif not _may_flow(pinhole, header, now):
            pinhole.count("dropped_gate")
        elif not pinhole.bucket.admits(len(datagram), now):
            pinhole.count("dropped_policed")
        elif (destination := _destination(pinhole, other, header, datagram, now)) is None:
            pinhole.count("dropped_unlatched")
        else:
            self._send(other, destination, datagram)

    def _deliver_kept(self, pinhole: _Pinhole, now: float) -> None:
        """An agent is known from now on: it gets the check that waited for that."""
        other = pinhole.binding.pinholes[1 - pinhole.side]
        if isinstance(other.latch, IceLatch) and (check := other.latch.take_kept()):
            destination = _destination_of_check(other, pinhole, check, now)
            if destination is not None:
                self._send(pinhole, destination, check)

    def _send(self, pinhole: _Pinhole, destination: TransportAddress, datagram: bytes) -> None:
        try:
            pinhole.socket.sendto(datagram, (str(destination.ip), destination.port))
        except OSError:
            pinhole.count("dropped_send")
        else:
            pinhole.count("sent_packets")
            pinhole.count("sent_bytes", len(datagram))

    # Events

    def _happened(self, event: Event) -> None:
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):
            os.write(self._tell, b"x")

    def _latched(
        self, pinhole: _Pinhole, source: TransportAddress, again: bool, now: float
    ) -> None:
        name, generation = pinhole.binding.name, pinhole.latch.generation
        after_s = now - pinhole.armed_at
        self._happened(Latched(name, pinhole.side, generation, source, again, after_s))

    def _rivalry(self, pinhole: _Pinhole, source: TransportAddress, now: float) -> None:
        if now - pinhole.rivalry_told_at >= RIVALRY_EVENT_S:
            pinhole.rivalry_told_at = now
            self._happened(Rivalry(pinhole.binding.name, pinhole.side, source))

    def _heard(self, pinhole: _Pinhole) -> None:
        if pinhole.silent:
            pinhole.silent = False
            self._happened(Heard(pinhole.binding.name, pinhole.side))

    def _tick(self, now: float) -> None:
        for binding in list(self._bindings.values()):
            if binding.linger_s is not None:
                self._tick_draining(binding, binding.linger_s, now)
                continue
            for pinhole in binding.pinholes:
                self._tick_silence(pinhole, now)

    def _tick_draining(self, binding: _Binding, linger_s: float, now: float) -> None:
        idle_s = now - max(pinhole.busy_at for pinhole in binding.pinholes)
        if idle_s >= linger_s or now - binding.released_at >= LINGER_CAP_S:
            self._drain(binding, now)

    def _tick_silence(self, pinhole: _Pinhole, now: float) -> None:
        latch = pinhole.latch
        if pinhole.moved and latch.source is not None:
            pinhole.moved = False
            self._latched(pinhole, latch.source, True, now)
        silent_s = now - latch.heard_at
        lively = latch.state is not State.LATCHED or silent_s < SILENT_S
        if lively or pinhole.silent or pinhole.flow is Flow.CLOSED:
            return
        pinhole.silent = True
        self._happened(Silent(pinhole.binding.name, pinhole.side, silent_s))


def _kind_of_latch(evidence: Evidence) -> type[Latch | IceLatch | SrtpLatch]:
    if evidence.keys:
        return IceLatch
    return SrtpLatch if evidence.tags else Latch


def _destination(
    pinhole: _Pinhole, other: _Pinhole, header: Header, datagram: bytes, now: float
) -> TransportAddress | None:
    """Where the other side's party is to have this packet; None where nobody is known."""
    if header.kind is Kind.STUN and isinstance(pinhole.latch, IceLatch):
        return _destination_of_check(pinhole, other, datagram, now)
    return other.latch.source or other.unasked(len(datagram))


def _destination_of_check(
    pinhole: _Pinhole, other: _Pinhole, datagram: bytes, now: float
) -> TransportAddress | None:
    """Checks and answers between two ICE agents; an agent has nothing to ask of anybody else."""
    message = stun.parse(datagram)
    if message is None or not isinstance(other.latch, IceLatch):
        return None
    match message.kind:
        case stun.Class.INDICATION:
            return other.latch.source
        case stun.Class.REQUEST:
            destination = other.latch.where_to_ask(now)
            if destination is None and isinstance(pinhole.latch, IceLatch):
                pinhole.latch.keep(datagram)
            elif destination is not None and message.nominates:
                other.moved |= other.latch.nominated(destination, now)
            return destination
        case _:
            return other.latch.asker(message.transaction)


def _may_flow(pinhole: _Pinhole, header: Header, now: float) -> bool:
    """Whether this side's flow lets the packet through (media-path-middleboxes section 4)."""
    match pinhole.flow:
        case Flow.OPEN:
            return True
        case Flow.HELD:
            return header.kind is Kind.RTCP or (
                isinstance(pinhole.latch, IceLatch) and header.kind in SETUP_KINDS
            )
        case Flow.NOMINAL:
            second = int(now)
            since, passed = pinhole.nominal
            passed = passed if since == second else 0
            if header.kind not in SETUP_KINDS or passed >= NOMINAL_PACKETS_PER_S:
                return False
            pinhole.nominal = (second, passed + 1)
            return True
        case _:
            return False


def _open_socket(bound: TransportAddress, dscp: int) -> socket.socket:
    family = socket.AF_INET if bound.ip.version == 4 else socket.AF_INET6
    try:
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise bind_error(bound, error) from error
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
        opened.bind((str(bound.ip), bound.port))
    except OSError as error:
        opened.close()
        raise bind_error(bound, error) from error
    return opened
