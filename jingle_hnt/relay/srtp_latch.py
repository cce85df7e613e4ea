"""The latch of a pinhole whose party signalled SDES keys: only SRTP tags teach it (rung R2).

RFC 7362 section 5 asks for it: where keys are known, refuse to latch onto a source that does not
authenticate. The rules:

1.  A source is believed by one RTP or RTCP packet whose tag was made with one of the keys, wherever
    it comes from. Whatever else comes from an unknown source leaves no trace but a count.
2.  No packet teaches twice: of a stream that was heard before, the index has to be greater. A
    replay from elsewhere is not believed, nor one after the latch was armed anew.
3.  *Latched*: the learned source's RTP and RTCP is heard with a tag of one of the keys, and once
    (RFC 3711 section 3.3.2): who knows address, port, SSRC and sequence has nothing to send in its
    name. Another source is believed when the learned one has been silent for `SILENCE_S`, and not
    before: a man on the path who copies packets and is quicker wins nothing.
4.  A greater generation whose keys include the one that the learned source showed changes nothing
    else; where they do not, what was learned is obsolete at once.
5.  The rollover counter is not on the wire. That of a new stream is 0, or 1 where its first packets
    were missed; that of a known one goes on. A stream that an earlier life of the plane had learned
    may be at any of the first `MOST_ROLLOVERS`: each packet tries `ROLLOVERS` of them, and until
    one fits, the stream is heard unproven.

The C engine's twin is `plane/native/srtp.c`; a property test drives both with the same packets.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.evidence import Evidence
from jingle_hnt.relay.latch import SILENCE_S, State, Verdict
from jingle_hnt.relay.packet import Header, Kind
from jingle_hnt.relay.srtp import is_rtcp_signed, is_rtp_signed, rtcp_index

STREAMS = 8
"""Streams of one party that are known at a time; the one that was first makes room."""

ROLLOVERS = 16
"""Rollover counters that a packet is tried with, of a stream whose beginning nobody saw."""

MOST_ROLLOVERS = 4096
"""Where that begins anew: 62 days of audio."""

WINDOW = 1024
"""Indexes behind the greatest that may still come; what is older was heard, or never will be."""

_ALL = (1 << WINDOW) - 1


@dataclass(slots=True)
class _Stream:
    """A stream by kind and SSRC. `index` is the greatest of RTP (48 bits) or RTCP (31 bits);
    `sure` tells that a tag has shown its rollover counter, `tried` which did not fit before.
    `heard` has a bit for each index of the window, that of the greatest first."""

    kind: Kind
    ssrc: int
    index: int
    sure: bool
    heard: int = 1
    tried: int = 0

    def has_heard(self, index: int) -> bool:
        """Whether a packet of this index is a replay, or too old to tell."""
        behind = self.index - index
        return behind >= 0 and (behind >= WINDOW or bool(self.heard >> behind & 1))

    def hear(self, index: int) -> None:
        """A packet was shown to be this stream's own."""
        if not self.sure:  # what came before nobody remembers
            self.index, self.heard, self.sure = index, _ALL, True
        elif index > self.index:
            ahead = min(index - self.index, WINDOW)
            self.index, self.heard = index, self.heard << ahead & _ALL | 1
        else:
            self.heard |= 1 << self.index - index


@dataclass(slots=True)
class SrtpLatch:
    """See the module's text. Times are monotonic and never fall."""

    state: State = State.SHUT
    generation: int = -1
    evidence: Evidence | None = None
    source: TransportAddress | None = None
    latched_at: float = 0.0
    heard_at: float = 0.0
    _key: TagKey | None = None
    _resumed: bool = False
    _streams: list[_Stream] = field(default_factory=list)

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm with the keys of a generation greater than every one before.

        Returns False, and changes nothing, for a generation that is not greater.
        """
        if generation <= self.generation:
            return False
        self.generation = generation
        self.evidence = evidence
        if self._key is None or self._key not in evidence.tags:
            self.state = State.ARMED
            self.source = self._key = None
            self._resumed = False
            self._streams.clear()
        return True

    def resume(self, source: TransportAddress, now: float) -> None:
        """Take up what an earlier life of the plane had learned; the latch must be armed."""
        assert self.evidence is not None
        self._learn(source, self.evidence.tags[0], now)
        self._resumed = True

    def observe(
        self, source: TransportAddress, header: Header, datagram: bytes, now: float
    ) -> Verdict:
        """Judge one packet, and learn from it where the rules allow."""
        if self.evidence is None:
            return Verdict.SHUT
        if source == self.source:
            return self._heard(header, datagram, now)
        if not self.evidence.admits(source.ip):
            return Verdict.STRANGER
        if header.kind not in (Kind.RTP, Kind.RTCP):
            return Verdict.UNFIT
        if self.state is State.LATCHED and now - self.heard_at < SILENCE_S:
            return Verdict.RIVAL
        key = self._believe(header, datagram)
        if key is None:
            return Verdict.UNFIT
        verdict = Verdict.RELATCHED if self.state is State.LATCHED else Verdict.LATCHED
        self._learn(source, key, now)
        return verdict

    def _learn(self, source: TransportAddress, key: TagKey, now: float) -> None:
        self.state = State.LATCHED
        self.source, self._key = source, key
        self.latched_at = self.heard_at = now

    def _heard(self, header: Header, datagram: bytes, now: float) -> Verdict:
        if header.kind in (Kind.RTP, Kind.RTCP):
            verdict = self._follow(header, datagram)
            if verdict is not Verdict.PASS:
                return verdict
        self.heard_at = now
        return Verdict.PASS

    def _follow(self, header: Header, datagram: bytes) -> Verdict:
        """Media in the learned source's name: its own, a replay, or somebody else's."""
        stream = self._known(header)
        if stream is None and header.kind is Kind.RTP and self._resumed:
            self._resumed = False
            stream = self._enter(header, header.sequence, sure=False)
        key, index = self._signer(header, datagram, stream)
        if key is None:
            if stream is None or stream.sure:
                return Verdict.RIVAL
            stream.tried = (stream.tried + ROLLOVERS) % MOST_ROLLOVERS
            return Verdict.PASS
        self._key = key
        if stream is None:
            self._enter(header, index, sure=True)
        elif stream.sure and stream.has_heard(index):
            return Verdict.UNFIT
        else:
            stream.hear(index)
        return Verdict.PASS

    def _believe(self, header: Header, datagram: bytes) -> TagKey | None:
        """The key that a packet from elsewhere was signed with, if it is newer than all before."""
        stream = self._known(header)
        key, index = self._signer(header, datagram, stream)
        if key is None:
            return None
        if stream is None:
            self._enter(header, index, sure=True)
        elif stream.sure and index <= stream.index:
            return None
        else:
            stream.hear(index)
        return key

    def _signer(
        self, header: Header, datagram: bytes, stream: _Stream | None
    ) -> tuple[TagKey | None, int]:
        """The key that a packet was signed with, and its index."""
        assert self.evidence is not None
        for key in self.evidence.tags:
            index = _signed_at(key, header, datagram, stream)
            if index is not None:
                return key, index
        return None, 0

    def _known(self, header: Header) -> _Stream | None:
        same = (s for s in self._streams if s.kind is header.kind and s.ssrc == header.ssrc)
        return next(same, None)

    def _enter(self, header: Header, index: int, *, sure: bool) -> _Stream:
        if len(self._streams) == STREAMS:
            del self._streams[0]
        stream = _Stream(header.kind, header.ssrc, index, sure)
        self._streams.append(stream)
        return stream


def _signed_at(key: TagKey, header: Header, datagram: bytes, stream: _Stream | None) -> int | None:
    """The index at which this key made the packet's tag; None where it did not."""
    if header.kind is Kind.RTCP:
        return rtcp_index(datagram, key) if is_rtcp_signed(datagram, key) else None
    for rollover in _rollovers(header, stream):
        if is_rtp_signed(datagram, key, rollover):
            return rollover << 16 | header.sequence
    return None


def _rollovers(header: Header, stream: _Stream | None) -> Iterable[int]:
    if stream is None:
        return range(2)
    if not stream.sure:
        return range(stream.tried, stream.tried + ROLLOVERS)
    return (_nearest(stream.index, header.sequence) >> 16,)


def _nearest(index: int, sequence: int) -> int:
    """The packet index that a sequence number means (RFC 3711 section 3.3.1)."""
    rollover, last = index >> 16, index & 0xFFFF
    if last < 0x8000 and sequence - last > 0x8000 and rollover > 0:
        rollover -= 1
    elif last >= 0x8000 and last - 0x8000 > sequence:
        rollover += 1
    return (rollover & 0xFFFFFFFF) << 16 | sequence
