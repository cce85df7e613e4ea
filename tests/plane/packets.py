"""Datagrams of every kind, as small as they can be."""

import struct


def rtp(sequence: int, ssrc: int = 1) -> bytes:
    return struct.pack(">BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160, ssrc) + b"x" * 20


def rtcp(ssrc: int = 1) -> bytes:
    return struct.pack(">BBHI", 0x80, 200, 6, ssrc) + bytes(20)


def stun() -> bytes:
    return struct.pack(">HHI", 1, 0, 0x2112A442) + bytes(12)


def dtls() -> bytes:
    return bytes((22, 254, 253)) + bytes(20)


def zrtp() -> bytes:
    return b"\x10\0\0\1ZRTP" + bytes(12)
