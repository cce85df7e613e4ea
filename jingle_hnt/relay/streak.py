"""How far the packets of one SSRC go on: what a source on probation is counted by.

The C engine's twin is in `plane/native/rules/owner.c`.
"""

from dataclasses import dataclass

from jingle_hnt.relay.packet import Header, PacketKind

WINDOW = 64
"""Sequence numbers behind the greatest one that still count, in packets."""

STREAK_GAP_S = 2.0
"""RTP that pauses for longer begins a new streak. RTCP, DTLS and ZRTP may take their time."""

MAX_DROPOUT = 3000
"""Greatest jump of the RTP sequence number that still counts as going on (RFC 3550 A.1)."""

_SEEN = (1 << WINDOW) - 1


@dataclass(slots=True)
class Streak:
    """Packets of one kind and SSRC, those of RTP within a window of sequence numbers.

    A duplicate changes nothing and a little reordering does not matter: what counts is how many
    different packets have come. A kind without sequence numbers counts each packet.
    """

    header: Header
    last_at: float
    seen: int = 1

    @property
    def length(self) -> int:
        """Different packets heard, at most WINDOW."""
        return self.seen.bit_count()

    def hear(self, header: Header, now: float) -> None:
        """Count one more packet of this kind and SSRC."""
        if header.kind is not PacketKind.RTP:
            self.seen = (self.seen << 1 | 1) & _SEEN
            self.last_at = now
            return
        ahead = (header.sequence - self.header.sequence) % 65536
        behind = (65536 - ahead) % 65536
        if now - self.last_at > STREAK_GAP_S or WINDOW <= ahead <= 65536 - WINDOW:
            self.header, self.seen = header, 1
        elif ahead < WINDOW:
            self.header, self.seen = header, (self.seen << ahead | 1) & _SEEN
        else:
            self.seen |= 1 << behind
        self.last_at = now


def continues(before: Header, after: Header) -> bool:
    """Whether `after` carries on the stream of `before`: same kind, same SSRC, sequence going on.

    A kind without sequence numbers carries on by being of the same kind and SSRC.
    """
    if before.kind is not after.kind or before.ssrc != after.ssrc:
        return False
    if after.kind is not PacketKind.RTP:
        return True
    return 0 < (after.sequence - before.sequence) % 65536 <= MAX_DROPOUT
