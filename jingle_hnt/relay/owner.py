"""The source that a latch has learned: the streams it sends, and how long it has been speaking.

The C engine's twin is in `plane/native/rules/owner.c`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.packet import Header, PacketKind
from jingle_hnt.relay.streak import WINDOW

PAUSE_S = 0.3
"""The longest pause between packets of media that still counts as speaking."""

TENURE_S = 2.0
"""A source that has spoken for so long is sure; before that it is provisional."""

STREAMS = 8
"""Streams of one source that are followed at a time; the first one stays."""

HANDSHAKES = frozenset({PacketKind.DTLS, PacketKind.ZRTP})
"""What a sender of encrypted media sends before it, if keys are not signalled."""

RETURN_DROPOUT = 33000
"""Greatest jump of the sequence number by which a displaced source carries on its own stream:
it may have gone on unheard for ten minutes of audio."""


@dataclass(slots=True)
class KnownStream:
    """One SSRC of the learned source; `top` is its greatest sequence number.

    `top` is `old` where an earlier life of the plane has told it: any number may come next.
    """

    ssrc: int
    top: int
    last_at: float
    old: bool = False

    def hear(self, header: Header, now: float) -> None:
        """Follow the stream; a late packet does not turn it back."""
        self.last_at = now
        if self.old or (header.sequence - self.top) % 65536 < 65536 - WINDOW:
            self.top = header.sequence
        self.old = False

    def is_carried_on_by(self, header: Header, within: int) -> bool:
        """Whether a packet goes on where this stream has stopped, `within` so many packets."""
        if header.ssrc != self.ssrc:
            return False
        if self.old or header.kind is not PacketKind.RTP:
            return True
        return 0 < (header.sequence - self.top) % 65536 <= within


@dataclass(slots=True)
class LearnedSource:
    """A learned source. `taught` is the packet, other than media, that it was last heard by;
    `handshakes` tells whether one was DTLS or ZRTP.

    `by_silence` tells that it took the place of one that had fallen silent, without its stream.
    """

    source: TransportAddress
    taught: Header
    spoke_at: float
    streams: list[KnownStream] = field(default_factory=list)
    packets: int = 1
    spoken_s: float = 0.0
    by_silence: bool = False
    handshakes: bool = False
    events: KnownStream | None = None  # of key presses, where they have an SSRC of their own

    @property
    def is_sure(self) -> bool:
        """Whether it has been speaking for long enough to be the party itself."""
        return self.spoken_s >= TENURE_S

    def stream(self, ssrc: int) -> KnownStream | None:
        """The stream of this SSRC, where it is one of the owner's."""
        return next((stream for stream in self.streams if stream.ssrc == ssrc), None)

    def shake(self, header: Header) -> None:
        """Hear what is no media."""
        self.taught = header
        self.handshakes = self.handshakes or header.kind in HANDSHAKES

    def is_carried_on_by(self, header: Header, within: int) -> bool:
        """Whether a packet goes on where one of the streams has stopped."""
        return any(stream.is_carried_on_by(header, within) for stream in self.streams)

    def speak(self, header: Header, now: float) -> KnownStream:
        """Hear media of a stream, which begins with this packet where it is new."""
        stream = self.stream(header.ssrc)
        if stream is None:
            stream = self._begin(header, now)
        else:
            stream.hear(header, now)
        pause = now - self.spoke_at
        if pause <= PAUSE_S:
            self.spoken_s += pause
        self.spoke_at = now
        return stream

    def forget_after(self, stream: KnownStream) -> bool:
        """An elder stream is back, and ends those after it; tells whether there were any."""
        place = self.streams.index(stream) + 1
        forgets = place < len(self.streams)
        del self.streams[place:]
        return forgets

    def _begin(self, header: Header, now: float) -> KnownStream:
        if len(self.streams) == STREAMS:
            self.streams.remove(min(self.streams[1:], key=lambda s: s.last_at))
        stream = KnownStream(header.ssrc, header.sequence, now)
        self.streams.append(stream)
        return stream


def copies(streams: Iterable[KnownStream]) -> list[KnownStream]:
    """The same streams, to be followed from another source on."""
    return [replace(stream) for stream in streams]
