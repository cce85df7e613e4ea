"""SRTP authentication with keys that were signalled (RFC 3711, RFC 4568): tags, and nothing else.

Of a party's master key only the two authentication keys are made, and the master key is forgotten:
with these packets can be told to be the party's own, but not read. The C engine's twin is
`plane/native/rules/srtp.c`.
"""

import binascii
import hmac
from base64 import b64decode

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.packet import RTCP_HEADER, RTP_HEADER

RTCP_TAG = 10
"""Bytes of an SRTCP tag; suites with a short tag have it for RTP only (RFC 4568 section 6.2)."""

INDEX = 4
"""Bytes of the SRTCP index, which stands before MKI and tag (RFC 3711 section 3.4)."""

SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (16, 10),
    "AES_CM_128_HMAC_SHA1_32": (16, 4),
    "F8_128_HMAC_SHA1_80": (16, 10),
    "AES_192_CM_HMAC_SHA1_80": (24, 10),
    "AES_192_CM_HMAC_SHA1_32": (24, 4),
    "AES_256_CM_HMAC_SHA1_80": (32, 10),
    "AES_256_CM_HMAC_SHA1_32": (32, 4),
}
"""Bytes of master key and RTP tag (RFC 4568, RFC 6188). Those of RFC 7714 (GCM) have no key for
authentication alone: who is to check their tags could read the call."""

MOST_KEYS = 4
"""Master keys of one crypto line that are read (RFC 4568 section 6.1)."""

_SALT, _AUTHENTICATION_KEY, _LONGEST_MKI = 14, 20, 128
_RTP_LABEL, _RTCP_LABEL = 1, 4
_UNCHECKABLE = ("KDR=", "UNAUTHENTICATED_SRTP")


def read_keys(suite: str, key_params: str, session_params: str) -> tuple[TagKey, ...]:
    """The keys of one <crypto/> (RFC 4568 section 9.1); none where its tags cannot be checked."""
    known = SUITES.get(suite)
    params = key_params.split(";")
    doubtful = any(word.startswith(_UNCHECKABLE) for word in session_params.split())
    if known is None or doubtful or len(params) > MOST_KEYS:
        return ()
    try:
        return tuple(_key(text, *known) for text in params)
    except ValueError:
        return ()


def _key(text: str, master_bytes: int, tag_bytes: int) -> TagKey:
    method, _, info = text.strip().partition(":")
    secret, *rest = info.split("|")
    try:
        whole = b64decode(secret, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if method != "inline" or len(whole) != master_bytes + _SALT:
        raise ValueError("not an inline key of this suite")
    mki = [int(word.partition(":")[2]) for word in rest if ":" in word]
    if any(not 0 <= length <= _LONGEST_MKI for length in mki):
        raise ValueError("an MKI has at most 128 bytes")
    master, salt = whole[:master_bytes], whole[master_bytes:]
    return TagKey(
        rtp=_derived(master, salt, _RTP_LABEL).hex(),
        rtcp=_derived(master, salt, _RTCP_LABEL).hex(),
        tag_bytes=tag_bytes,
        mki_bytes=sum(mki),
    )


def _derived(master: bytes, salt: bytes, label: int) -> bytes:
    """The authentication key (RFC 3711 section 4.3), at a key derivation rate of zero."""
    start = (int.from_bytes(salt) ^ label << 48) << 16
    counter = modes.CTR(start.to_bytes(16))
    return Cipher(algorithms.AES(master), counter).encryptor().update(bytes(_AUTHENTICATION_KEY))


def is_rtp_signed(datagram: bytes, key: TagKey, rollover: int) -> bool:
    """Whether the tag is this key's, at this rollover counter (RFC 3711 section 4.2)."""
    signed = len(datagram) - key.mki_bytes - key.tag_bytes
    if signed < RTP_HEADER:
        return False
    message = datagram[:signed] + rollover.to_bytes(4)
    return _is_tag(datagram[len(datagram) - key.tag_bytes :], key.rtp, message)


def is_rtcp_signed(datagram: bytes, key: TagKey) -> bool:
    """The same of an SRTCP packet, which carries its whole index (RFC 3711 section 3.4)."""
    signed = len(datagram) - key.mki_bytes - RTCP_TAG
    if signed < RTCP_HEADER + INDEX:
        return False
    return _is_tag(datagram[len(datagram) - RTCP_TAG :], key.rtcp, datagram[:signed])


def rtcp_index(datagram: bytes, key: TagKey) -> int:
    """The index of an SRTCP packet (31 bits); 0 of one that is too short to have one."""
    end = len(datagram) - key.mki_bytes - RTCP_TAG
    if end < RTCP_HEADER + INDEX:
        return 0
    return int.from_bytes(datagram[end - INDEX : end]) & 0x7FFFFFFF


def _is_tag(tag: bytes, key: str, message: bytes) -> bool:
    expected = hmac.digest(bytes.fromhex(key), message, "sha1")
    return hmac.compare_digest(tag, expected[: len(tag)])
