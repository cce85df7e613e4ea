"""The stranger: sprays datagrams at ports that are none of its business, and counts every answer.

Shapes: RTP, an RTCP sender report, four bytes 80000000, a STUN Binding request without integrity,
junk, nothing at all, and the largest datagram there is. Prints one JSON object when it is done.
"""

import argparse
import json
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable

from pylibsrtp import Policy, Session

LARGEST = 65507
LARGEST_EVERY = 500
"""The largest datagram is some 45 fragments on the wire; one in so many is enough."""


def shapes(seed: int) -> list[bytes]:
    """One datagram of each shape but the largest."""
    chance = random.Random(seed)
    ssrc = chance.getrandbits(32)
    return [
        struct.pack(">BBHII", 0x80, 0, chance.getrandbits(16), 0, ssrc).ljust(172, b"\x55"),
        struct.pack(">BBHI", 0x80, 200, 6, ssrc) + chance.randbytes(20),
        b"\x80\0\0\0",
        struct.pack(">HHI", 1, 0, 0x2112A442) + chance.randbytes(12),
        chance.randbytes(160),
        b"",
    ]


def null_hello() -> bytes:
    """A DTLS 1.2 ClientHello whose ciphers are null ones only (RFC 6347 section 4.2.1)."""
    suites = struct.pack(">HHHH", 0x0000, 0x0001, 0x0002, 0x003B)
    body = b"\xfe\xfd" + bytes(32) + b"\0\0" + struct.pack(">H", len(suites)) + suites + b"\1\0"
    length = struct.pack(">I", len(body))[1:]
    handshake = b"\1" + length + b"\0\0" + b"\0\0\0" + length + body
    return b"\x16\xfe\xff" + bytes(8) + struct.pack(">H", len(handshake)) + handshake


def signed() -> list[bytes]:
    """SRTP as a client sends it, with a key that nobody signalled."""
    policy = Policy(
        os.urandom(30), Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    )
    session = Session(policy)
    first = struct.pack(">BBHII", 0x80, 0, 0, 0, random.getrandbits(32))
    return [
        bytes(session.protect((first[:2] + struct.pack(">H", n) + first[4:]).ljust(172, b"\x55")))
        for n in range(100)
    ]


ONLY: dict[str, Callable[[], list[bytes]]] = {"hello": lambda: [null_hello()], "srtp": signed}


def spray(
    address: str, ports: list[int], count: int, seconds: float, kinds: list[bytes], rate: int
) -> dict[str, object]:
    """Send `count` datagrams, for at most `seconds`; then listen a little longer for answers.

    `rate` is at most so many a second, 0 is as fast as can be.
    """
    answers = _listeners()
    sender = answers[0]
    sent = failed = heard = 0
    started = time.monotonic()
    while sent < count and time.monotonic() - started < seconds:
        for _ in range(200):
            large = sent % LARGEST_EVERY == LARGEST_EVERY - 1
            datagram = b"\xff" * LARGEST if large else kinds[sent % len(kinds)]
            try:
                sender.sendto(datagram, (address, ports[sent % len(ports)]))
            except OSError:
                failed += 1
            sent += 1
        ahead_s = sent / rate - (time.monotonic() - started) if rate else 0.0
        heard += _count(answers, max(0.0, ahead_s))
    lasted = time.monotonic() - started
    heard += _count(answers, 0.5)
    return {"sent": sent, "failed": failed, "answers": heard, "seconds": round(lasted, 3)}


def _listeners() -> list[socket.socket]:
    """The sending socket, and one that sees every ICMP message that comes back."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", 0))
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for listener in (sender, icmp):
        listener.setblocking(False)
    return [sender, icmp]


def _count(listeners: list[socket.socket], wait_s: float) -> int:
    heard = 0
    while True:
        ready, _, _ = select.select(listeners, [], [], wait_s)
        if not ready:
            return heard
        for listener in ready:
            try:
                listener.recv(65535)
            except OSError:
                continue
            heard += 1


def main() -> None:
    """Spray as told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--ports", required=True, help="comma-separated")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=int, default=0, help="packets per second; 0 is no limit")
    parser.add_argument("--only", choices=list(ONLY), help="one kind and nothing else")
    options = parser.parse_args()
    os.nice(5)  # the victim is what is measured
    ports = [int(port) for port in options.ports.split(",")]
    kinds = ONLY[options.only]() if options.only else shapes(seed=options.count)
    done = spray(options.address, ports, options.count, options.seconds, kinds, options.rate)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
