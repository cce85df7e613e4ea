"""Writes the STUN Binding messages of an ICE agent: its checks and answers (RFC 8445 section 7).

Every message is signed with a short-term credential and ends with a FINGERPRINT. The C engine
mirrors this file in `plane/native/rules/stun.c`; a property test compares the two byte by byte.
"""

import hmac
import zlib

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.packet import STUN_COOKIE, STUN_HEADER
from jingle_hnt.relay.stun import (
    DIGEST,
    ERROR_CODE,
    FINGERPRINT,
    FINGERPRINT_XOR,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    INTEGRITY,
    PRIORITY,
    ROLE_CONFLICT,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
)

_REQUEST, _SUCCESS, _ERROR = 0x0001, 0x0101, 0x0111

OUR_PRIORITY = 110 << 24 | 65535 << 8 | 255
"""Of the peer-reflexive candidate that a check may make of us (RFC 8445 section 7.1.1)."""


def check(
    transaction: bytes,
    username: str,
    password: str,
    controlling: bool,
    tie_breaker: int,
    nominates: bool,
) -> bytes:
    """A Binding request to a party: named and signed with that party's credentials."""
    role = ICE_CONTROLLING if controlling else ICE_CONTROLLED
    body = _attribute(USERNAME, username.encode())
    body += _attribute(PRIORITY, OUR_PRIORITY.to_bytes(4))
    body += _attribute(role, tie_breaker.to_bytes(8))
    if nominates:
        body += _attribute(USE_CANDIDATE, b"")
    return _signed(_REQUEST, transaction, body, password)


def success(transaction: bytes, source: TransportAddress, password: str) -> bytes:
    """The answer to a check that was believed: where it came from (RFC 8489 section 14.2)."""
    mask = STUN_COOKIE + transaction
    family = 1 if source.ip.version == 4 else 2
    port = source.port ^ int.from_bytes(STUN_COOKIE[:2])
    packed = bytes(a ^ b for a, b in zip(source.ip.packed, mask, strict=False))
    body = _attribute(XOR_MAPPED_ADDRESS, bytes((0, family)) + port.to_bytes(2) + packed)
    return _signed(_SUCCESS, transaction, body, password)


def role_conflict(transaction: bytes, password: str) -> bytes:
    """The answer that makes the other agent change its role (RFC 8445 section 7.3.1.1)."""
    code = bytes((0, 0, ROLE_CONFLICT // 100, ROLE_CONFLICT % 100))
    return _signed(_ERROR, transaction, _attribute(ERROR_CODE, code), password)


def _attribute(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4)


def _signed(word: int, transaction: bytes, body: bytes, password: str) -> bytes:
    through = len(body) + 4 + DIGEST
    head = word.to_bytes(2) + through.to_bytes(2) + STUN_COOKIE + transaction
    digest = hmac.digest(password.encode(), head + body, "sha1")
    body += _attribute(INTEGRITY, digest)
    head = word.to_bytes(2) + (len(body) + 8).to_bytes(2) + STUN_COOKIE + transaction
    assert len(head) == STUN_HEADER
    crc = zlib.crc32(head + body) ^ FINGERPRINT_XOR
    return head + body + _attribute(FINGERPRINT, crc.to_bytes(4))
