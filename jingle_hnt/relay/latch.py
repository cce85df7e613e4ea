"""The latch of one pinhole: shut, armed, latched (RFC 7362 sections 3 and 5).

It follows its party through changes of port and stream, and nobody else. The rules:

1.  A latch starts *shut*. Signalling arms it, once per generation, with the evidence that a source
    must show. No packet opens a shut latch and time alone never does.
2.  *Armed*: the source of the first acceptable packet becomes the destination of the opposite
    direction. Acceptable means: from where the evidence says, of a kind that a media sender sends
    first (not empty, not junk, not STUN), and as many different ones of one SSRC as the evidence
    asks. While two sources compete for an unproven latch, neither wins.
3.  *Latched*: only the learned source, the *owner*, is heard. Others are rivals, and only *media*
    of theirs ever moves the latch: RTP, or RTCP at a port that is for RTCP alone. RTCP, DTLS and
    ZRTP move it only while no RTP has been heard, after `SILENCE_S`, and by the same SSRC. A packet
    counts as one of a streak of its SSRC (`streak.py`), PROBATION_PACKETS of which are believed.
4.  An owner is *provisional* until it has spoken for `TENURE_S`: quiet for `YIELD_S`, it gives way
    to a source that is believed. So a forged datagram before the first packet mutes nobody.
5.  After `SILENCE_S` of silence a source takes over that carries on one of the owner's streams,
    SSRC and sequence: a NAT re-mapping. What others send beside it does not matter, and it is no
    rival meanwhile if the owner was not heard since it began. After the evidence's `lapse_s` any
    source may that nobody competes with: a muted client comes back with another port and SSRC.
    Where no media is expected (on hold) that does not happen.
6.  An owner that has spoken for `TENURE_S`, or for longer than the one in its place, comes back the
    moment it carries on its own stream; and one that lost its place by silence alone by a new
    stream that is believed, too.
7.  *The owner's RTP is one stream*, unless signalling names several: who can forge the source still
    has to know its SSRC. Another SSRC follows when the stream has missed `SUCCESSION_S`, if none of
    its packets came between those of the stream; else after the evidence's `lapse_s`. A stream that
    was there before comes back at once, and ends those that came after it.
    Key presses (the evidence's `events`) may have an SSRC of their own beside it: one at a time,
    and no other one while somebody disturbs.
8.  A greater generation arms the latch anew; what was learned before is obsolete at once. The same
    or a lesser generation changes nothing, so a repeated offer cannot open a latch. The former
    owner teaches the next generation only while nobody else speaks, and who was its rival only
    after `SILENCE_S` without it.
9.  After `END_S` of silence the latch is as if armed, and rule 6 holds for its owner.

This class is the oracle of the C engine: `plane/native/rules/latch.c` is the same machine, and a
property test drives both with the same packets.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import PROBATION_PACKETS, Evidence
from jingle_hnt.relay.owner import (
    HANDSHAKES,
    RETURN_DROPOUT,
    TENURE_S,
    KnownStream,
    LearnedSource,
    copies,
)
from jingle_hnt.relay.packet import LATCHABLE, Header, PacketKind
from jingle_hnt.relay.streak import MAX_DROPOUT, Streak, continues

SILENCE_S = 1.0
"""How long the learned source is unheard before a continuation may take its place."""

YIELD_S = 0.3
"""How long a provisional owner has sent no media before another source may take its place."""

SETUP_YIELD_S = 1.5
"""The same for one that has sent DTLS or ZRTP only, whose handshakes have pauses of a second."""

REPORTS_YIELD_S = 8.0
"""The same where only RTCP comes, which may pause for 7.5 s (RFC 3550 section 6.3.1)."""

FEW_REPORTS = 3
"""An owner that has sent fewer packets is provisional where only RTCP comes."""

END_S = 30.0
"""A latch that was silent for so long is as if armed (RFC 7675: the consent has ended)."""

RIVALRY_S = 1.0
"""How long a competing source is remembered; while it is, an unproven latch stays open."""

SUCCESSION_S = 0.08
"""How long the owner's streams are unheard before one of another SSRC may follow."""

SUCCESSION_PACKETS, SUCCESSION_SPAN_S = 3, 0.035
"""What such a stream has to show, and over what time: a burst shows nothing."""

SEAM_S = 0.06
"""How late a packet of the old stream may come, after the first of the new one."""

DISTURBED_S = 10.0
"""After packets between those of the owner's stream, any other SSRC follows only after
`SILENCE_S`: who forges the owner's address would else have each pause of it."""

RETURN_PACKETS = 2
"""Packets of its own stream by which a displaced owner comes back from where it was."""

CONTENDERS = 16
"""Streaks remembered at a time; those of the owner's streams always find room."""

SEAT_S, SEATS_APART_S = 0.08, 0.005
"""How long a streak keeps its place, in which it may grow, before a newcomer may have it. It is a
little longer for some than for others, lest places come free in step with a spray."""

PAST = 2
"""Displaced owners that are remembered; the one that was displaced first makes room."""


class LatchState(IntEnum):
    """The three states of a latch. The numbers are the C engine's."""

    SHUT = 0
    ARMED = 1
    LATCHED = 2


class Verdict(IntEnum):
    """What the latch says of one packet. The numbers are the C engine's."""

    PASS = 0  # from the learned source: goes on
    LATCHED = 1  # this packet taught the latch: goes on
    RELATCHED = 2  # this packet moved the latch to another source: goes on
    PROBATION = 3  # acceptable, but not yet believed: dropped
    SHUT = 4  # the latch is not armed: dropped
    STRANGER = 5  # not from where the evidence says: dropped
    UNFIT = 6  # of a kind that must not teach a latch: dropped
    RIVAL = 7  # competes with the learned source or with another contender: dropped


@dataclass(slots=True)
class _Contender:
    """A streak of one source. `rival` tells that it was a rival of the former generation's owner,
    `interleaved` that its packets came between those of the owner's own stream."""

    source: TransportAddress
    streak: Streak
    first_at: float
    rival: bool = False
    interleaved: bool = False

    @property
    def last_at(self) -> float:
        return self.streak.last_at

    @property
    def length(self) -> int:
        return self.streak.length

    @property
    def seat_s(self) -> float:
        return SEAT_S + ((self.source.port ^ self.streak.header.ssrc) & 15) * SEATS_APART_S

    def is_of(self, source: TransportAddress, header: Header) -> bool:
        mine = self.streak.header
        return source == self.source and (mine.kind, mine.ssrc) == (header.kind, header.ssrc)


@dataclass(slots=True)
class Latch:
    """One latch. `observe` is called for each packet, with a monotonic time that never falls."""

    state: LatchState = LatchState.SHUT
    generation: int = -1
    evidence: Evidence | None = None
    latched_at: float = 0.0
    heard_at: float = 0.0
    _expects_media: bool = True
    _waits_since: float | None = 0.0
    _owner: LearnedSource | None = None
    _former: LearnedSource | None = None
    _past: list[LearnedSource] = field(default_factory=list)
    _contenders: list[_Contender] = field(default_factory=list)
    _disturbed_at: float = float("-inf")
    _resumed: bool = False

    @property
    def _is_for_reports(self) -> bool:
        return self.evidence is not None and self.evidence.reports

    def is_aside(self, header: Header) -> bool:
        """Whether a packet of the owner is of its key presses, not of its media."""
        owner = self._owner
        return owner is not None and header.kind is PacketKind.RTP and self._is_event(owner, header)

    @property
    def source(self) -> TransportAddress | None:
        """Where the other party's media goes."""
        return None if self._owner is None else self._owner.source

    @property
    def stream(self) -> tuple[int, int] | None:
        """SSRC and sequence number of what the owner sent last; None where none is known."""
        if self._owner is None or not self._owner.streams:
            return None
        latest = max(self._owner.streams, key=lambda stream: stream.last_at)
        return latest.ssrc, latest.top

    def news_of_stream(self, told: int | None, now: float) -> tuple[int, int] | None:
        """Return `stream` where it is another than that of the SSRC `told`, which has ended."""
        latest = self.stream
        if self._owner is None or latest is None or latest[0] == told:
            return None
        before = None if told is None else self._owner.stream(told)
        goes_on = before is not None and now - before.last_at < SILENCE_S
        return None if goes_on else latest

    def arm(self, generation: int, evidence: Evidence) -> bool:
        """Arm for a generation (0 to 2**31-1) greater than every one before.

        Returns False, and changes nothing, for a generation that is not greater.
        """
        if generation <= self.generation:
            return False
        self.generation = generation
        self.evidence = evidence
        self.state = LatchState.ARMED
        self._former = self._owner or self._former
        for contender in self._contenders:
            contender.rival |= self._owner is not None and contender.source != self.source
        self._owner = None
        self._past.clear()
        self._resumed = False
        self._waits_since = None
        return True

    def expect(self, media: bool) -> None:
        """Whether the owner's silence means anything: not while the call is on hold."""
        if media and not self._expects_media:
            self._waits_since = None
        self._expects_media = media

    def resume(
        self, source: TransportAddress, now: float, stream: tuple[int, int] | None = None
    ) -> None:
        """Take up what an earlier life of the plane had learned; the latch must be armed.

        `stream` is what `stream` was then. Where it is not known, any stream of the source is its
        own, and any source may follow it after `SILENCE_S` that nobody competes with.
        """
        self.state = LatchState.LATCHED
        self.latched_at = self.heard_at = now
        self._owner = LearnedSource(source, Header(PacketKind.EMPTY), now, spoken_s=TENURE_S)
        self._former, self._waits_since = None, now
        self._resumed = stream is None
        if stream is not None:
            self._owner.streams.append(KnownStream(*stream, now, old=True))

    def observe(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        """Judge one packet, and learn from it where the rules allow."""
        if self.evidence is None:
            return Verdict.SHUT
        if self._waits_since is None:
            self._begin_to_wait(now)
        owner = self._owner
        if owner is not None and source == owner.source:
            return self._heard(owner, header, now)
        if not self.evidence.admits(source.ip):
            return Verdict.STRANGER
        if header.kind not in LATCHABLE or (self._is_for_reports and header.kind is PacketKind.RTP):
            return Verdict.UNFIT
        if owner is None:
            return self._audition(source, header, now)
        if self._expects_media and self._quiet_s(now) >= END_S:
            return self._audition(source, header, now)
        return self._challenge(owner, source, header, now)

    def _begin_to_wait(self, now: float) -> None:
        """The first packet since the latch was armed, or media was expected again.

        An owner that was silent by then has precedence in the next generation, too: it was on hold.
        """
        self._waits_since = now
        former = self._former
        waited = self._owner is None and now - self.heard_at >= SILENCE_S
        if waited and former is not None and former.is_sure:
            self._past.append(former)

    def _quiet_s(self, now: float) -> float:
        """How long the owner has been silent that could have spoken."""
        assert self._waits_since is not None
        return now - max(self.heard_at, self._waits_since)

    # The owner's packets

    def _heard(self, owner: LearnedSource, header: Header, now: float) -> Verdict:
        if self._is_media(header):
            verdict = self._follow(owner, header, now)
            if verdict is not Verdict.PASS:
                return verdict
        elif header.kind is not PacketKind.RTP and header.kind in LATCHABLE:
            owner.shake(header)
        owner.packets += 1
        self.heard_at = now
        return Verdict.PASS

    def _is_media(self, header: Header) -> bool:
        """Whether it is what this port is for."""
        return header.kind is (PacketKind.RTCP if self._is_for_reports else PacketKind.RTP)

    def _follow(self, owner: LearnedSource, header: Header, now: float) -> Verdict:
        """Media of the owner: of a stream that it sends, or of another."""
        assert self.evidence is not None
        one = not (self.evidence.several or self._is_for_reports)
        if self._is_event(owner, header):
            return self._press(owner, header, now)
        if one and owner.streams and owner.stream(header.ssrc) is None:
            verdict = self._succeed(owner, header, now)
            if verdict is not Verdict.PASS:
                return verdict
        stream = owner.speak(header, now)
        self._resumed = False
        if one:
            if owner.forget_after(stream):
                self._disturbed_at = now
            self._mark_interleaved(owner, now)
        return Verdict.PASS

    def _is_event(self, owner: LearnedSource, header: Header) -> bool:
        """Whether it tells of a key press, and is not of the stream of the media."""
        assert self.evidence is not None
        if self.evidence.several or self._is_for_reports:
            return False
        return header.payload_type in self.evidence.events and owner.stream(header.ssrc) is None

    def _press(self, owner: LearnedSource, header: Header, now: float) -> Verdict:
        """A key press: of the owner's one stream of them, or of another one after it."""
        before = owner.events
        if before is None or before.ssrc != header.ssrc:
            if before is not None and now - before.last_at < SUCCESSION_S:
                self._disturbed_at = now
            if now - self._disturbed_at < DISTURBED_S:
                return Verdict.RIVAL
        owner.events = KnownStream(header.ssrc, header.sequence, now)
        return Verdict.PASS

    def _succeed(self, owner: LearnedSource, header: Header, now: float) -> Verdict:
        """Whether a stream of another SSRC follows the owner's own, in its own name."""
        assert self.evidence is not None
        contender = self._contend(owner.source, header, now)
        if contender is None:
            return Verdict.RIVAL
        quiet_s = now - owner.spoke_at
        disturbs = contender.interleaved or now - self._disturbed_at < DISTURBED_S
        if contender.interleaved:
            alone = not self._has_clean_successor(owner, now)
            waited = quiet_s >= self.evidence.lapse_s and alone
            follows = waited and contender.length >= PROBATION_PACKETS
        elif disturbs:
            follows = quiet_s >= SILENCE_S and contender.length >= PROBATION_PACKETS
        else:
            spans = now - contender.first_at >= SUCCESSION_SPAN_S
            enough = contender.length >= SUCCESSION_PACKETS and spans
            follows = quiet_s >= SUCCESSION_S and enough
        if not follows:
            return Verdict.RIVAL if disturbs else Verdict.PROBATION
        self._contenders.remove(contender)
        return Verdict.PASS

    def _has_clean_successor(self, owner: LearnedSource, now: float) -> bool:
        """Whether another SSRC of the owner has a streak that began when its stream had ended."""
        return any(
            c.source == owner.source
            and not c.interleaved
            and c.length >= 2
            and now - c.last_at < RIVALRY_S
            for c in self._contenders
        )

    def _mark_interleaved(self, owner: LearnedSource, now: float) -> None:
        for contender in self._contenders:
            if contender.source == owner.source and now - contender.first_at > SEAM_S:
                contender.interleaved = True
                self._disturbed_at = now

    # Others' packets

    def _audition(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        """A packet at a latch that has no owner, or one that was silent for too long."""
        assert self.evidence is not None
        if not self._is_media(header) and self._is_media_awaited(source, header):
            return Verdict.PROBATION
        needed = self.evidence.packets_needed(source.ip)
        was_rival = self._was_rival(source, header, now)
        if was_rival or self._is_besieged(source, now):
            needed = max(needed, PROBATION_PACKETS)
        if needed > 1:
            if header.kind is PacketKind.RTCP and not self._is_media(header):
                return Verdict.PROBATION
            contender = self._contend(source, header, now)
            if contender is None:
                return Verdict.RIVAL
            if self._goes_on_after_hold(contender, header):
                return self._begin(source, header, now)
            if self._is_contested(source, now):
                return Verdict.RIVAL
            if was_rival or contender.length < needed:
                return self._not_yet(source, now)
        if self._owner is None:
            return self._begin(source, header, now)
        return self._displace(self._owner, source, header, now)

    def _is_media_awaited(self, source: TransportAddress, header: Header) -> bool:
        """Whether the owner before sent media, so that nothing else teaches another source."""
        before = self._owner or self._former
        if before is None or source == before.source or not before.streams:
            return False
        return header.kind is PacketKind.RTCP or not before.handshakes

    def _goes_on_after_hold(self, contender: _Contender, header: Header) -> bool:
        """Whether an owner that was silent when the latch was armed anew speaks on, as before."""
        if self._owner is not None or contender.length < RETURN_PACKETS:
            return False
        return any(
            contender.source == past.source and past.is_carried_on_by(header, RETURN_DROPOUT)
            for past in self._past
        )

    def _is_besieged(self, source: TransportAddress, now: float) -> bool:
        """Whether others are there that the owner before was a rival of, and this is not it."""
        others = [c for c in self._contenders if now - c.last_at < RIVALRY_S]
        if self._owner is not None:
            return any(c.source != source for c in others)
        if self._former is None or source == self._former.source:
            return False
        return any(c.rival for c in others)

    def _was_rival(self, source: TransportAddress, header: Header, now: float) -> bool:
        """Whether it was a rival of an owner that may be there yet, or forged one."""
        if self._quiet_s(now) >= SILENCE_S:
            return False
        return any(
            (c.rival and c.source == source) or (c.interleaved and c.is_of(source, header))
            for c in self._contenders
        )

    def _challenge(
        self, owner: LearnedSource, source: TransportAddress, header: Header, now: float
    ) -> Verdict:
        """A packet of another source while there is an owner."""
        if source.ip != owner.source.ip and self._is_held_to_its_host(owner):
            return Verdict.RIVAL
        if not self._is_media(header):
            return self._challenge_setup(owner, source, header, now)
        contender = self._contend(source, header, now)
        if contender is None:
            return Verdict.RIVAL
        elder, needed = self._elder(owner, source, header)
        if elder is not None:
            if contender.length < needed:
                return Verdict.PROBATION
            self._past.remove(elder)
            elder.source = source
            return self._learn(elder, header, now, Verdict.RELATCHED)
        return self._succession(owner, contender, header, now)

    def _is_held_to_its_host(self, owner: LearnedSource) -> bool:
        """Whether nothing but its packets spoke for the owner: then another address takes no place.

        One that was believed for its address alone has to become sure first.
        """
        assert self.evidence is not None
        if self.evidence.probation <= 1:
            return False
        return owner.is_sure or self.evidence.packets_needed(owner.source.ip) > 1

    def _challenge_setup(
        self, owner: LearnedSource, source: TransportAddress, header: Header, now: float
    ) -> Verdict:
        """RTCP, DTLS or ZRTP of another source, where RTP is what is waited for."""
        if owner.streams:
            own = header.kind is PacketKind.RTCP and owner.stream(header.ssrc) is not None
            return Verdict.PROBATION if own else Verdict.RIVAL
        if now - self.heard_at < SILENCE_S or not continues(owner.taught, header):
            return Verdict.RIVAL
        contender = self._contend(source, header, now)
        if contender is None or self._is_contested(source, now):
            return Verdict.RIVAL
        if contender.length < PROBATION_PACKETS:
            return Verdict.PROBATION
        return self._displace(owner, source, header, now)

    def _succession(
        self, owner: LearnedSource, contender: _Contender, header: Header, now: float
    ) -> Verdict:
        """Whether another source takes the owner's place: by its stream, or by its silence."""
        source = contender.source
        carries_on = owner.is_carried_on_by(header, MAX_DROPOUT)
        needed = PROBATION_PACKETS
        if carries_on and now - self.heard_at >= SILENCE_S:
            if self._is_contested(source, now, header.ssrc):
                return Verdict.RIVAL
        elif self._yields(owner, contender, now):
            needed = RETURN_PACKETS if self._is_for_reports else PROBATION_PACKETS
        elif not self._lapses(self._quiet_s(now)) or self._is_contested(source, now):
            moved = carries_on and contender.first_at >= self.heard_at
            return Verdict.PROBATION if moved else Verdict.RIVAL
        if contender.length < needed:
            return self._not_yet(source, now)
        if not carries_on:
            return self._displace(owner, source, header, now)
        self._remember(owner)
        remapped = replace(owner, source=source, streams=copies(owner.streams))
        return self._learn(remapped, header, now, Verdict.RELATCHED)

    def _yields(self, owner: LearnedSource, contender: _Contender, now: float) -> bool:
        """Whether the owner is provisional, and quiet for so long that it gives way."""
        assert self._waits_since is not None
        if self._is_for_reports:
            return owner.packets < FEW_REPORTS and self._quiet_s(now) >= REPORTS_YIELD_S
        if not self._expects_media or owner.is_sure:
            return False
        quiet_s = now - max(owner.spoke_at, self._waits_since)
        if owner.handshakes and not owner.streams:
            return quiet_s >= SETUP_YIELD_S
        return quiet_s >= (SILENCE_S if contender.rival else YIELD_S)

    def _lapses(self, quiet_s: float) -> bool:
        """Whether the owner's silence is so long that any source may take its place."""
        assert self.evidence is not None
        if not self._expects_media:
            return False
        if self._resumed:
            return quiet_s >= SILENCE_S
        return quiet_s >= (END_S if self._is_for_reports else self.evidence.lapse_s)

    def _elder(
        self, owner: LearnedSource, source: TransportAddress, header: Header
    ) -> tuple[LearnedSource | None, int]:
        """The displaced owner that this packet is of, and how many it takes for it to return."""
        present = owner.stream(header.ssrc)
        late = present is not None and not present.is_carried_on_by(header, RETURN_DROPOUT)
        for elder in self._past:
            if not elder.is_sure and elder.spoken_s <= owner.spoken_s:
                continue
            at_home = source == elder.source
            if not late and elder.is_carried_on_by(header, RETURN_DROPOUT):
                return elder, RETURN_PACKETS if at_home else PROBATION_PACKETS
            if at_home and owner.by_silence and elder.is_sure:
                return elder, PROBATION_PACKETS
        return None, 0

    # Learning

    def _begin(self, source: TransportAddress, header: Header, now: float) -> Verdict:
        """Learn the first source of a generation; the former one's streams are still its own."""
        owner = _owner(source, header, now, by_silence=bool(self._past))
        if self._former is not None and source == self._former.source:
            owner.streams = copies(self._former.streams)
        return self._learn(owner, header, now, Verdict.LATCHED)

    def _displace(
        self, owner: LearnedSource, source: TransportAddress, header: Header, now: float
    ) -> Verdict:
        """Another source takes the place of an owner that has fallen silent."""
        self._remember(owner)
        heir = _owner(source, header, now, by_silence=True)
        return self._learn(heir, header, now, Verdict.RELATCHED)

    def _remember(self, owner: LearnedSource) -> None:
        if len(self._past) == PAST:
            del self._past[0]
        self._past.append(owner)

    def _learn(self, owner: LearnedSource, header: Header, now: float, verdict: Verdict) -> Verdict:
        self.state = LatchState.LATCHED
        self._owner, self._former = owner, None
        self.latched_at = self.heard_at = now
        self._resumed = False
        if self._is_media(header) and not self._is_event(owner, header):
            owner.speak(header, now)
        self._contenders.clear()
        return verdict

    # Contenders

    def _contend(self, source: TransportAddress, header: Header, now: float) -> _Contender | None:
        """The streak of this packet; None where all places are taken."""
        for contender in self._contenders:
            if contender.is_of(source, header):
                contender.streak.hear(header, now)
                return contender
        if len(self._contenders) == CONTENDERS and not self._make_room(header, now):
            return None
        rival = any(c.rival and c.source == source for c in self._contenders)
        contender = _Contender(source, Streak(header, now), now, rival)
        self._contenders.append(contender)
        return contender

    def _make_room(self, header: Header, now: float) -> bool:
        """A streak that leads nowhere gives its place up; any other one to a stream we know."""
        spare = [
            c
            for c in self._contenders
            if now - c.last_at >= RIVALRY_S or (c.length == 1 and now - c.first_at >= c.seat_s)
        ]
        if not spare and self._is_known_stream(header):
            spare = [c for c in self._contenders if not self._is_known_stream(c.streak.header)]
        if not spare:
            return False
        self._contenders.remove(min(spare, key=lambda c: c.last_at))
        return True

    def _is_known_stream(self, header: Header) -> bool:
        owners = [*self._past, self._owner] if self._owner is not None else self._past
        sure = (owner for owner in owners if owner.is_sure)
        return any(owner.is_carried_on_by(header, RETURN_DROPOUT) for owner in sure)

    def _not_yet(self, source: TransportAddress, now: float) -> Verdict:
        """What is said of a source that is not believed yet, alone or beside others."""
        alone = not self._is_contested(source, now, least=1)
        return Verdict.PROBATION if alone else Verdict.RIVAL

    def _is_contested(
        self, source: TransportAddress, now: float, ssrc: int | None = None, least: int = 2
    ) -> bool:
        """Whether another source has a streak, too (of this SSRC), of at least so many packets."""
        if self._former is not None and source == self._former.source:
            least = 1
        return any(
            c.source != source
            and c.length >= least
            and now - c.last_at < RIVALRY_S
            and ssrc in (None, c.streak.header.ssrc)
            for c in self._contenders
        )


def _owner(
    source: TransportAddress, header: Header, now: float, *, by_silence: bool = False
) -> LearnedSource:
    handshakes = header.kind in HANDSHAKES
    return LearnedSource(source, header, now, by_silence=by_silence, handshakes=handshakes)
