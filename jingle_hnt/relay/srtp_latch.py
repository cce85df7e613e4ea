"""The latch of a pinhole whose party signalled SDES keys: only SRTP tags teach it.

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
    one fits, the stream is heard unproven. Where it comes from elsewhere by now, each packet tries
    the first `RESUMED_ROLLOVERS`.
6.  A client may make its SRTP state anew, at a hold or when its network changes: its counters begin
    at 0 again. Where `MISFITS` packets in a row fit nothing, counter 0 and the neighbours of the
    expected one are tried. An index greater than all before is believed at once. A lesser one may
    be a replay of long ago: it counts when `MISFITS` packets in order have shown such indexes, and
    nothing has fitted for `RESTART_S`; without that pause only below the first index ever heard.
    The window of replays begins anew there. From elsewhere it counts only once after the latch was
    armed anew, and where the sequence numbers go on.
7.  Of sources that hardly are the party (not `likely`), `FAILURES_PER_S` packets that are not
    signed cost a digest; more are not tried. Streams that are known have so many of their own: who
    does not know the party's SSRC cannot use them up.

The C engine's twin is `plane/native/rules/srtp.c`; a property test drives both with the same
packets.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.evidence import Evidence
from jingle_hnt.relay.latch import SILENCE_S, LatchState, Verdict
from jingle_hnt.relay.pace import Pace
from jingle_hnt.relay.packet import Header, PacketKind
from jingle_hnt.relay.srtp import is_rtcp_signed, is_rtp_signed, rtcp_index
from jingle_hnt.relay.streak import MAX_DROPOUT

FAILURES_PER_S, FAILURES_AT_ONCE = 500.0, 500.0
"""How many packets of sources that hardly are the party are tried that are not signed."""

STREAMS = 8
"""Streams of one party that are known at a time; the one that was first makes room."""

ROLLOVERS = 16
"""Rollover counters that a packet is tried with, of a stream whose beginning nobody saw."""

RESUMED_ROLLOVERS = 64
"""The same where it comes from elsewhere: 23 hours of audio, or an hour or two of video."""

MOST_ROLLOVERS = 4096
"""Where that begins anew: 62 days of audio."""

WINDOW = 1024
"""Indexes behind the greatest that may still come; what is older was heard, or never will be."""

MISFITS = 3
"""Packets in a row that fit nothing before other rollover counters are tried."""

RESTART_S, RESTART_RTCP_S = 0.5, 15.0
"""How long nothing has fitted of a stream before lesser indexes may be its new ones."""

_ALL = (1 << WINDOW) - 1


@dataclass(slots=True)
class _Stream:
    """A stream by kind and SSRC. `index` is the greatest of RTP (48 bits) or RTCP (31 bits);
    `sure` tells that a tag has shown its rollover counter, `tried` which did not fit before.
    `heard` has a bit for each index of the window, that of the greatest first. `first` is the least
    index heard, `fitted_at` when a packet fitted last, `misfits` how many have not since.
    `anew` is the last of `anew_packets` in order whose lesser indexes may be new ones; `renewed`
    tells that the sender has lost its state, so that the next is."""

    kind: PacketKind
    ssrc: int
    index: int
    sure: bool
    fitted_at: float
    heard: int = 1
    tried: int = 0
    first: int = 0
    misfits: int = 0
    anew: int = 0
    anew_packets: int = 0
    renewed: bool = False

    def has_heard(self, index: int) -> bool:
        """Whether a packet of this index is a replay, or too old to tell."""
        behind = self.index - index
        return behind >= 0 and (behind >= WINDOW or bool(self.heard >> behind & 1))

    def begins_anew(self, index: int, now: float) -> bool:
        """Whether a packet of such a lesser index shows that the sender has lost its state."""
        if self.index - index < WINDOW and not self.renewed:
            return False
        pause_s = RESTART_S if self.kind is PacketKind.RTP else RESTART_RTCP_S
        if index >= self.first and now - self.fitted_at < pause_s and not self.renewed:
            return False
        in_order = self.anew_packets > 0 and 0 < index - self.anew <= MAX_DROPOUT
        self.anew, self.anew_packets = index, self.anew_packets + 1 if in_order else 1
        return self.renewed or self.anew_packets >= MISFITS

    def begin_anew(self, index: int) -> None:
        """Its numbers go on from here."""
        self.index, self.heard, self.first = index, _ALL, min(self.first, index)

    def fits(self, now: float) -> None:
        """A packet of it was believed."""
        self.fitted_at, self.misfits, self.anew_packets, self.renewed = now, 0, 0, False

    def hear(self, index: int) -> None:
        """A packet was shown to be this stream's own."""
        if not self.sure:  # what came before nobody remembers
            self.index, self.heard, self.sure, self.first = index, _ALL, True, index
        elif index > self.index:
            ahead = min(index - self.index, WINDOW)
            self.index, self.heard = index, self.heard << ahead & _ALL | 1
        else:
            self.heard |= 1 << self.index - index


def _pace() -> Pace:
    return Pace(FAILURES_PER_S, FAILURES_AT_ONCE)


@dataclass(slots=True)
class SrtpLatch:
    """See the module's text. Times are monotonic and never fall."""

    state: LatchState = LatchState.SHUT
    generation: int = -1
    evidence: Evidence | None = None
    source: TransportAddress | None = None
    latched_at: float = 0.0
    heard_at: float = 0.0
    _key: TagKey | None = None
    _resumed: bool = False
    _armed_anew: bool = False
    _streams: list[_Stream] = field(default_factory=list)
    _failures: Pace = field(default_factory=_pace, compare=False)
    _failures_of_known: Pace = field(default_factory=_pace, compare=False)

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm with the keys of a generation greater than every one before.

        Returns False, and changes nothing, for a generation that is not greater.
        """
        if generation <= self.generation:
            return False
        self.generation = generation
        self.evidence = evidence
        if self._key is None or self._key not in evidence.tags:
            self.state = LatchState.ARMED
            self.source = self._key = None
            self._resumed = False
            self._streams.clear()
        self._armed_anew = True
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
        if header.kind not in (PacketKind.RTP, PacketKind.RTCP):
            return Verdict.UNFIT
        if self.state is LatchState.LATCHED and now - self.heard_at < SILENCE_S:
            return Verdict.RIVAL
        key = self._believe(source, header, datagram, now)
        if key is None:
            return Verdict.UNFIT
        verdict = Verdict.RELATCHED if self.state is LatchState.LATCHED else Verdict.LATCHED
        self._learn(source, key, now)
        return verdict

    def _learn(self, source: TransportAddress, key: TagKey, now: float) -> None:
        self.state = LatchState.LATCHED
        self.source, self._key = source, key
        self._armed_anew = False
        self.latched_at = self.heard_at = now

    def _heard(self, header: Header, datagram: bytes, now: float) -> Verdict:
        if header.kind in (PacketKind.RTP, PacketKind.RTCP):
            verdict = self._follow(header, datagram, now)
            if verdict is not Verdict.PASS:
                return verdict
        self.heard_at = now
        return Verdict.PASS

    def _follow(self, header: Header, datagram: bytes, now: float) -> Verdict:
        """Media in the learned source's name: its own, a replay, or somebody else's."""
        stream = self._known(header)
        if stream is None and header.kind is PacketKind.RTP and self._resumed:
            self._resumed = False
            stream = self._enter(header, header.sequence, now, sure=False)
        key, index = self._signer(header, datagram, stream)
        if key is None and stream is not None and stream.sure:
            stream.misfits = min(stream.misfits + 1, MISFITS)
            key, index = self._signer_anew(header, datagram, stream, now)
        if key is None:
            if stream is None or stream.sure:
                return Verdict.RIVAL
            stream.tried = (stream.tried + ROLLOVERS) % MOST_ROLLOVERS
            return Verdict.PASS
        self._key = key
        if stream is None:
            self._enter(header, index, now, sure=True)
            return Verdict.PASS
        if stream.sure and stream.has_heard(index):
            if not stream.begins_anew(index, now):
                return Verdict.UNFIT
            self._begin_anew(stream, index)
        else:
            stream.hear(index)
        stream.fits(now)
        return Verdict.PASS

    def _believe(
        self, source: TransportAddress, header: Header, datagram: bytes, now: float
    ) -> TagKey | None:
        """The key that a packet from elsewhere was signed with, if it is newer than all before."""
        assert self.evidence is not None
        stream = self._known(header)
        failures = self._failures if stream is None else self._failures_of_known
        if not (failures.allows(now) or self.evidence.is_likely(source.ip)):
            return None
        key, index = self._signer(header, datagram, stream)
        resumed = self._resumed and header.kind is PacketKind.RTP
        if key is None and stream is None and resumed:
            key, index = self._signer_among(header, datagram, range(2, RESUMED_ROLLOVERS))
        if key is None and stream is not None and stream.sure and self._armed_anew:
            key, index = self._signer_gone_on(header, datagram, stream)
        if key is None:
            failures.spend()
            return None
        if stream is None:
            self._enter(header, index, now, sure=True)
            self._resumed = self._resumed and not resumed
            return key
        if stream.sure and index <= stream.index:
            goes_on = header.kind is PacketKind.RTP and _goes_on(stream, header)
            if not (self._armed_anew and goes_on and stream.begins_anew(index, now)):
                return None
            self._begin_anew(stream, index)
        else:
            stream.hear(index)
        stream.fits(now)
        return key

    def _begin_anew(self, stream: _Stream, index: int) -> None:
        """The sender has lost its SRTP state: so it has for its reports."""
        stream.begin_anew(index)
        if stream.kind is PacketKind.RTP:
            for other in self._streams:
                other.renewed |= other.kind is PacketKind.RTCP

    def _signer_anew(
        self, header: Header, datagram: bytes, stream: _Stream, now: float
    ) -> tuple[TagKey | None, int]:
        """The same where the sender may have lost count, tried where that can be believed."""
        if header.kind is not PacketKind.RTP or stream.misfits < MISFITS:
            return None, 0
        pause = now - stream.fitted_at >= RESTART_S
        expected = _nearest(stream.index, header.sequence) >> 16
        others = [0, expected + 1] if expected <= 1 else [0, expected + 1, expected - 1]
        rollovers = [
            rollover
            for rollover in others
            if rollover > expected
            or (rollover < expected and (pause or _index(rollover, header) < stream.first))
        ]
        return self._signer_among(header, datagram, rollovers)

    def _signer_gone_on(
        self, header: Header, datagram: bytes, stream: _Stream
    ) -> tuple[TagKey | None, int]:
        """The same of a packet from elsewhere, whose sequence number goes on."""
        if header.kind is not PacketKind.RTP or not _goes_on(stream, header):
            return None, 0
        return self._signer_among(header, datagram, [0])

    def _signer_among(
        self, header: Header, datagram: bytes, rollovers: Iterable[int]
    ) -> tuple[TagKey | None, int]:
        assert self.evidence is not None
        for rollover in rollovers:
            for key in self.evidence.tags:
                if is_rtp_signed(datagram, key, rollover):
                    return key, _index(rollover, header)
        return None, 0

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

    def _enter(self, header: Header, index: int, now: float, *, sure: bool) -> _Stream:
        if len(self._streams) == STREAMS:
            del self._streams[0]
        stream = _Stream(header.kind, header.ssrc, index, sure, now, first=index)
        self._streams.append(stream)
        return stream


def _signed_at(key: TagKey, header: Header, datagram: bytes, stream: _Stream | None) -> int | None:
    """The index at which this key made the packet's tag; None where it did not."""
    if header.kind is PacketKind.RTCP:
        return rtcp_index(datagram, key) if is_rtcp_signed(datagram, key) else None
    for rollover in _rollovers(header, stream):
        if is_rtp_signed(datagram, key, rollover):
            return _index(rollover, header)
    return None


def _rollovers(header: Header, stream: _Stream | None) -> Iterable[int]:
    if stream is None:
        return range(2)
    if not stream.sure:
        return range(stream.tried, stream.tried + ROLLOVERS)
    return (_nearest(stream.index, header.sequence) >> 16,)


def _index(rollover: int, header: Header) -> int:
    return rollover << 16 | header.sequence


def _goes_on(stream: _Stream, header: Header) -> bool:
    """Whether the sequence number is a little ahead of the greatest index's."""
    return 0 < (header.sequence - stream.index) % 65536 <= MAX_DROPOUT


def _nearest(index: int, sequence: int) -> int:
    """The packet index that a sequence number means (RFC 3711 section 3.3.1)."""
    rollover, last = index >> 16, index & 0xFFFF
    if last < 0x8000 and sequence - last > 0x8000 and rollover > 0:
        rollover -= 1
    elif last >= 0x8000 and last - 0x8000 > sequence:
        rollover += 1
    return (rollover & 0xFFFFFFFF) << 16 | sequence
