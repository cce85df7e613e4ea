"""How well one side's stream arrives, from its RTP and RTCP headers; payloads stay opaque.

The C engine mirrors `StreamMeter` in `plane/native/rules/quality.c`, and a property test holds the
two together. What is heard is what arrived at the relay: the path from the party to the relay.
"""

from jingle_hnt.relay.binding import BindingSnapshot, Flow, PinholeSnapshot, Quality, Side
from jingle_hnt.relay.packet import Header, PacketKind

MAX_DROPOUT = 3000
"""A sequence number this far ahead begins a new stream (RFC 3550 A.1)."""

MAX_MISORDER = 100
"""A sequence number this far behind is late; further behind it begins a new stream."""

WINDOW = 64
"""Sequence numbers behind the highest among which duplicates are told from late packets."""

MEASURE_S = 0.5
"""How long a dynamic payload type's clock is measured for."""

MAX_ROUND_TRIP_S = 10.0
"""A longer one is no round trip, but a report of another stream or an encrypted one."""

VIDEO_CLOCK, AUDIO_CLOCK = 90000, 8000
VIDEO_TYPES = frozenset({14, 25, 26, 28, 31, 32, 33, 34})
CLOCKS = {6: 16000, 10: 44100, 11: 44100, 16: 11025, 17: 22050}
"""Static payload types whose clock is not AUDIO_CLOCK (RFC 3551 section 6)."""

USUAL_CLOCKS = (8000, 16000, 24000, 32000, 44100, 48000, 90000)

ONE_WAY_S = 10.0


class StreamMeter:
    """What one side sends: loss and order (RFC 3550 A.3), jitter (A.8), round trip (6.4.1)."""

    def __init__(self) -> None:
        self._ssrc: int | None = None
        self._highest = self._base = 0  # extended sequence numbers
        self._window = 0  # bit i: the sequence number `highest - i` was heard
        self._past = self._packets = self._reordered = self._duplicates = 0
        self._clock = 0  # 0: not known yet
        self._timestamp = self._first_timestamp = 0
        self._at = self._first_at = 0.0
        self._jitter_s = 0.0
        self._report = 0  # the middle of the last sender report's NTP time; 0: none
        self._reported_at = 0.0
        self._round_trip_s = -1.0

    def observe(self, header: Header, datagram: bytes, now: float, other: "StreamMeter") -> None:
        """A datagram of this side, heard and counted now; `other` is the other side's stream."""
        if header.kind is PacketKind.RTP:
            self._sequence(header, datagram, now)
        elif header.kind is PacketKind.RTCP:
            self._reports(datagram, now, other)

    @property
    def quality(self) -> Quality:
        expected = self._expected()
        return Quality(
            ssrc=self._ssrc,
            packets=self._packets,
            lost=max(0, expected - self._packets),
            reordered=self._reordered,
            duplicates=self._duplicates,
            jitter_ms=self._jitter_s * 1000.0,
            round_trip_ms=None if self._round_trip_s < 0 else self._round_trip_s * 1000.0,
        )

    def _expected(self) -> int:
        return self._past + (0 if self._ssrc is None else self._highest - self._base + 1)

    def _sequence(self, header: Header, datagram: bytes, now: float) -> None:
        ahead = (header.sequence - self._highest) & 0xFFFF
        behind = (self._highest - header.sequence) & 0xFFFF
        if header.ssrc != self._ssrc or (ahead >= MAX_DROPOUT and behind > MAX_MISORDER):
            self._begin(header, datagram, now)
        elif ahead == 0 or ahead >= MAX_DROPOUT:
            self._late(behind)
            return
        else:
            self._highest += ahead
            self._window = ((self._window << ahead) | 1) & ((1 << WINDOW) - 1)
            self._packets += 1
            self._timing(datagram, now)

    def _begin(self, header: Header, datagram: bytes, now: float) -> None:
        self._past = self._expected()
        self._ssrc = header.ssrc
        self._highest = self._base = header.sequence
        self._window = 1
        self._packets += 1
        self._clock = _clock(datagram[1] & 0x7F)
        self._timestamp = self._first_timestamp = int.from_bytes(datagram[4:8])
        self._at = self._first_at = now
        self._jitter_s = 0.0

    def _late(self, behind: int) -> None:
        if behind < WINDOW and self._window >> behind & 1:
            self._duplicates += 1
            return
        self._reordered += 1
        if self._highest - behind >= self._base:  # otherwise nobody expected it
            self._packets += 1
        if behind < WINDOW:
            self._window |= 1 << behind

    def _timing(self, datagram: bytes, now: float) -> None:
        timestamp = int.from_bytes(datagram[4:8])
        if self._clock == 0 and now - self._first_at >= MEASURE_S:
            elapsed = float((timestamp - self._first_timestamp) & 0xFFFFFFFF)
            self._clock = _nearest(elapsed / (now - self._first_at))
        elif self._clock != 0 and timestamp != self._timestamp:
            # Packets of one timestamp are a video frame's, sent one after the other.
            progress = (timestamp - self._timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            difference = abs(now - self._at - progress / self._clock)
            self._jitter_s += (difference - self._jitter_s) / 16.0
        if timestamp != self._timestamp:
            self._timestamp, self._at = timestamp, now

    def _reports(self, datagram: bytes, now: float, other: "StreamMeter") -> None:
        at = 0
        while at + 8 <= len(datagram) and datagram[at] >> 6 == 2:
            end = at + 4 + 4 * int.from_bytes(datagram[at + 2 : at + 4])
            if end > len(datagram):
                return
            sender = datagram[at + 1] == 200
            if sender and end - at >= 28:
                self._report = int.from_bytes(datagram[at + 10 : at + 14])
                self._reported_at = now
            if sender or datagram[at + 1] == 201:
                first = at + (28 if sender else 8)
                for block in range(datagram[at] & 0x1F):
                    if first + 24 * (block + 1) <= end:
                        self._block(datagram[first + 24 * block :], now, other)
            at = end

    def _block(self, block: bytes, now: float, other: "StreamMeter") -> None:
        last, delay = int.from_bytes(block[16:20]), int.from_bytes(block[20:24])
        if last == 0 or last != other._report:
            return
        round_trip_s = now - other._reported_at - delay / 65536.0
        if 0.0 <= round_trip_s <= MAX_ROUND_TRIP_S:
            self._round_trip_s = round_trip_s


def _clock(payload_type: int) -> int:
    """The clock of a payload type in Hz; 0 for a dynamic one, whose clock is to be measured."""
    if payload_type >= 96:
        return 0
    return VIDEO_CLOCK if payload_type in VIDEO_TYPES else CLOCKS.get(payload_type, AUDIO_CLOCK)


def _nearest(measured: float) -> int:
    found = USUAL_CLOCKS[0]
    for clock in USUAL_CLOCKS:
        if abs(clock - measured) < abs(found - measured):
            found = clock
    return found


def mos(quality: Quality) -> float | None:
    """The mean opinion score (1 to 4.5) that this path allows; None before enough was heard.

    The E-model (ITU-T G.107) with its defaults, so R0 is 93.2: delay costs Id, loss costs Ie-eff
    with G.711's concealment (Bpl 25.1, G.113). A receiver is taken to hold back twice the jitter;
    the round trip counts half, and as none where no RTCP tells it.
    """
    expected = quality.packets + quality.lost
    if expected < 50:
        return None
    delay_ms = (quality.round_trip_ms or 0.0) / 2 + 2 * quality.jitter_ms
    delayed = 0.024 * delay_ms + 0.11 * max(0.0, delay_ms - 177.3)
    loss = 100.0 * quality.lost / expected
    rating = 93.2 - delayed - 95.0 * loss / (loss + 25.1)
    if rating <= 0:
        return 1.0
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def unheard(binding: BindingSnapshot) -> Side | None:
    """The side of which no RTP comes although the other side's does: a one-way call.

    That is after ONE_WAY_S seconds, while the gate is open to both.
    """
    first, second = binding.pinholes
    if binding.draining or any(p.flow is not Flow.OPEN for p in binding.pinholes):
        return None
    if _is_heard(first) and _is_mute(second, first):
        return 1
    if _is_heard(second) and _is_mute(first, second):
        return 0
    return None


def _is_heard(pinhole: PinholeSnapshot) -> bool:
    """Whether its RTP comes; what it sends besides is no media."""
    heard_s = pinhole.heard_s
    return pinhole.quality.packets > 0 and heard_s is not None and heard_s < ONE_WAY_S


def _is_mute(pinhole: PinholeSnapshot, other: PinholeSnapshot) -> bool:
    if pinhole.heard_s is not None and pinhole.quality.packets:
        return pinhole.heard_s > ONE_WAY_S
    return other.latched_s is not None and other.latched_s > ONE_WAY_S
