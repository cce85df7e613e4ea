"""Binding messages are read as aioice, which shares no code with us, writes and reads them."""

import hmac
import struct
import zlib

import pytest
from aioice import stun as other
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jingle_hnt.relay.stun import BindingMessage, Class, Role, is_signed, parse

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789+/:", min_size=1, max_size=80)
PASSWORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789+/", min_size=1, max_size=90)
CLASSES = {
    Class.REQUEST: other.Class.REQUEST,
    Class.INDICATION: other.Class.INDICATION,
    Class.SUCCESS: other.Class.RESPONSE,
    Class.ERROR: other.Class.ERROR,
}


def written(
    kind: Class = Class.REQUEST,
    username: str = "B:A",
    password: str = "secret",
    nominates: bool = False,
    method: other.Method = other.Method.BINDING,
) -> bytes:
    """A message as aioice writes it."""
    message = other.Message(message_method=method, message_class=CLASSES[kind])
    message.attributes["USERNAME"] = username
    message.attributes["PRIORITY"] = 1845501695
    message.attributes["ICE-CONTROLLING"] = 7
    if nominates:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


def flipped(datagram: bytes, bit: int) -> bytes:
    whole = bytearray(datagram)
    whole[bit // 8 % len(whole)] ^= 1 << bit % 8
    return bytes(whole)


@given(st.sampled_from(Class), NAMES, PASSWORDS, st.booleans())
def test_what_aioice_writes_is_read(
    kind: Class, username: str, password: str, nominates: bool
) -> None:
    datagram = written(kind, username, password, nominates)
    message = parse(datagram)
    assert message is not None
    at = message.integrity_at
    told = (Role.CONTROLLING, 7)
    assert message == BindingMessage(kind, datagram[8:20], username.encode(), nominates, at, *told)
    assert is_signed(datagram, message, password.encode())
    assert not is_signed(datagram, message, password.encode() + b"x")


@settings(max_examples=300)
@given(st.integers(0, 8 * 200), st.booleans())
def test_no_bit_that_counts_can_be_changed(bit: int, fingerprint: bool) -> None:
    """Only the attribute after the integrity can be made another, and says nothing then."""
    datagram = written()
    if not fingerprint:
        datagram = datagram[:2] + (len(datagram) - 28).to_bytes(2) + datagram[4:-8]
    changed = flipped(datagram, bit)
    message = parse(changed)
    believed = message is not None and is_signed(changed, message, b"secret")
    assert not believed or (message == parse(datagram) and fingerprint)


def test_without_a_fingerprint_the_integrity_holds() -> None:
    datagram = written()
    shorter = datagram[:2] + (len(datagram) - 28).to_bytes(2) + datagram[4:-8]
    message = parse(shorter)
    assert message is not None
    assert is_signed(shorter, message, b"secret")


def test_another_method_is_no_binding() -> None:
    assert parse(written(method=other.Method.ALLOCATE)) is None


def test_what_nobody_signed_is_not_signed() -> None:
    plain = bytes(other.Message(other.Method.BINDING, other.Class.REQUEST))
    message = parse(plain)
    assert message == BindingMessage(Class.REQUEST, plain[8:20])
    assert not is_signed(plain, message, b"")


def test_what_follows_the_integrity_counts_for_nothing() -> None:
    """Anybody can add it: a nomination, and another name, that nobody has signed."""
    signed = written()[:-8]
    forged = signed + bytes((0, 0x25, 0, 0)) + bytes((0, 6, 0, 4)) + b"evil"
    forged = forged[:2] + (len(forged) - 20).to_bytes(2) + forged[4:]
    message = parse(forged)
    assert message is not None
    assert is_signed(forged, message, b"secret")
    assert (message.username, message.nominates) == (b"B:A", False)


def signed_by_hand(attributes: bytes, password: bytes) -> bytes:
    """A request with just these attributes, and its integrity."""
    header = b"\0\1" + (len(attributes) + 24).to_bytes(2) + bytes.fromhex("2112a442") + bytes(12)
    digest = hmac.digest(password, header + attributes, "sha1")
    return header + attributes + bytes((0, 8, 0, 20)) + digest


def test_of_two_names_the_first_counts() -> None:
    names = b"\0\6\0\4B:AA" + b"\0\6\0\4evil"
    datagram = signed_by_hand(names, b"secret")
    message = parse(datagram)
    assert message is not None
    assert is_signed(datagram, message, b"secret")
    assert message.username == b"B:AA"


def test_a_fingerprint_is_the_last_attribute() -> None:
    header = b"\0\1\0\x0c" + bytes.fromhex("2112a442") + bytes(12)
    crc = zlib.crc32(header) ^ 0x5354554E
    fingerprint = bytes.fromhex("80280004") + crc.to_bytes(4)
    assert parse(header + fingerprint + bytes.fromhex("00250000")) is None


HEADER = bytes.fromhex("00010008 2112a442") + bytes(12)


@pytest.mark.parametrize(
    "datagram",
    [
        HEADER + bytes.fromhex("0006 0008 00000000"),  # longer than the message
        HEADER + bytes.fromhex("0008 0004 00000000"),  # an integrity of four bytes
        HEADER[:3] + b"\x06" + HEADER[4:] + bytes(6),  # no multiple of four
        HEADER + bytes(12),  # the header says eight
        HEADER + bytes.fromhex("8028 0004 00000000"),  # a wrong fingerprint
    ],
)
def test_what_does_not_fit_is_no_message(datagram: bytes) -> None:
    assert parse(datagram) is None


def agree(datagram: bytes) -> None:
    try:
        theirs = other.parse_message(datagram)
    except (ValueError, struct.error):
        theirs = None
    ours = parse(datagram)
    if theirs is not None and ours is not None:
        assert ours.transaction == theirs.transaction_id
        assert CLASSES[ours.kind] == theirs.message_class


@given(st.binary(max_size=120))
@example(b"")
def test_no_bytes_raise(datagram: bytes) -> None:
    agree(datagram)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 8 * 120), max_size=4), st.integers(0, 120))
def test_no_damage_raises(bits: list[int], end: int) -> None:
    datagram = written()
    for bit in bits:
        datagram = flipped(datagram, bit)
    agree(datagram[:end])
    agree(datagram)
    message = parse(
        HEADER[:2] + max(0, end - end % 4 - 20).to_bytes(2) + datagram[4 : end - end % 4]
    )
    assert message is None or len(message.transaction) == 12
