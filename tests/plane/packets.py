"""Datagrams of every kind, as small as they can be."""

import struct


def rtp(sequence: int, ssrc: int = 1, payload_type: int = 0) -> bytes:
    number = sequence & 0xFFFF
    return struct.pack(">BBHII", 0x80, payload_type, number, sequence * 160, ssrc) + b"x" * 20


PRESS = 101
"""The payload type of key presses."""


def press(sequence: int, ssrc: int, key: int = 5) -> bytes:
    """One packet of a key press (RFC 4733 section 2.3)."""
    return struct.pack(">BBHIIBBH", 0x80, PRESS, sequence & 0xFFFF, 8000, ssrc, key, 10, 160)


def rtcp(ssrc: int = 1) -> bytes:
    return struct.pack(">BBHI", 0x80, 200, 6, ssrc) + bytes(20)


def stun() -> bytes:
    return struct.pack(">HHI", 1, 0, 0x2112A442) + bytes(12)


def dtls() -> bytes:
    return bytes((22, 254, 253)) + bytes(20)


def zrtp() -> bytes:
    return b"\x10\0\0\1ZRTP" + bytes(12)


def report(middle: int = 0, last: int = 0, delay: int = 0, ssrc: int = 1) -> bytes:
    """A sender report of this middle of an NTP time, with one block (RFC 3550 section 6.4.1)."""
    sender = struct.pack(">IQIII", ssrc, middle << 16, 0, 0, 0)
    block = struct.pack(">IIIIII", 2, 0, 0, 0, last, delay)
    return struct.pack(">BBH", 0x81, 200, 12) + sender + block
