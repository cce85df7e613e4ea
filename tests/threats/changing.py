"""Clients that change in mid-call: their port, their stream, the way their packets come.

Reads one JSON object from stdin (see `Script`), says ``{"open": true}``, sends as it is told, and
prints what each call sent and heard when the time is over. All calls of one site are one process.
"""

import asyncio
import json
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NotRequired, TypedDict, cast

from tests.lab.rtp import RTP_INTERVAL_S, mark, rtcp, rtp
from tests.threats.party import say

AFTER_S = 0.4
NEIGHBOURS = b"x"
"""The mark of what a host beside the party sends, which no party is to hear."""


class Talk(TypedDict):
    """A stretch of one stream from one of the call's ports (0 on); times are after the start.

    `way` is how its packets come: ``twice``, ``swapped`` in pairs, or ``rtcp`` instead of RTP.
    Without `own` it is a neighbour's.
    """

    port: int
    begins: float
    ends: float
    ssrc: int
    sequence: NotRequired[int]
    payload_type: NotRequired[int]
    way: NotRequired[str]
    own: NotRequired[bool]
    interval_s: NotRequired[float]


class Call(TypedDict):
    """What one party does: `name` marks its packets, `peer` those that it is to hear."""

    name: str
    peer: str
    ports: list[int]
    to: tuple[str, int]
    talks: list[Talk]


class Script(TypedDict):
    """All calls of a site; `starts_at` is CLOCK_REALTIME."""

    address: str
    starts_at: float
    seconds: float
    calls: list[Call]


class Port(asyncio.DatagramProtocol):
    """One socket: when each marked packet came, and whose it was."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes, int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = mark(data)
        if found is not None:
            self.heard.append((time.time(), found[0].rstrip(b"\0"), found[1]))


class Party:
    """One call of the script."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.ports = [Port() for _ in call["ports"]]
        self.sent: list[tuple[float, int, int]] = []  # when, the number, of which talk
        self._numbers = iter(range(1 << 30))

    async def open(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        for port, number in zip(self.ports, self.call["ports"], strict=True):
            await loop.create_datagram_endpoint(
                lambda port=port: port,  # type: ignore[misc]
                local_addr=(address, number),
            )

    async def talk(self, starts_at: float) -> None:
        talks = enumerate(self.call["talks"])
        await asyncio.gather(*(self._one(place, talk, starts_at) for place, talk in talks))

    async def _one(self, place: int, talk: Talk, starts_at: float) -> None:
        own, transport = talk.get("own", True), self.ports[talk["port"]].transport
        stream = self.call["name"].encode() if own else NEIGHBOURS
        host, port = self.call["to"]
        for at, sequence, times in _packets(talk):
            await asyncio.sleep(starts_at + at - time.time())
            number = next(self._numbers)
            made = _datagram(talk, stream, sequence, number)
            for _ in range(times):
                transport.sendto(made, (host, port))
            if own and talk.get("way") != "rtcp":
                self.sent.append((time.time(), number, place))

    def told(self) -> dict[str, Any]:
        peer = self.call["peer"].encode()
        heard = [
            (at, number, place, who == peer)
            for place, port in enumerate(self.ports)
            for at, who, number in port.heard
        ]
        return {"sent": self.sent, "heard": sorted(heard)}


def _packets(talk: Talk) -> Iterator[tuple[float, int, int]]:
    """When each packet is due, its sequence number, and how often it comes."""
    interval_s, way = talk.get("interval_s", RTP_INTERVAL_S), talk.get("way")
    for number in range(round((talk["ends"] - talk["begins"]) / interval_s)):
        sequence = talk.get("sequence", 0) + (number ^ 1 if way == "swapped" else number)
        yield talk["begins"] + number * interval_s, sequence, 2 if way == "twice" else 1


def _datagram(talk: Talk, stream: bytes, sequence: int, number: int) -> bytes:
    if talk.get("way") == "rtcp":
        return rtcp(stream, talk["ssrc"], number)
    made = rtp(stream, talk["ssrc"], number)
    header = struct.pack(">BBH", 0x80, talk.get("payload_type", 0), sequence & 0xFFFF)
    return header + made[4:]


async def run(script: Script) -> Sequence[object]:
    """All calls of a script."""
    parties = [Party(call) for call in script["calls"]]
    for party in parties:
        await party.open(script["address"])
    say({"open": True})
    talking = asyncio.gather(*(party.talk(script["starts_at"]) for party in parties))
    await asyncio.sleep(script["starts_at"] + script["seconds"] + AFTER_S - time.time())
    await talking
    return [party.told() for party in parties]


if __name__ == "__main__":
    say(asyncio.run(run(json.loads(sys.stdin.readline()))))
