"""The latch of one pinhole: shut, armed, latched (RFC 7362 sections 3 and 5).

The rules, each from the specification:

1.  A latch starts *shut*. Signalling arms it, once per generation, with the evidence that a source
    must show. No packet opens a shut latch and time alone never does.
2.  *Armed*: the source of the first acceptable packet becomes the destination of the opposite
    direction. Acceptable means: from where the evidence says, of a kind that a media sender sends
    first (not empty, not junk, not STUN), and as many in sequence as the evidence asks. While two
    sources compete for an unproven latch, neither wins.
3.  *Latched*: only the learned source is heard. Another source of the same address is a rival; it
    is heard in the learned one's place only when that one has been silent for `SILENCE_S` and the
    rival carries on the same stream, same SSRC and the sequence going on, for
    `PROBATION_PACKETS` packets. That heals a NAT re-mapping and nothing else.
4.  *The learned source's RTP is one stream*, unless signalling names several: who can forge the
    source still has to know its SSRC. Another SSRC is a rival while the stream is heard, and takes
    its place after `SILENCE_S` without it, by `PROBATION_PACKETS` packets in sequence. The stream
    that was there first always comes back.
5.  A greater generation arms the latch anew; what was learned before is obsolete at once. The same
    or a lesser generation changes nothing, so a repeated offer cannot open a latch.

This class is the oracle of the C engine: `plane/native/latch.c` is the same machine, and a property
test drives both with the same packets.
"""

from dataclasses import dataclass, field
from enum import IntEnum

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import PROBATION_PACKETS, Evidence
from jingle_hnt.relay.packet import LATCHABLE, Header, Kind

SILENCE_S = 1.0
"""How long the learned source is unheard before a continuation may take its place."""

RIVALRY_S = 1.0
"""How long a competing source is remembered; while it is, an unproven latch stays open."""

MAX_DROPOUT = 3000
"""Greatest jump of the RTP sequence number that still counts as going on (RFC 3550 A.1)."""

NOTHING = Header(Kind.EMPTY)
"""The stream of a latch that has heard none."""

CONTENDERS = 4
"""Competing sources remembered at a time; the one heard longest ago makes room."""


class State(IntEnum):
    """The three states of a latch. The numbers are the C engine's."""

    SHUT = 0
    ARMED = 1
    LATCHED = 2


class Verdict(IntEnum):
    """What the latch says of one packet. The numbers are the C engine's."""

    PASS = 0  # from the learned source: goes on
    LATCHED = 1  # this packet taught the latch: goes on
    RELATCHED = 2  # this packet moved the latch to a re-mapped source: goes on
    PROBATION = 3  # acceptable, but not yet believed: dropped
    SHUT = 4  # the latch is not armed: dropped
    STRANGER = 5  # not from where the evidence says: dropped
    UNFIT = 6  # of a kind that must not teach a latch: dropped
    RIVAL = 7  # competes with the learned source or with another contender: dropped


@dataclass(slots=True)
class _Contender:
    """A source on probation: the stream it sends and how far it got."""

    source: TransportAddress
    header: Header
    streak: int
    last_at: float

    def carry_on(self, header: Header, now: float) -> None:
        self.last_at = now
        if _is_aside(self.header, header):
            return
        self.streak = self.streak + 1 if continues(self.header, header) else 1
        self.header = header


@dataclass(slots=True)
class Latch:
    """One latch. `observe` is called for each packet, with a monotonic time that never falls."""

    state: State = State.SHUT
    generation: int = -1
    evidence: Evidence | None = None
    source: TransportAddress | None = None
    latched_at: float = 0.0
    heard_at: float = 0.0
    _stream: Header = NOTHING
    _streamed_at: float = 0.0
    _first_ssrc: int | None = None
    _successor: _Contender | None = None
    _contenders: list[_Contender] = field(default_factory=list)

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm for a generation (0 to 2**31-1) greater than every one before.

        Returns False, and changes nothing, for a generation that is not greater.
        """
        if generation <= self.generation:
            return False
        self.generation = generation
        self.evidence = evidence
        self.state = State.ARMED
        self.source = None
        self._stream = NOTHING
        self._first_ssrc = self._successor = None
        self._contenders.clear()
        return True

    def resume(self, source: TransportAddress, now: float) -> None:
        """Take up what an earlier life of the plane had learned; the latch must be armed."""
        self.state = State.LATCHED
        self.source = source
        self.latched_at = self.heard_at = now

    def observe(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        """Judge one packet, and learn from it where the rules allow."""
        if self.evidence is None:
            return Verdict.SHUT
        if source == self.source:
            return self._heard(header, now)
        if not self.evidence.admits(source.ip):
            return Verdict.STRANGER
        if header.kind not in LATCHABLE:
            return Verdict.UNFIT
        if self.state is State.LATCHED:
            return self._challenge(source, header, now)
        return self._audition(source, header, now)

    def _heard(self, header: Header, now: float) -> Verdict:
        if header.kind is Kind.RTP:
            verdict = self._follow(header, now)
            if verdict is not Verdict.PASS:
                return verdict
        elif header.kind is Kind.RTCP and not _is_aside(self._stream, header):
            self._stream = header
        self.heard_at = now
        return Verdict.PASS

    def _follow(self, header: Header, now: float) -> Verdict:
        """RTP from the learned source: of the stream that it sends, or of another."""
        if self._is_another_stream(header):
            if now - self._streamed_at < SILENCE_S:
                return Verdict.RIVAL
            if self._audition_stream(header, now).streak < PROBATION_PACKETS:
                return Verdict.PROBATION
        self._begin_stream(header, now)
        return Verdict.PASS

    def _is_another_stream(self, header: Header) -> bool:
        assert self.evidence is not None
        if self.evidence.several or self._stream.kind is not Kind.RTP:
            return False
        return header.ssrc not in (self._stream.ssrc, self._first_ssrc)

    def _audition_stream(self, header: Header, now: float) -> _Contender:
        if self._successor is None:
            assert self.source is not None
            self._successor = _Contender(self.source, header, 1, now)
        else:
            self._successor.carry_on(header, now)
        return self._successor

    def _begin_stream(self, header: Header, now: float) -> None:
        self._stream, self._streamed_at, self._successor = header, now, None
        if self._first_ssrc is None:
            self._first_ssrc = header.ssrc

    def _audition(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        assert self.evidence is not None
        needed = self.evidence.packets_needed(source.ip)
        if needed <= 1:
            return self._learn(source, header, now, Verdict.LATCHED)
        contender = self._contend(source, header, now)
        if self._contested(contender, now):
            return Verdict.RIVAL
        if contender.streak < needed:
            return Verdict.PROBATION
        return self._learn(source, header, now, Verdict.LATCHED)

    def _challenge(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        """A packet of another source while latched: a rival, or the same stream re-mapped."""
        contender = self._contend(source, header, now)
        if not self._may_be_remapped(source, header, now):
            contender.streak = 0
            return Verdict.RIVAL
        if self._contested(contender, now):
            return Verdict.RIVAL
        if contender.streak < PROBATION_PACKETS:
            return Verdict.PROBATION
        return self._learn(source, header, now, Verdict.RELATCHED)

    def _may_be_remapped(self, source: TransportAddress, header: Header, now: float) -> bool:
        return (
            self.source is not None
            and source.ip == self.source.ip
            and now - self.heard_at >= SILENCE_S
            and (continues(self._stream, header) or _is_aside(self._stream, header))
        )

    def _learn(
        self, source: TransportAddress, header: Header, now: float, verdict: Verdict
    ) -> Verdict:
        self.state = State.LATCHED
        self.source = source
        self.latched_at = self.heard_at = now
        self._successor = None
        self._stream = header
        if header.kind is Kind.RTP:
            self._begin_stream(header, now)
        self._contenders.clear()
        return verdict

    def _contend(self, source: TransportAddress, header: Header, now: float) -> _Contender:
        for contender in self._contenders:
            if contender.source == source:
                contender.carry_on(header, now)
                return contender
        if len(self._contenders) == CONTENDERS:
            self._contenders.remove(min(self._contenders, key=lambda c: c.last_at))
        contender = _Contender(source, header, 1, now)
        self._contenders.append(contender)
        return contender

    def _contested(self, contender: _Contender, now: float) -> bool:
        return any(
            other is not contender and now - other.last_at < RIVALRY_S for other in self._contenders
        )


def continues(before: Header, after: Header) -> bool:
    """Whether `after` carries on the stream of `before`: same kind, same SSRC, sequence going on.

    A kind without SSRC (DTLS, ZRTP) carries on by being the same kind.
    """
    if before.kind is not after.kind or before.ssrc != after.ssrc:
        return False
    if after.kind is not Kind.RTP:
        return True
    return 0 < (after.sequence - before.sequence) % 65536 <= MAX_DROPOUT


def _is_aside(stream: Header, header: Header) -> bool:
    """RTCP of a stream that is followed by its RTP (rtcp-mux, RFC 5761): says nothing of it."""
    return stream.kind is Kind.RTP and header.kind is Kind.RTCP
