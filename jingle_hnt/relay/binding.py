"""The words in which signalling and forwarding plane talk: bindings, orders, snapshots, events.

A *binding* is two *pinholes* of one content's component; a pinhole is one UDP socket facing one
party. The plane knows the parties as sides 0 and 1 and nothing more.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.latch import LatchState

Side = Literal[0, 1]
BindingName = str
"""Chosen by the signalling process, unique, 1 to 64 characters; the plane reads nothing in it."""


StreamAt = tuple[int, int]
"""SSRC (32 bits) and sequence number (16 bits) of what a source sent last."""


class Flow(IntEnum):
    """What of one side's media goes on to the other. The numbers are the C engine's."""

    CLOSED = 0  # nothing
    NOMINAL = 1  # a trickle of STUN, DTLS and ZRTP (media-path-middleboxes REC 2)
    HELD = 2  # RTCP only: on hold (XEP-0167 section 5.4); of an ICE agent its checks and DTLS too
    OPEN = 3  # everything
    WAITING = 4  # of ICE agents STUN, but their checks are kept until something else is ordered
    HOLDING = 5  # everything; this side has put the call on hold, so its silence means nothing


NOMINAL_PACKETS_PER_S, NOMINAL_BYTES_PER_S = 20, 16_000
"""What NOMINAL lets through per second and side: enough for a handshake, useless for media."""

UNPROVEN_PACKETS, PROVEN_S = 240, 1.0
"""What a source gets for one packet of its own, and when it has proven that it wants more."""

EARLY_PACKETS, EARLY_BYTES = 5, 1000
"""The most that is sent to an address that was never heard from (RFC 7362 section 4: two relays
that face each other): enough to teach the other relay's latch, useless against a bystander."""


@dataclass(frozen=True, slots=True)
class BindingSpec:
    """A binding to make: two pinholes, one UDP socket each, on these bound transport addresses."""

    name: BindingName
    pinholes: tuple[TransportAddress, TransportAddress]


@dataclass(frozen=True, slots=True)
class Arm:
    """Arm the latch of one side for a generation.

    `resume` restores what it had learned before, with the `stream` that a snapshot told then.
    `early` is where the other side's first packets go while nothing is learned: at most
    EARLY_PACKETS and EARLY_BYTES of them. With `checks` the plane is an ICE agent towards this
    side, and no STUN goes on to the other one; the evidence has keys then.
    """

    name: BindingName
    side: Side
    generation: int
    evidence: Evidence
    resume: TransportAddress | None = None
    early: TransportAddress | None = None
    checks: Checks | None = None
    stream: StreamAt | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What may flow: `flows[i]` is for the media that side i sends."""

    name: BindingName
    flows: tuple[Flow, Flow]


@dataclass(frozen=True, slots=True)
class Counters:
    """One pinhole's counts since it was bound. Drops are packets, by reason."""

    received_packets: int = 0  # heard from the learned source
    received_bytes: int = 0
    sent_packets: int = 0  # sent on to this side's party
    sent_bytes: int = 0
    dropped_shut: int = 0  # the latch was not armed
    dropped_stranger: int = 0  # not from where the evidence says, seen by the process
    dropped_unfit: int = 0  # empty, junk or STUN where a latch was to be taught
    dropped_probation: int = 0
    dropped_rival: int = 0
    dropped_gate: int = 0  # the gate did not let it through
    dropped_policed: int = 0  # this side sends more than it may (`policing.py`)
    dropped_unlatched: int = 0  # the other side has no learned address yet
    dropped_empty: int = 0  # an empty datagram of the learned source: a keepalive, ends here
    dropped_send: int = 0  # the kernel refused to send it
    dropped_kernel: int = 0  # stopped by the socket's filter or a full receive queue
    checks_sent: int = 0  # ours, where the plane is an ICE agent
    checks_answered: int = 0
    checks_refused: int = 0  # answered by an error, or with other credentials


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one side's RTP arrives at the relay (`quality.py`); counts are of its packets.

    `jitter_ms` is RFC 3550's estimate, `round_trip_ms` that between the relay and the party, known
    only where RTCP is not encrypted; `ssrc` is the last stream's, None before the first packet.
    """

    ssrc: int | None = None
    packets: int = 0
    lost: int = 0
    reordered: int = 0
    duplicates: int = 0
    jitter_ms: float = 0.0
    round_trip_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PinholeSnapshot:
    """One pinhole as it stands. Times are seconds ago; None means not yet.

    `stream` is known only of a source that was learned by clear RTP or RTCP.
    """

    bound: TransportAddress
    state: LatchState
    generation: int
    source_auth: SourceAuth | None
    learned: TransportAddress | None
    latched_s: float | None
    heard_s: float | None
    flow: Flow
    counters: Counters
    quality: Quality = Quality()
    stream: StreamAt | None = None


@dataclass(frozen=True, slots=True)
class BindingSnapshot:
    """One binding as it stands; `draining` after its release until its ports are free."""

    name: BindingName
    pinholes: tuple[PinholeSnapshot, PinholeSnapshot]
    draining: bool


@dataclass(frozen=True, slots=True)
class Latched:
    """A side's source was learned, `after_s` seconds after its latch was armed.

    `stream` is what it sends, where it was learned by clear RTP or RTCP.
    """

    name: BindingName
    side: Side
    generation: int
    source: TransportAddress
    relatched: bool
    after_s: float
    stream: StreamAt | None = None


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """A learned source sends another stream than was told; at most one a second and pinhole."""

    name: BindingName
    side: Side
    stream: StreamAt


@dataclass(frozen=True, slots=True)
class Rivalry:
    """Another source competes for a side's latch; told at most once a second and pinhole."""

    name: BindingName
    side: Side
    source: TransportAddress


SILENT_S = 4.5
"""A latched side unheard for this long is reported as silent."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A latched side has not been heard for `silent_s` seconds."""

    name: BindingName
    side: Side
    silent_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A side that was silent is heard again."""

    name: BindingName
    side: Side


@dataclass(frozen=True, slots=True)
class Drained:
    """A released binding's ports are free again, with its last counters."""

    name: BindingName
    pinholes: tuple[PinholeSnapshot, PinholeSnapshot]


PinholeEvent = Latched | StreamChanged | Rivalry | Silent | Heard
Event = PinholeEvent | Drained

EVENTS: dict[str, type[Event]] = {
    "latched": Latched,
    "stream": StreamChanged,
    "rivalry": Rivalry,
    "silent": Silent,
    "heard": Heard,
    "drained": Drained,
}
"""Every event by its word in the control protocol; the C engine counts them in this order."""
