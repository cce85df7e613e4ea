"""A pinhole of the reference engine: its latch, its gate, its counts, and where its packets go.

Time is an argument, and nothing here receives or sends.
"""

import socket
from dataclasses import dataclass, field, replace

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay import ice_agent, stun
from jingle_hnt.relay.binding import (
    NOMINAL_BYTES_PER_S,
    NOMINAL_PACKETS_PER_S,
    PROVEN_S,
    UNPROVEN_PACKETS,
    Arm,
    BindingName,
    BindingSnapshot,
    Counters,
    Flow,
    PinholeSnapshot,
    Side,
    StreamAt,
)
from jingle_hnt.relay.evidence import Evidence
from jingle_hnt.relay.ice_agent import TARGETS, Checks, IceAgent
from jingle_hnt.relay.ice_latch import IceLatch
from jingle_hnt.relay.latch import Latch, LatchState, Verdict
from jingle_hnt.relay.packet import SETUP_KINDS, Header, PacketKind
from jingle_hnt.relay.policing import Bucket
from jingle_hnt.relay.quality import StreamMeter
from jingle_hnt.relay.srtp_latch import SrtpLatch

DROPS = {
    Verdict.SHUT: "dropped_shut",
    Verdict.STRANGER: "dropped_stranger",
    Verdict.UNFIT: "dropped_unfit",
    Verdict.PROBATION: "dropped_probation",
    Verdict.RIVAL: "dropped_rival",
}
"""As what a packet is counted that a latch refuses."""


@dataclass(slots=True)
class Proof:
    """Whether the learned source is no bystander.

    A source that one packet has taught, in whoever's name, gets `UNPROVEN_PACKETS` of the other
    party's until it sends again; who still sends `PROVEN_S` later has shown that it wants them. An
    address that signalling has told is the party's own.
    """

    of: float | None = None  # when the source was learned
    proven: bool = False
    left: int = 0

    def note(self, latched_at: float, is_sure: bool, heard: bool, now: float) -> None:
        """The source learned at `latched_at` is heard, or about to be sent something."""
        if self.of != latched_at:
            self.of, self.left, self.proven = latched_at, UNPROVEN_PACKETS, is_sure
        elif heard and not self.proven:
            self.left, self.proven = UNPROVEN_PACKETS, now - latched_at >= PROVEN_S

    def take(self) -> bool:
        """Whether one more packet may be sent; it counts."""
        if self.proven:
            return True
        self.left -= 1
        return self.left >= 0


@dataclass(slots=True, eq=False)
class ReferencePinhole:
    """One socket facing one side, its latch and its counts."""

    side: Side
    bound: TransportAddress
    socket: socket.socket
    binding: "ReferenceBinding"
    bucket: Bucket
    latch: Latch | IceLatch | SrtpLatch = field(default_factory=Latch)
    agent: IceAgent | None = None
    early: TransportAddress | None = None
    early_left: tuple[int, int] = (0, 0)  # packets and bytes
    flow: Flow = Flow.CLOSED
    counts: dict[str, int] = field(default_factory=dict)
    stream: StreamMeter = field(default_factory=StreamMeter)
    armed_at: float = 0.0
    busy_at: float = 0.0
    silent: bool = False
    moved: bool = False  # an ICE agent nominated another source; told at the next tick
    rivalry_told_at: float = float("-inf")
    stream_told_at: float = float("-inf")
    told_stream: int | None = None  # its SSRC
    proof: Proof = field(default_factory=Proof)
    nominal: tuple[int, int, int] = (0, 0, 0)  # the second; packets and bytes let through in it

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of `Counters`."""
        self.counts[name] = self.counts.get(name, 0) + by

    def arm(self, order: Arm, now: float) -> bool:
        """Arm the latch that this evidence calls for; False where the generation is not greater."""
        kind = _kind_of_latch(order.evidence)
        if not isinstance(self.latch, kind) and order.generation > self.latch.generation:
            self.latch = kind()
            self.set_flow(self.flow)
        if not self.latch.arm(order.generation, order.evidence):
            return False
        if order.checks is None:
            self.agent = None
        else:
            self.agent = self.agent or IceAgent()
            self.agent.arm(self._known_first(order.checks), now)
        return True

    def _known_first(self, checks: Checks) -> Checks:
        """The party that has asked before is asked before its candidates are."""
        source = self.latch.source
        if source is None:
            return checks
        return replace(checks, targets=(source, *checks.targets)[:TARGETS])

    def resume(self, source: TransportAddress, stream: StreamAt | None, now: float) -> None:
        """Take up what an earlier life of the plane had learned."""
        if isinstance(self.latch, Latch):
            self.latch.resume(source, now, stream)
        else:
            self.latch.resume(source, now)

    def set_flow(self, flow: Flow) -> None:
        """Set what may flow; where media may not, its source's silence means nothing."""
        self.flow = flow
        if isinstance(self.latch, Latch):
            self.latch.expect(flow is Flow.OPEN)

    def converse(self, source: TransportAddress, datagram: bytes, now: float) -> Verdict:
        """Judge an answer to one of our own checks."""
        message, latch = stun.parse(datagram), self.latch
        assert self.agent is not None
        assert isinstance(latch, IceLatch)
        if latch.evidence is None or not latch.evidence.admits(source.ip):
            return Verdict.STRANGER
        heard = ice_agent.Answered.NOTHING
        if message is not None:
            heard = self.agent.hear(message, datagram, source, now)
        if heard in (ice_agent.Answered.NOTHING, ice_agent.Answered.REFUSED):
            return Verdict.UNFIT
        return latch.vouch(source, heard is ice_agent.Answered.NOMINATED, now)

    def observe(
        self, source: TransportAddress, header: Header, datagram: bytes, now: float
    ) -> Verdict:
        """What the latch says of a datagram."""
        if isinstance(self.latch, IceLatch | SrtpLatch):
            return self.latch.observe(source, header, datagram, now)
        return self.latch.observe(source, header, now)

    def note_proof(self, source: TransportAddress | None, now: float) -> None:
        """Take note of whether the learned source is heard; `source` is None where nobody is."""
        latch = self.latch
        if latch.state is not LatchState.LATCHED:
            return
        told = isinstance(latch, Latch) and latch.evidence is not None
        is_sure = told and latch.evidence is not None and latch.evidence.probation <= 1
        heard = source is not None and source == latch.source
        self.proof.note(latch.latched_at, is_sure, heard, now)

    def may_have_more(self, now: float) -> bool:
        """Whether the learned source may be sent one more packet."""
        self.note_proof(None, now)
        return self.latch.state is not LatchState.LATCHED or self.proof.take()

    def unasked(self, size: int) -> TransportAddress | None:
        """Where a packet goes while nothing is learned, if this one may (RFC 7362 section 4)."""
        packets, octets = self.early_left
        if self.early is None or packets == 0 or octets < size:
            return None
        self.early_left = (packets - 1, octets - size)
        return self.early

    def _checks(self) -> dict[str, int]:
        agent = self.agent or IceAgent()
        return {
            "checks_sent": agent.sent,
            "checks_answered": agent.answered,
            "checks_refused": agent.refused,
        }

    def snapshot(self, now: float) -> PinholeSnapshot:
        """How things stand."""
        latch, latched = self.latch, self.latch.state is LatchState.LATCHED
        return PinholeSnapshot(
            bound=self.bound,
            state=latch.state,
            generation=latch.generation,
            source_auth=None if latch.evidence is None else latch.evidence.source_auth,
            learned=latch.source,
            latched_s=now - latch.latched_at if latched else None,
            heard_s=now - latch.heard_at if latched else None,
            flow=self.flow,
            counters=Counters(**self.counts, **self._checks()),
            quality=self.stream.quality,
            stream=latch.stream if isinstance(latch, Latch) else None,
        )


@dataclass(slots=True, eq=False)
class ReferenceBinding:
    """Two pinholes that forward to each other."""

    name: BindingName
    pinholes: tuple[ReferencePinhole, ...] = ()
    linger_s: float | None = None  # set when it is released
    released_at: float = 0.0

    def snapshot(self, now: float) -> BindingSnapshot:
        """How things stand on both sides."""
        first, second = self.pinholes
        pinholes = (first.snapshot(now), second.snapshot(now))
        return BindingSnapshot(self.name, pinholes, draining=self.linger_s is not None)


def _kind_of_latch(evidence: Evidence) -> type[Latch | IceLatch | SrtpLatch]:
    if evidence.keys:
        return IceLatch
    return SrtpLatch if evidence.tags else Latch


def destination_of(
    pinhole: ReferencePinhole, other: ReferencePinhole, header: Header, datagram: bytes, now: float
) -> TransportAddress | None:
    """Where the other side's party is to have this packet; None where nobody is known.

    Where ICE ends at us, nobody but us asks in our name.
    """
    if header.kind is PacketKind.STUN and other.agent is not None:
        return None
    if header.kind is PacketKind.STUN and isinstance(pinhole.latch, IceLatch):
        return destination_of_check(pinhole, other, datagram, now)
    return other.latch.source or other.unasked(len(datagram))


def destination_of_check(
    pinhole: ReferencePinhole, other: ReferencePinhole, datagram: bytes, now: float
) -> TransportAddress | None:
    """Checks and answers between two ICE agents; an agent has nothing to ask of anybody else."""
    message = stun.parse(datagram)
    if message is None:
        return None
    if not isinstance(other.latch, IceLatch):
        if message.kind is stun.Class.REQUEST and isinstance(pinhole.latch, IceLatch):
            pinhole.latch.keep(datagram)
        return None
    match message.kind:
        case stun.Class.INDICATION:
            return other.latch.source
        case stun.Class.REQUEST:
            waits = pinhole.flow is Flow.WAITING
            destination = None if waits else other.latch.where_to_ask(now)
            if destination is None and isinstance(pinhole.latch, IceLatch):
                pinhole.latch.keep(datagram)
            elif destination is not None and message.nominates:
                other.moved |= other.latch.nominated(destination, now)
            return destination
        case _:
            return other.latch.asker(message.transaction)


def may_flow(pinhole: ReferencePinhole, header: Header, size: int, now: float) -> bool:
    """Whether this side's flow lets the packet through (media-path-middleboxes section 4)."""
    match pinhole.flow:
        case Flow.OPEN | Flow.HOLDING:
            return True
        case Flow.HELD:
            return header.kind is PacketKind.RTCP or (
                isinstance(pinhole.latch, IceLatch) and header.kind in SETUP_KINDS
            )
        case Flow.WAITING:
            return header.kind is PacketKind.STUN and isinstance(pinhole.latch, IceLatch)
        case Flow.NOMINAL:
            second = int(now)
            since, passed, octets = pinhole.nominal
            if since != second:
                passed = octets = 0
            octets += size
            if header.kind not in SETUP_KINDS or passed >= NOMINAL_PACKETS_PER_S:
                return False
            if octets > NOMINAL_BYTES_PER_S:
                return False
            pinhole.nominal = (second, passed + 1, octets)
            return True
        case _:
            return False
