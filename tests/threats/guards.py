"""Calls whose media can be told from an attacker's: SDES keys, or ICE credentials.

What the parties of a call number sign with follows from the number, so an attacker who has listened
can be played by anybody: what it repeats is what the party has sent, byte for byte.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from enum import StrEnum
from typing import TypedDict

from aioice import stun
from pylibsrtp import Policy, Session

from tests.lab.rtp import rtp

SUITE, PROFILE = "AES_CM_128_HMAC_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80


class Guard(StrEnum):
    """What media is protected by."""

    NONE = "none"
    SDES = "sdes"
    ICE = "ice"


class Terms(TypedDict, total=False):
    """What one party of a call has agreed: SDES masters, or ICE credentials, its own and those that
    it was told."""

    own_key: str
    peer_key: str
    own: tuple[str, str]
    peer: tuple[str, str]
    controlling: bool


def master(party: str, number: int) -> str:
    """A master key and salt of 30 bytes (RFC 4568 section 6.1), in base64."""
    return b64encode(_drawn(f"master {party}{number}", 30)).decode()


def credentials(party: str, number: int) -> tuple[str, str]:
    """ufrag and pwd of an agent."""
    name = _drawn(f"agent {party}{number}", 16).hex()
    return name[:8], name[8:]


def agreed(number: int, guard: Guard) -> tuple[Terms, Terms]:
    """What the parties agree where the relay changes nothing of it."""
    if guard is Guard.SDES:
        keys = master("a", number), master("b", number)
        return Terms(own_key=keys[0], peer_key=keys[1]), Terms(own_key=keys[1], peer_key=keys[0])
    agents = credentials("a", number), credentials("b", number)
    return (
        Terms(own=agents[0], peer=agents[1], controlling=True),
        Terms(own=agents[1], peer=agents[0], controlling=False),
    )


def session(key: str, direction: int) -> Session:
    """SRTP with this master; `direction` is Policy.SSRC_ANY_INBOUND or _OUTBOUND."""
    return Session(Policy(b64decode(key), direction, srtp_profile=PROFILE))


def check(
    own: tuple[str, str], peer: tuple[str, str], controlling: bool, component: int, count: int
) -> bytes:
    """The connectivity check of this number that an agent makes (RFC 8445 section 7.1)."""
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.transaction_id = _drawn(f"check {own[0]} {component} {count}", 12)
    message.attributes["USERNAME"] = f"{peer[0]}:{own[0]}"
    message.attributes["PRIORITY"] = 1845501695
    if controlling:
        message.attributes["ICE-CONTROLLING"] = 2
        message.attributes["USE-CANDIDATE"] = None
    else:
        message.attributes["ICE-CONTROLLED"] = 1
    message.add_message_integrity(peer[1].encode())
    message.add_fingerprint()
    return bytes(message)


def heard_checks(terms: Terms) -> list[bytes]:
    """The first check of each component of an agent, as somebody on its way has heard it."""
    return [check(terms["own"], terms["peer"], terms["controlling"], c, 0) for c in (1, 2)]


def forged_checks(terms: Terms) -> list[bytes]:
    """The same from somebody who knows the names and no password."""
    ignorant = (terms["peer"][0], "x" * 22)
    return [check((terms["own"][0] + "x", ""), ignorant, True, 1, n) for n in range(2)] + [
        check(terms["own"], ignorant, terms["controlling"], 1, 1 << 20)
    ]


def heard_media(terms: Terms, stream: bytes, ssrc: int, numbers: Iterable[int]) -> list[bytes]:
    """A party's SRTP packets of these numbers."""
    sending = session(terms["own_key"], Policy.SSRC_ANY_OUTBOUND)
    return [bytes(sending.protect(rtp(stream, ssrc, number))) for number in numbers]


def _drawn(name: str, length: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(length)
