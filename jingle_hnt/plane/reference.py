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

from jingle_hnt.errors import DuplicateBinding, UnknownBinding
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import bind_error
from jingle_hnt.plane.pinhole import (
    DROPS,
    Proof,
    ReferenceBinding,
    ReferencePinhole,
    destination_of,
    destination_of_check,
    may_flow,
)
from jingle_hnt.relay import stun, stun_writing
from jingle_hnt.relay.barring import Bars
from jingle_hnt.relay.binding import (
    EARLY_BYTES,
    EARLY_PACKETS,
    SILENT_S,
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Drained,
    Event,
    Flow,
    Gate,
    Heard,
    Latched,
    Rivalry,
    Side,
    Silent,
    StreamChanged,
)
from jingle_hnt.relay.ice_agent import IceAgent
from jingle_hnt.relay.ice_latch import IceLatch
from jingle_hnt.relay.latch import SILENCE_S, Latch, LatchState, Verdict
from jingle_hnt.relay.lingering import LINGER_CAP_S, idle_since, is_free
from jingle_hnt.relay.pace import Pace
from jingle_hnt.relay.packet import Header, PacketKind, classify
from jingle_hnt.relay.policing import NO_LIMITS, Bucket, MediaLimits
from jingle_hnt.relay.transactions import Transactions

TICK_S = 0.1
"""How often silence and draining are looked at."""

RIVALRY_EVENT_S = STREAM_EVENT_S = 1.0
"""A rivalry, or another stream, is told at most this often per pinhole."""

UNASKED_PER_S, UNASKED_AT_ONCE, BYSTANDERS = 10.0, 20.0, 1024
"""Checks of our own to an address that was never heard; addresses that share a place share them."""

BATCH = 64
"""Packets taken from one socket before the others have their turn."""

_PMTUDISC_DONT, _IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 0, 10, 23
"""Of linux/in.h and linux/in6.h; the socket module of Python 3.11 has no names for them."""


class ReferenceEngine:
    """See `api.Engine`."""

    name = "reference"

    def __init__(
        self, limits: MediaLimits = NO_LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._bindings: dict[BindingName, ReferenceBinding] = {}
        self._transactions = Transactions()
        self._bars = Bars()
        self._unasked: dict[int, Pace] = {}
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
            pinholes = self._live(order.name).pinholes
            pinhole, now = pinholes[order.side], self._clock()
            if order.generation > pinhole.latch.generation:
                self._settle(pinholes, pinhole, now)
            if not pinhole.arm(order, now):
                return False
            pinhole.armed_at = now
            pinhole.silent = False
            pinhole.early, pinhole.early_left = order.early, (EARLY_PACKETS, EARLY_BYTES)
            if order.resume is not None:
                pinhole.resume(order.resume, order.stream, pinhole.armed_at)
                pinhole.proof = Proof(pinhole.latch.latched_at, proven=True)
            self._ask_due(pinhole, pinhole.armed_at)
            return True

    def gate(self, order: Gate) -> None:
        with self._lock:
            pinholes = self._live(order.name).pinholes
            for pinhole, flow in zip(pinholes, order.flows, strict=True):
                pinhole.set_flow(flow)
            for pinhole in pinholes:
                self._deliver_kept(pinhole, self._clock())

    def release(self, name: BindingName, linger_s: float) -> None:
        with self._lock:
            binding = self._live(name)
            binding.linger_s = linger_s
            binding.released_at = self._clock()
            for pinhole in binding.pinholes:
                pinhole.flow = Flow.CLOSED
                latch = pinhole.latch
                heard_at = latch.heard_at if latch.state is LatchState.LATCHED else None
                pinhole.busy_at = idle_since(heard_at, binding.released_at, linger_s)
            if linger_s <= 0:
                self._drain(binding, binding.released_at)

    def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        with self._lock:
            now = self._clock()
            wanted = self._bindings if names is None else names
            found = (self._bindings.get(name) for name in wanted)
            return [binding.snapshot(now) for binding in found if binding is not None]

    def sockets(self, name: BindingName) -> list[int]:
        return []

    def inherit(self, descriptor: int) -> None:
        os.close(descriptor)

    def disown(self) -> None:
        pass

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

    def _live(self, name: BindingName) -> ReferenceBinding:
        binding = self._bindings.get(name)
        if binding is None or binding.linger_s is not None:
            raise UnknownBinding(f"no binding {name!r}; it was released or never made")
        return binding

    def _open(self, spec: BindingSpec, undo: contextlib.ExitStack) -> ReferenceBinding:
        binding = ReferenceBinding(spec.name)
        sides: Iterable[Side] = (0, 1)
        pinholes = []
        for side in sides:
            bound = spec.pinholes[side]
            opened = _open_socket(bound, self._limits.dscp)
            undo.callback(opened.close)
            pinholes.append(ReferencePinhole(side, bound, opened, binding, Bucket(self._limits)))
        binding.pinholes = tuple(pinholes)
        return binding

    def _drain(self, binding: ReferenceBinding, now: float) -> None:
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
                    if isinstance(key.data, ReferencePinhole):
                        self._receive(key.data, now)
                if now - self._ticked_at >= TICK_S:
                    self._ticked_at = now
                    self._tick(now)

    def _receive(self, pinhole: ReferencePinhole, now: float) -> None:
        for _ in range(BATCH):
            try:
                datagram, address = pinhole.socket.recvfrom(65535)
            except OSError:  # nothing left, the socket was just closed, or an ICMP error of old
                return
            source = TransportAddress.of(address[0].partition("%")[0], address[1])
            self._judge(pinhole, source, datagram, now)

    def _settle(
        self, pinholes: Sequence[ReferencePinhole], pinhole: ReferencePinhole, now: float
    ) -> None:
        """What has come before a latch is armed anew goes where it would have gone."""
        if pinhole.latch.state is LatchState.LATCHED:
            for either in pinholes:
                self._receive(either, now)

    def _judge(
        self, pinhole: ReferencePinhole, source: TransportAddress, datagram: bytes, now: float
    ) -> None:
        if pinhole.binding.linger_s is not None:
            pinhole.busy_at = now
            return
        header = classify(datagram)
        verdict = self._verdict(pinhole, source, header, datagram, now)
        if drop := DROPS.get(verdict):
            pinhole.count(drop)
            if verdict is Verdict.RIVAL:
                self._rivalry(pinhole, source, now)
            return
        if verdict is Verdict.RELATCHED and isinstance(pinhole.latch, IceLatch):
            pinhole.moved = True
        elif verdict in (Verdict.LATCHED, Verdict.RELATCHED):
            self._latched(pinhole, source, verdict is Verdict.RELATCHED, now)
        pinhole.note_proof(source, now)
        self._heard(pinhole)
        pinhole.count("received_packets")
        pinhole.count("received_bytes", len(datagram))
        other = pinhole.binding.pinholes[1 - pinhole.side]
        if not (isinstance(pinhole.latch, Latch) and pinhole.latch.is_aside(header)):
            pinhole.stream.observe(header, datagram, now, other.stream)
        if pinhole.agent is not None and header.kind is PacketKind.STUN:
            self._answer(pinhole, pinhole.agent, source, datagram, now)
            self._ask_due(pinhole, now)
            return
        if isinstance(pinhole.latch, IceLatch) and pinhole.latch.is_early:
            self._answer_early(pinhole, pinhole.latch, source, datagram)
        self._forward(pinhole, header, datagram, now)
        if verdict is Verdict.LATCHED:
            self._deliver_kept(pinhole, now)

    def _verdict(
        self,
        pinhole: ReferencePinhole,
        source: TransportAddress,
        header: Header,
        datagram: bytes,
        now: float,
    ) -> Verdict:
        if isinstance(pinhole.latch, IceLatch) and header.kind is PacketKind.STUN:
            message = stun.parse(datagram)
            answers = message is not None and message.kind in (stun.Class.SUCCESS, stun.Class.ERROR)
            if pinhole.agent is not None and answers:
                return pinhole.converse(source, datagram, now)
            if message is not None and message.kind is stun.Class.REQUEST:
                return self._verdict_on_check(pinhole, source, header, datagram, message, now)
        if self._is_kept_out(pinhole, source, now):
            return Verdict.STRANGER
        return pinhole.observe(source, header, datagram, now)

    def _is_kept_out(self, pinhole: ReferencePinhole, source: TransportAddress, now: float) -> bool:
        """Whether it is a source that sprays, where nothing is known of the party."""
        evidence = pinhole.latch.evidence
        if evidence is None or source == pinhole.latch.source:
            return False
        if evidence.is_untold and self._bars.note(source.ip, now):
            self._rivalry(pinhole, source, now)
        return evidence.asks_for_bars(source.ip) and self._bars.has(source.ip, now)

    def _verdict_on_check(
        self,
        pinhole: ReferencePinhole,
        source: TransportAddress,
        header: Header,
        datagram: bytes,
        message: stun.BindingMessage,
        now: float,
    ) -> Verdict:
        if self._transactions.is_repeated(message.transaction, source):
            return Verdict.RIVAL
        verdict = pinhole.observe(source, header, datagram, now)
        if verdict in (Verdict.PASS, Verdict.LATCHED, Verdict.RELATCHED):
            self._transactions.remember(message.transaction, source)
        return verdict

    def _answer(
        self,
        pinhole: ReferencePinhole,
        agent: IceAgent,
        source: TransportAddress,
        datagram: bytes,
        now: float,
    ) -> None:
        """A believed check ends here, and is answered to where it came from."""
        message = stun.parse(datagram)
        if message is not None and message.kind is stun.Class.REQUEST:
            assert isinstance(pinhole.latch, IceLatch)
            answer = agent.answer(message, source, pinhole.latch.signed_with, now)
            self._send_own(pinhole, source, answer)

    def _answer_early(
        self, pinhole: ReferencePinhole, latch: IceLatch, source: TransportAddress, datagram: bytes
    ) -> None:
        """A believed check of an agent that has yet to answer the offer."""
        message = stun.parse(datagram)
        if message is not None and message.kind is stun.Class.REQUEST:
            answer = stun_writing.success(message.transaction, source, latch.signed_with)
            self._send_own(pinhole, source, answer)

    def _forward(
        self, pinhole: ReferencePinhole, header: Header, datagram: bytes, now: float
    ) -> None:
        other = pinhole.binding.pinholes[1 - pinhole.side]
        if header.kind is PacketKind.EMPTY:
            pinhole.count("dropped_empty")
        elif not may_flow(pinhole, header, len(datagram), now):
            pinhole.count("dropped_gate")
        elif not pinhole.bucket.admits(len(datagram), now):
            pinhole.count("dropped_policed")
        elif (destination := destination_of(pinhole, other, header, datagram, now)) is None:
            pinhole.count("dropped_unlatched")
        elif destination == other.latch.source and not (
            self._is_check(pinhole, header) or other.may_have_more(now)
        ):
            pinhole.count("dropped_policed")
        else:
            self._send(other, destination, datagram)

    @staticmethod
    def _is_check(pinhole: ReferencePinhole, header: Header) -> bool:
        """Whether a packet goes between two agents, and where their checks go."""
        return header.kind is PacketKind.STUN and isinstance(pinhole.latch, IceLatch)

    def _deliver_kept(self, pinhole: ReferencePinhole, now: float) -> None:
        """An agent is known, or may be asked, by now: it gets the check that waited for that."""
        other = pinhole.binding.pinholes[1 - pinhole.side]
        if pinhole.latch.state is not LatchState.LATCHED or not isinstance(other.latch, IceLatch):
            return
        if other.flow is not Flow.WAITING and (check := other.latch.take_kept()):
            destination = destination_of_check(other, pinhole, check, now)
            if destination is not None:
                self._send(pinhole, destination, check)

    def _send(
        self, pinhole: ReferencePinhole, destination: TransportAddress, datagram: bytes
    ) -> None:
        try:
            pinhole.socket.sendto(datagram, (str(destination.ip), destination.port))
        except OSError:
            pinhole.count("dropped_send")
        else:
            pinhole.count("sent_packets")
            pinhole.count("sent_bytes", len(datagram))

    def _send_own(
        self, pinhole: ReferencePinhole, destination: TransportAddress, message: bytes
    ) -> None:
        """A message of our own agent; what nobody hears is asked again."""
        try:
            pinhole.socket.sendto(message, (str(destination.ip), destination.port))
        except OSError:
            pinhole.count("dropped_send")

    # Events

    def _happened(self, event: Event) -> None:
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):
            os.write(self._tell, b"x")

    def _latched(
        self, pinhole: ReferencePinhole, source: TransportAddress, again: bool, now: float
    ) -> None:
        name, generation = pinhole.binding.name, pinhole.latch.generation
        after_s = now - pinhole.armed_at
        stream = pinhole.latch.stream if isinstance(pinhole.latch, Latch) else None
        pinhole.told_stream = None if stream is None else stream[0]
        self._happened(Latched(name, pinhole.side, generation, source, again, after_s, stream))

    def _tell_stream(self, pinhole: ReferencePinhole, latch: Latch, now: float) -> None:
        if now - pinhole.stream_told_at < STREAM_EVENT_S:
            return
        stream = latch.news_of_stream(pinhole.told_stream, now)
        if stream is not None:
            pinhole.stream_told_at, pinhole.told_stream = now, stream[0]
            self._happened(StreamChanged(pinhole.binding.name, pinhole.side, stream))

    def _rivalry(self, pinhole: ReferencePinhole, source: TransportAddress, now: float) -> None:
        is_itself = source == pinhole.latch.source  # another stream in the learned one's name
        if not is_itself and now - pinhole.rivalry_told_at >= RIVALRY_EVENT_S:
            pinhole.rivalry_told_at = now
            self._happened(Rivalry(pinhole.binding.name, pinhole.side, source))

    def _heard(self, pinhole: ReferencePinhole) -> None:
        if pinhole.silent:
            pinhole.silent = False
            self._happened(Heard(pinhole.binding.name, pinhole.side))

    def _tick(self, now: float) -> None:
        for binding in list(self._bindings.values()):
            if binding.linger_s is not None:
                self._tick_draining(binding, binding.linger_s, now)
                continue
            for pinhole in binding.pinholes:
                self._tick_agent(pinhole, now)
                self._tick_silence(pinhole, now)

    def _tick_draining(self, binding: ReferenceBinding, linger_s: float, now: float) -> None:
        busy_at = max(pinhole.busy_at for pinhole in binding.pinholes)
        if is_free(busy_at, binding.released_at, linger_s, LINGER_CAP_S, now):
            self._drain(binding, now)

    def _tick_agent(self, pinhole: ReferencePinhole, now: float) -> None:
        agent, latch = pinhole.agent, pinhole.latch
        if agent is None or not isinstance(latch, IceLatch):
            return
        if latch.source is not None and agent.has_lost(latch.source, now):
            self._tell_silent(pinhole, now - latch.heard_at)
            latch.lose()
        self._ask_due(pinhole, now)

    def _ask_due(self, pinhole: ReferencePinhole, now: float) -> None:
        """What our own agent has to ask now."""
        if pinhole.agent is not None:
            for destination, check in pinhole.agent.tick(pinhole.latch.source, now):
                if pinhole.agent.was_heard(destination) or self._may_ask(destination, now):
                    self._send_own(pinhole, destination, check)

    def _may_ask(self, destination: TransportAddress, now: float) -> bool:
        """Whether one more check may go to an address from which nothing has come."""
        place = hash(destination.ip) % BYSTANDERS
        pace = self._unasked.setdefault(place, Pace(UNASKED_PER_S, UNASKED_AT_ONCE))
        if not pace.allows(now):
            return False
        pace.spend()
        return True

    def _tick_silence(self, pinhole: ReferencePinhole, now: float) -> None:
        latch = pinhole.latch
        if pinhole.moved and latch.source is not None:
            pinhole.moved = False
            self._latched(pinhole, latch.source, True, now)
        silent_s = now - latch.heard_at
        if isinstance(latch, Latch) and silent_s < SILENCE_S:
            self._tell_stream(pinhole, latch, now)
        if latch.state is LatchState.LATCHED and silent_s >= SILENT_S:
            self._tell_silent(pinhole, silent_s)

    def _tell_silent(self, pinhole: ReferencePinhole, silent_s: float) -> None:
        if not pinhole.silent:
            pinhole.silent = True
            self._happened(Silent(pinhole.binding.name, pinhole.side, silent_s))


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
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        opened.bind((str(bound.ip), bound.port))
    except OSError as error:
        opened.close()
        raise bind_error(bound, error) from error
    return opened
