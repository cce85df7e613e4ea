"""Reads the STUN Binding messages that ICE agents send on media ports (RFC 8489, RFC 8445).

Only what decides where a message goes, whether it is believed and what it is answered is read.
Between two agents checks and answers go on as they came; where the relay is an agent itself it
writes its own (`stun_writing.py`). The C engine mirrors this file in `plane/native/rules/stun.c`,
and a property test holds the two together.
"""

import hmac
import zlib
from dataclasses import dataclass
from enum import IntEnum

from jingle_hnt.relay.packet import STUN_COOKIE, STUN_HEADER

TRANSACTION = 12
"""Bytes of a transaction id."""

_BINDING = 0x001
USERNAME, INTEGRITY, ERROR_CODE, XOR_MAPPED_ADDRESS = 0x0006, 0x0008, 0x0009, 0x0020
PRIORITY, USE_CANDIDATE = 0x0024, 0x0025
FINGERPRINT, ICE_CONTROLLED, ICE_CONTROLLING = 0x8028, 0x8029, 0x802A
DIGEST = 20
FINGERPRINT_XOR = 0x5354554E
ROLE_CONFLICT = 487


class Class(IntEnum):
    """The class of a message (RFC 8489 section 5). The numbers are the C engine's."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Role(IntEnum):
    """What the sender of a check takes itself for (RFC 8445 section 7.1.3)."""

    UNSAID = 0
    CONTROLLED = 1
    CONTROLLING = 2


@dataclass(frozen=True, slots=True)
class BindingMessage:
    """One Binding message.

    `integrity_at` is where MESSAGE-INTEGRITY begins, 0 where there is none. `username`, `role` with
    its `tie_breaker`, the `error` code and `nominates` (USE-CANDIDATE) are what stands before it,
    and so is protected by it.
    """

    kind: Class
    transaction: bytes
    username: bytes = b""
    nominates: bool = False
    integrity_at: int = 0
    role: Role = Role.UNSAID
    tie_breaker: int = 0
    error: int = 0


def parse(datagram: bytes) -> BindingMessage | None:
    """The Binding message that a datagram is; never raises.

    None for everything else: another method, lengths that do not fit, a FINGERPRINT that is wrong
    or not the last attribute (RFC 8489 section 14.7).
    """
    if len(datagram) < STUN_HEADER or datagram[4:8] != STUN_COOKIE or datagram[0] > 3:
        return None
    length = int.from_bytes(datagram[2:4])
    if length % 4 or STUN_HEADER + length != len(datagram):
        return None
    kind, method = _class_and_method(int.from_bytes(datagram[:2]))
    if method != _BINDING:
        return None
    return _with_attributes(datagram, kind)


def is_signed(datagram: bytes, message: BindingMessage, password: bytes) -> bool:
    """Whether MESSAGE-INTEGRITY was made with this password (RFC 8489 section 14.5).

    The key is the password itself: a short-term credential. False where there is none.
    """
    at = message.integrity_at
    if not at:
        return False
    through = at - STUN_HEADER + 4 + DIGEST
    signed = datagram[:2] + through.to_bytes(2) + datagram[4:at]
    digest = hmac.digest(password, signed, "sha1")
    return hmac.compare_digest(digest, datagram[at + 4 : at + 4 + DIGEST])


def _class_and_method(word: int) -> tuple[Class, int]:
    """The two class bits stand between the method's bits (RFC 8489 section 5)."""
    kind = Class(word >> 7 & 2 | word >> 4 & 1)
    return kind, word & 0x000F | word >> 1 & 0x0070 | word >> 2 & 0x0F80


def _with_attributes(datagram: bytes, kind: Class) -> BindingMessage | None:
    at, integrity_at, username, nominates = STUN_HEADER, 0, b"", False
    role, tie_breaker, error = Role.UNSAID, 0, 0
    while at < len(datagram):
        attribute = int.from_bytes(datagram[at : at + 2])
        length = int.from_bytes(datagram[at + 2 : at + 4])
        after = at + 4 + length + -length % 4
        if after > len(datagram):
            return None
        value = datagram[at + 4 : at + 4 + length]
        if attribute == FINGERPRINT:
            if length != 4 or after != len(datagram) or not _is_fingerprint(datagram, at):
                return None
        elif integrity_at:
            pass  # what follows the integrity is to be ignored (RFC 8489 section 14.5)
        elif attribute == INTEGRITY:
            if length != DIGEST:
                return None
            integrity_at = at
        elif attribute == USERNAME:
            username = username or value
        elif attribute == USE_CANDIDATE:
            nominates = True
        elif attribute in (ICE_CONTROLLED, ICE_CONTROLLING) and length == 8:
            role = Role.CONTROLLED if attribute == ICE_CONTROLLED else Role.CONTROLLING
            tie_breaker = int.from_bytes(value)
        elif attribute == ERROR_CODE and length >= 4:
            error = 100 * (value[2] & 7) + value[3]
        at = after
    transaction = datagram[8 : 8 + TRANSACTION]
    return BindingMessage(
        kind, transaction, username, nominates, integrity_at, role, tie_breaker, error
    )


def _is_fingerprint(datagram: bytes, at: int) -> bool:
    expected = zlib.crc32(datagram[:at]) ^ FINGERPRINT_XOR
    return int.from_bytes(datagram[at + 4 : at + 8]) == expected
