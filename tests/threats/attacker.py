"""Who has no business at the relay: sprays datagrams at ports, and counts all that comes back.

Shapes are those of `tests.lab.sprayer`, by name. With `--source` the packets carry a forged source
address (raw sockets); with `--unreachable` they are ICMP errors of what a port is said to have sent
to others; with `--listen` nothing is sent. Prints one JSON object when it is done.
"""

import argparse
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

from tests.lab.rtp import mark
from tests.lab.sprayer import LARGEST, null_hello, shapes, signed

NAMES = ("rtp", "rtcp", "four", "stun", "junk", "empty")
OTHERS: dict[str, Callable[[], bytes]] = {
    "large": lambda: b"\xff" * LARGEST,
    "hello": null_hello,
    "srtp": lambda: signed()[0],
    "video": lambda: b"\x80\x60" + bytes(6) + b"\x12\x34\x56\x78".ljust(1192, b"\x55"),
}
PARTIES = range(1000, 3000)
"""The SSRCs of the parties: their media is known by them where it cannot be read."""
BATCH = 50
TAIL_S = 0.5


def datagrams(names: list[str]) -> list[bytes]:
    """One datagram of each of these shapes; ``large`` is the largest that there is, ``srtp`` is
    signed with a key of its own, and ``0x...`` is what it says."""
    known = dict(zip(NAMES, shapes(seed=7), strict=True))
    known |= {name: make() for name, make in OTHERS.items() if name in names}
    return [bytes.fromhex(n[2:]) if n.startswith("0x") else known[n] for n in names]


def is_media(datagram: bytes) -> bool:
    """Whether it is a packet of a party's stream, readable or not (RFC 3550)."""
    found = mark(datagram)
    if found is not None and found[0][:1] in b"ab":
        return True
    at = 4 if datagram[1:2] in (b"\xc8", b"\xc9") else 8
    ssrc = int.from_bytes(datagram[at : at + 4], "big")
    return datagram[:1] > b"\x7f" and ssrc in PARTIES


def forged(
    raw: socket.socket, source: tuple[str, int], to: tuple[str, int], payload: bytes
) -> None:
    """Send UDP in somebody else's name (RFC 791, RFC 768; a checksum of 0 is none).

    Raises OSError where the kernel refuses, also for addresses that are not IPv4.
    """
    udp = struct.pack(">HHHH", source[1], to[1], 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(to[0])
    raw.sendto(head + addresses + udp, to)


def udp_from(source: tuple[str, int]) -> Callable[[bytes, tuple[str, int]], None]:
    """Sends UDP in somebody else's name."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    return lambda payload, to: forged(raw, source, to, payload)


def unreachable(host: str, port: int, to: tuple[str, int], code: int) -> bytes:
    """An ICMP error about a packet that a port of a host is said to have sent (RFC 792).

    Of code 4 it says that the packet was too long for the way, for 576 bytes (RFC 1191).
    """
    udp = struct.pack(">HHHH", port, to[1], 180, 0)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 200, 0, 0, 64, socket.IPPROTO_UDP, 0)
    quoted = head + socket.inet_aton(host) + socket.inet_aton(to[0]) + udp
    rest = struct.pack(">HH", 0, 576) + quoted
    words = struct.unpack(f">{len(rest) // 2}H", rest)
    total = (3 << 8 | code) + sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">BBH", 3, code, total ^ 0xFFFF) + rest


class Attacker:
    """Counts what it sends and what comes back: `media` are marked packets of somebody's call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("", options.port))
        self.icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        for listener in (self.udp, self.icmp):
            listener.setblocking(False)
        self.sent = self.sent_bytes = self.answers = self.answer_bytes = self.media = self.icmps = 0

    def run(self) -> dict[str, object]:
        """Spray as told; listen all the time and a little longer."""
        options = self.options
        time.sleep(max(0.0, options.starts_at - time.time()))
        started = time.monotonic()
        if options.listen:
            while time.monotonic() - started < options.seconds:
                self._hear(0.05)
        else:
            self._spray(started)
        lasted = time.monotonic() - started
        until = time.monotonic() + TAIL_S
        while time.monotonic() < until:
            self._hear(0.05)
        counts = ("sent", "sent_bytes", "answers", "answer_bytes", "media", "icmps")
        return {"seconds": round(lasted, 3)} | {name: getattr(self, name) for name in counts}

    def _spray(self, started: float) -> None:
        options = self.options
        send = udp_from(options.source) if options.source else self.udp.sendto
        wanted = _wanted(options)
        if options.unreachable:
            send, wanted = self.icmp.sendto, _errors(options)
        while self.sent < options.count and time.monotonic() - started < options.seconds:
            for _ in range(BATCH):
                payload, port = next(wanted)
                try:
                    send(payload, (options.address, port))
                    self.sent += 1
                    self.sent_bytes += len(payload)
                except OSError:
                    continue
            self._hear(0)
            if options.pps:
                ahead = self.sent / options.pps - (time.monotonic() - started)
                if ahead > 0:
                    time.sleep(ahead)

    def _hear(self, wait_s: float) -> None:
        ready, _, _ = select.select((self.udp, self.icmp), (), (), wait_s)
        for listener in ready:
            while True:
                try:
                    datagram = listener.recv(65535)
                except OSError:
                    break
                self._count(listener, datagram)

    def _count(self, listener: socket.socket, datagram: bytes) -> None:
        if listener is self.icmp:
            self.icmps += 1
            return
        self.answers += 1
        self.answer_bytes += len(datagram)
        self.media += is_media(datagram)


def _wanted(options: argparse.Namespace) -> Iterator[tuple[bytes, int]]:
    """Every shape at every port, again and again, the ports in no foreseeable order."""
    chance = random.Random(1)
    kinds = datagrams(options.shapes)
    while True:
        ports = chance.sample(options.ports, len(options.ports))
        for number, port in enumerate(ports):
            yield kinds[(number + chance.randrange(len(kinds))) % len(kinds)], port


def _errors(options: argparse.Namespace) -> Iterator[tuple[bytes, int]]:
    """Every code for every leg, again and again."""
    codes = (0, 1, 2, 3, 4, 9, 10, 13)  # RFC 1812 section 5.2.7.1
    for number in itertools.count():
        for place, (port, host, to) in enumerate(options.unreachable):
            code = codes[(number + place) % len(codes)]
            yield unreachable(options.address, port, (host, to), code), 0


def _legs(text: str) -> list[tuple[int, str, int]]:
    words = [leg.split(">") for leg in text.split(",")]
    return [(int(port), host, int(to)) for port, host, to in words]


def _ports(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _source(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Attack as told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="")
    parser.add_argument("--ports", type=_ports, default=[])
    parser.add_argument("--port", type=int, default=0, help="where it sends from and listens")
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=["rtp"])
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--pps", type=int, default=0)
    parser.add_argument("--starts-at", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--source", type=_source)
    parser.add_argument("--unreachable", type=_legs, help="PORT>HOST>PORT,...: who sends to whom")
    parser.add_argument("--listen", action="store_true")
    options = parser.parse_args()
    os.nice(5)  # the victim is what is measured
    sys.stdout.write(json.dumps(Attacker(options).run()) + "\n")


if __name__ == "__main__":
    main()
