"""What kind of datagram arrived on a media port (RFC 7983 section 7, RFC 5761 section 4).

Only the first bytes are looked at; payloads stay opaque. The C engine mirrors this file in
`plane/native/rules/packet.c`, and a property test holds the two together.
"""

from dataclasses import dataclass, field
from enum import IntEnum

RTP_HEADER = 12
RTCP_HEADER = 8
STUN_HEADER = 20
STUN_COOKIE = b"\x21\x12\xa4\x42"
ZRTP_COOKIE = b"ZRTP"


class PacketKind(IntEnum):
    """The protocols that share a media port. The numbers are the C engine's."""

    EMPTY = 0
    STUN = 1
    ZRTP = 2
    DTLS = 3
    RTP = 4
    RTCP = 5
    OTHER = 6


LATCHABLE = frozenset({PacketKind.ZRTP, PacketKind.DTLS, PacketKind.RTP, PacketKind.RTCP})
"""Kinds that may teach a latch. STUN does so only when authenticated, which is not decided here;
an empty datagram or junk never does (RFC 7362 section 5: garbage must not latch)."""

SETUP_KINDS = frozenset({PacketKind.STUN, PacketKind.ZRTP, PacketKind.DTLS})
"""In-path signalling that media-path-middleboxes REC 2 wants let through before the answer."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the latch needs to know of a datagram.

    `ssrc` is RTP's or the RTCP sender's (32 bits) and `sequence` RTP's (16 bits); both are 0 for
    every other kind. `payload_type` is RTP's (7 bits), and says nothing of whose packet it is.
    """

    kind: PacketKind
    ssrc: int = 0
    sequence: int = 0
    payload_type: int = field(default=0, compare=False)


def classify(datagram: bytes) -> Header:
    """The header of any datagram; never raises, whatever the bytes are."""
    if not datagram:
        return Header(PacketKind.EMPTY)
    first = datagram[0]
    if first < 4:
        return Header(PacketKind.STUN if _is_stun(datagram) else PacketKind.OTHER)
    if first == 16:
        return Header(PacketKind.ZRTP if datagram[4:8] == ZRTP_COOKIE else PacketKind.OTHER)
    if 20 <= first <= 63:
        return Header(PacketKind.DTLS if len(datagram) >= 13 else PacketKind.OTHER)
    if 128 <= first <= 191:
        return _rtp_or_rtcp(datagram)
    return Header(PacketKind.OTHER)


def _is_stun(datagram: bytes) -> bool:
    return len(datagram) >= STUN_HEADER and datagram[4:8] == STUN_COOKIE


def _rtp_or_rtcp(datagram: bytes) -> Header:
    if len(datagram) < RTCP_HEADER:
        return Header(PacketKind.OTHER)
    if 192 <= datagram[1] <= 223:  # RFC 5761 section 4: the packet types kept for RTCP
        return Header(PacketKind.RTCP, ssrc=int.from_bytes(datagram[4:8]))
    if len(datagram) < RTP_HEADER:
        return Header(PacketKind.OTHER)
    ssrc, sequence = int.from_bytes(datagram[8:12]), int.from_bytes(datagram[2:4])
    return Header(PacketKind.RTP, ssrc, sequence, datagram[1] & 0x7F)
