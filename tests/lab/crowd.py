"""A thousand pairs of phones in one program, which all call at once with the same session id.

Every party has sockets of its own on one host, so that nothing but the relay's ports tells the
calls apart. The last line on standard output says what came of it.
"""

import argparse
import asyncio
import json
import struct
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import cast
from xml.etree import ElementTree as ET

from tests.lab.caller import DESCRIPTIONS, RAW_UDP, _Endpoint
from tests.lab.xmpp_actors import JINGLE, Client, XMPPServer

LOGINS_AT_ONCE = 50
PACKETS, INTERVAL_S = 20, 0.2
SID = "the same for all"
PATIENCE_S = 120.0


class Ear(asyncio.DatagramProtocol):
    """One component's socket: counts packets by the party and the number that they carry."""

    def __init__(self) -> None:
        self.heard: dict[int, Counter[int]] = defaultdict(Counter)
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        who, number = struct.unpack_from(">II", data, 12)
        self.heard[who][number] += 1

    def packets_of(self, who: int) -> int:
        """How many packets came with this party's mark."""
        return self.heard[who].total() if who in self.heard else 0

    def packets_of_others(self, who: int) -> int:
        """How many came with anybody else's."""
        return sum(numbers.total() for other, numbers in self.heard.items() if other != who)


class Party:
    """One side of one call. `number` is even for callers, odd for callees, 2n and 2n+1 a pair."""

    def __init__(self, number: int, client: Client, ears: list[Ear], ports: list[int]) -> None:
        self.number = number
        self.client = client
        self.ears = ears
        self.ports = ports
        self.towards: list[tuple[str, int]] = []

    def content(self, address: str) -> str:
        """Its offer or answer."""
        candidates = "".join(
            f'<candidate component="{c}" generation="0" id="c{c}" ip="{address}" port="{port}"/>'
            for c, port in enumerate(self.ports, start=1)
        )
        return (
            f'<content creator="initiator" name="voice">{DESCRIPTIONS["voice"]}'
            f'<transport xmlns="{RAW_UDP}">{candidates}</transport></content>'
        )

    async def told(self, action: str) -> str:
        """Wait for a request, acknowledge it, and take note of the candidates in it."""
        while True:
            stanza = await self.client.next(patience_s=PATIENCE_S)
            jingle = stanza.find(f"{{{JINGLE}}}jingle")
            if stanza.get("type") == "error":
                raise RuntimeError(ET.tostring(stanza, encoding="unicode"))
            if jingle is not None and jingle.get("action") == action:
                break
        self.client.acknowledge(stanza)
        found = list(jingle.iter(f"{{{RAW_UDP}}}candidate"))
        self.towards = [(c.get("ip", ""), int(c.get("port", "0"))) for c in found]
        return stanza.get("from", "")

    def say(self, sequence: int) -> None:
        """One packet on each component."""
        for component in range(len(self.ears)):
            self.say_on(component, sequence)

    def say_on(self, component: int, sequence: int) -> None:
        """One packet on one component: RTP on the first, RTCP on the second."""
        transport = self.ears[component].transport
        assert transport is not None
        kind, low, time = (0, 200)[component], sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF
        rtp = struct.pack(">BBHII", 0x80, kind, low, time, self.number)
        transport.sendto(rtp + struct.pack(">II", self.number, sequence), self.towards[component])


async def main() -> None:
    """Log in, call, talk, and say who was heard by whom."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="IP:PORT")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--address", required=True, help="the address to offer")
    parser.add_argument("--pairs", type=int, default=1000)
    options = parser.parse_args()
    server = endpoint(options.server)
    parties = [
        party async for party in crowd(server, options.domain, options.address, options.pairs)
    ]
    pairs = list(zip(parties[::2], parties[1::2], strict=True))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(connect(*pair, options.address, SID) for pair in pairs))
    for sequence in range(PACKETS):
        for party in parties:
            party.say(sequence)
        await asyncio.sleep(INTERVAL_S)
    await asyncio.sleep(1)
    print(json.dumps(outcome(parties)), flush=True)
    for caller, callee in pairs:
        caller.client.request(callee.client.jid, "session-terminate", SID, "<reason/>")
    await asyncio.gather(*(callee.told("session-terminate") for _, callee in pairs))


def endpoint(text: str) -> XMPPServer:
    """The server at IP:PORT."""
    host, _, port = text.rpartition(":")
    return _Endpoint((host, int(port)))


async def crowd(
    server: XMPPServer, domain: str, address: str, pairs: int, at_once: int = LOGINS_AT_ONCE
) -> AsyncIterator[Party]:
    """Every party, logged in and with its sockets open."""
    for first in range(0, 2 * pairs, at_once):
        numbers = range(first, min(first + at_once, 2 * pairs))
        jids = [f"u{number}@{domain}/phone" for number in numbers]
        clients = await asyncio.gather(*(Client.login(server, jid) for jid in jids))
        for number, client in zip(numbers, clients, strict=True):
            ears = [await listen(address) for _ in range(2)]
            ports = [ear.transport.get_extra_info("sockname")[1] for ear in ears if ear.transport]
            yield Party(number, client, ears, ports)


async def listen(address: str) -> Ear:
    """A socket on a port of the system's choice."""
    loop = asyncio.get_running_loop()
    _, ear = await loop.create_datagram_endpoint(Ear, local_addr=(address, 0))
    return ear


async def connect(caller: Party, callee: Party, address: str, sid: str) -> None:
    """One call, from offer to accept."""
    caller.client.request(callee.client.jid, "session-initiate", sid, caller.content(address))
    peer = await callee.told("session-initiate")
    callee.client.request(peer, "session-accept", sid, callee.content(address))
    await caller.told("session-accept")


def outcome(parties: Iterable[Party]) -> dict[str, int]:
    """How many ears heard their own peer, and how many packets anybody heard of others."""
    ears = [(party.number ^ 1, ear) for party in parties for ear in party.ears]
    return {
        "ears": len(ears),
        "heard": sum(ear.packets_of(peer) > 0 for peer, ear in ears),
        "packets": sum(ear.packets_of(peer) for peer, ear in ears),
        "foreign": sum(ear.packets_of_others(peer) for peer, ear in ears),
    }


if __name__ == "__main__":
    asyncio.run(main())
