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


def spray(address: str, ports: list[int], count: int, seconds: float) -> dict[str, object]:
    """Send `count` datagrams, for at most `seconds`; then listen a little longer for answers."""
    answers = _listeners()
    kinds = shapes(seed=count)
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
        heard += _count(answers, 0)
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
    options = parser.parse_args()
    os.nice(5)  # the victim is what is measured
    ports = [int(port) for port in options.ports.split(",")]
    print(json.dumps(spray(options.address, ports, options.count, options.seconds)))


if __name__ == "__main__":
    main()
