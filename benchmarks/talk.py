"""Two parties who talk through an installation in the NAT lab: how long packets are under way.

``python -m benchmarks.talk ADDRESS`` logs both in and makes their call; then a packet goes each way
every 20 ms. For each line on standard input it says how packets fared since the last.
"""

import asyncio
import contextlib
import json
import re
import select
import socket
import struct
import sys
import time
from types import SimpleNamespace
from typing import cast

from benchmarks.component import DOMAIN
from benchmarks.figures import median, percentile
from tests.lab.world import RELAY, SERVER
from tests.lab.xmpp_actors import Client, XMPPServer, as_text

USERS = ("carol", "dave")
PORTS = (40000, 40002)
INTERVAL_S = 0.02
LATE_S = 0.2
KEPT: list[Client] = []
"""After which a packet that has not come is lost."""


AT = cast(XMPPServer, SimpleNamespace(c2s=(SERVER, 5222)))
"""Where clients of the lab connect."""


def content(host: str, port: int) -> str:
    """Audio, at this port and the next."""
    return (
        '<content creator="initiator" name="voice">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>'
        '<transport xmlns="urn:xmpp:jingle:transports:raw-udp:1">'
        f'<candidate component="1" generation="0" id="a" ip="{host}" port="{port}"/>'
        f'<candidate component="2" generation="0" id="b" ip="{host}" port="{port + 1}"/>'
        "</transport></content>"
    )


async def in_a_call(host: str) -> tuple[int, int]:
    """Make the call; the relay's ports for RTP that face its parties. Their streams stay open."""
    pair = [await Client.login(AT, f"{user}@{DOMAIN}/x") for user in USERS]
    carol, dave = pair
    KEPT.extend(pair)
    carol.request(dave.jid, "session-initiate", "talk", content(host, PORTS[0]))
    offered = await dave.next_request("talk")
    dave.acknowledge(offered)
    dave.request(carol.jid, "session-accept", "talk", content(host, PORTS[1]))
    accepted = await carol.next_request("talk")
    carol.acknowledge(accepted)
    return _port(as_text(accepted)), _port(as_text(offered))


def _port(stanza: str) -> int:
    """The relay's port for RTP, as a party was told it."""
    candidates = re.findall(r"<[^>]*candidate [^>]*>", stanza)
    found = [re.search(r'port="(\d+)"', each) for each in candidates if 'component="1"' in each]
    assert found, stanza
    assert found[0] is not None, stanza
    return int(found[0][1])


class Media:
    """Both parties' sockets, and how long packets were under way."""

    def __init__(self, host: str, ports: tuple[int, int]) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in PORTS]
        for made, port in zip(self.sockets, PORTS, strict=True):
            made.bind((host, port))
            made.setblocking(False)
        self.ports = ports
        self.number = 0
        self.sent_at: dict[tuple[int, int], float] = {}
        self.ways: list[float] = []
        self.sent = 0

    def run(self) -> None:
        """Until standard input ends."""
        due = time.monotonic()
        while True:
            wait_s = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([*self.sockets, sys.stdin], (), (), wait_s)
            for side, one in enumerate(self.sockets):
                if one in ready:
                    self._hear(one, 1 - side)
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    return
                self._tell()
            if time.monotonic() >= due:
                self._send()
                due += INTERVAL_S

    def _send(self) -> None:
        self.number += 1
        for side, one in enumerate(self.sockets):
            head = struct.pack("!BBHII", 0x80, 0, self.number & 0xFFFF, 160 * self.number, 7 + side)
            self.sent_at[side, self.number & 0xFFFF] = time.monotonic()
            one.sendto(head.ljust(172, b"\x55"), (RELAY, self.ports[side]))
            self.sent += 1

    def _hear(self, one: socket.socket, sender: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram, now = one.recv(2048), time.monotonic()
                number = int.from_bytes(datagram[2:4], "big")
                at = self.sent_at.pop((sender, number), None)
                if at is not None:
                    self.ways.append(1000 * (now - at))

    def _tell(self) -> None:
        now = time.monotonic()
        gone = [key for key, at in self.sent_at.items() if now - at > LATE_S]
        for key in gone:
            del self.sent_at[key]
        told = {
            "media_p50_ms": round(median(self.ways or [0.0]), 3),
            "media_p99_ms": round(percentile(self.ways or [0.0], 0.99), 3),
            "media_lost": round(len(gone) / max(1, self.sent), 4),
        }
        self.ways.clear()
        self.sent = 0
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


async def main(host: str) -> None:
    """Log in, call, and talk."""
    ports = await in_a_call(host)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(Media(host, ports).run)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
