"""Calls through the running relay, by ICE agents and sockets of this process: `check --media`.

The agents are aioice's, which share no code with the relay. In each call a party is told the
relay's candidates only, so that no packet takes another way. Both parties are on this host: what
the internet sees of the advertised address is for `reach` to say.
"""

import asyncio
import contextlib
import secrets
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import aioice

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.commands.advertised import advertised, free_port
from jingle_hnt.commands.asking import exchange
from jingle_hnt.commands.reach import hairpins
from jingle_hnt.settings.model import InterfaceOptions, RelayOptions

CONNECT_S = 10.0
PACKETS, INTERVAL_S, LAST_S = 100, 0.02, 1.0
"""What each party sends, how often, and how long the last one may take."""

HELLO, VOICE = b"\xd5" * 160, b"\x55" * 160
"""Payloads: of packets that only open the way, and of those that count."""

Kind = Literal["append", "terminate", "raw-udp"]
KINDS: tuple[Kind, ...] = ("append", "terminate", "raw-udp")
Place = tuple[str, int]


class MediaFailed(Exception):
    """No call could be made; the text says how far it came."""


async def media(relay: RelayOptions, path: Path) -> list[CheckFinding]:
    """Make a call of each kind and IP version through the process behind the socket `path`."""
    found = []
    for version in sorted({interface.address.version for interface in relay.interfaces}):
        interfaces = [i for i in relay.interfaces if i.address.version == version]
        ways = await _ways(relay, interfaces)
        for kind in KINDS:
            found.append(await _tried(kind, interfaces[0], ways, path))
    return found


async def _ways(
    relay: RelayOptions, interfaces: Sequence[InterfaceOptions]
) -> dict[str, tuple[str, int]]:
    """Return for each advertised address the one that reaches it from here, and the port offset."""
    ways = {}
    for interface in interfaces:
        port = free_port(relay, interface)
        if port is not None and await hairpins(interface, port):
            ways[str(advertised(interface))] = (str(advertised(interface)), 0)
        else:
            ways[str(advertised(interface))] = (str(interface.address), -interface.port_offset)
    return ways


async def _tried(
    kind: Kind, interface: InterfaceOptions, ways: dict[str, tuple[str, int]], path: Path
) -> CheckFinding:
    name = kind if kind == "raw-udp" else f"ICE, {kind}"
    subject = f"media over IPv{interface.address.version}, {name}"
    try:
        call = _Call(kind, str(interface.address), ways, path)
        seconds, heard = await call.made()
    except (MediaFailed, OSError, ValueError) as error:
        return CheckFinding(verdict="FAIL", subject=subject, text=str(error))
    lost = sum(PACKETS - count for count in heard) / (2 * PACKETS)
    text = (
        f"set up in {seconds:.2f} s; {heard[0]} and {heard[1]} of {PACKETS} packets arrived"
        f" ({lost:.1%} lost)"
    )
    if not all(heard):
        text += ": the relay forwards one way only, or nothing; its log says why"
    verdict = "ok" if not lost else "warn" if all(heard) and lost < 0.5 else "FAIL"
    return CheckFinding(verdict=verdict, subject=subject, text=text)


@dataclass
class _Call:
    """One call, from its offer to its end."""

    kind: Kind
    address: str
    ways: dict[str, tuple[str, int]]
    path: Path
    name: str = field(default_factory=lambda: secrets.token_hex(16))

    async def made(self) -> tuple[float, tuple[int, int]]:
        """Return the set-up time, and the packets that each party heard. Raises MediaFailed."""
        parties = (_new(self.kind, self.address, True), _new(self.kind, self.address, False))
        try:
            for party in parties:
                await party.open()
            return await self._between(*parties)
        finally:
            with contextlib.suppress(MediaFailed, OSError, ValueError):
                await self._say("initiator", "session-terminate")
            for party in parties:
                await party.close()

    async def _between(self, caller: "_Party", callee: "_Party") -> tuple[float, tuple[int, int]]:
        began = time.monotonic()
        for sender, reader, role, action in (
            (caller, callee, "initiator", "session-initiate"),
            (callee, caller, "responder", "session-accept"),
        ):
            answer = await self._say(role, action, **sender.says())
            if answer["verdict"] == "bounce":
                why = answer["text"]
                raise MediaFailed(f"{action} was refused ({why}): `jingle-hnt status` says why")
            places = [(c, *self._reached(ip, port)) for c, ip, port in answer["candidates"]]
            if not places:
                raise MediaFailed(f"{action} passed the relay by: `jingle-hnt status` says why")
            ours = answer["ufrag"], answer["pwd"]
            await reader.learn(places, ours if all(ours) else sender.credentials)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.gather(caller.connect(), callee.connect())
        except (TimeoutError, ConnectionError):
            text = (
                f"no packet came through the relay in {CONNECT_S:g} s: a firewall of this host"
                " takes UDP to relay.ports (`nft list ruleset`), or the log says why"
            )
            raise MediaFailed(text) from None
        took = time.monotonic() - began
        return took, await _talked(caller, callee)

    def _reached(self, ip: str, port: int) -> Place:
        by, offset = self.ways.get(ip, (ip, 0))
        return by, port + offset

    async def _say(self, party: str, action: str, **more: object) -> dict[str, Any]:
        said = {"command": "rehearse", "call": self.name, "kind": self.kind, "party": party}
        request = {**said, "action": action, **more}
        answer = await asyncio.to_thread(exchange, self.path, request)
        if "error" in answer:
            raise MediaFailed(str(answer["error"]))
        return answer


class _Party(ABC):
    """One party of a call, with one stream of RTP (RFC 3550 section 5.1)."""

    credentials = ("", "")

    def __init__(self) -> None:
        self._stream, self._number = secrets.randbits(32), 0

    def packet(self, payload: bytes) -> bytes:
        """The next one of its stream."""
        number, self._number = self._number, self._number + 1
        return struct.pack(">BBHII", 0x80, 0, number, number * 160, self._stream) + payload

    @abstractmethod
    async def open(self) -> None:
        """Make the socket or the agent that it speaks by."""

    @abstractmethod
    def says(self) -> dict[str, object]:
        """Return its offer or answer."""

    @abstractmethod
    async def learn(self, places: Sequence[tuple[int, str, int]], of: tuple[str, str]) -> None:
        """These are the relay's addresses by component, and the credentials of who is there."""

    async def connect(self) -> None:  # noqa: B027 - without ICE it may be sent at once
        """Returns when media may be sent."""

    @abstractmethod
    async def send(self, packet: bytes) -> None:
        """Send a packet of media."""

    @abstractmethod
    async def hear(self) -> bytes:
        """The next packet of media that has come."""

    @abstractmethod
    async def close(self) -> None:
        """Close what `open` has made."""


class _Agent(_Party):
    """A full ICE agent."""

    def __init__(self, version: int, controlling: bool) -> None:
        super().__init__()
        self._agent = aioice.Connection(
            controlling, components=1, use_ipv4=version == 4, use_ipv6=version == 6
        )
        self.credentials = (self._agent.local_username, self._agent.local_password)

    async def open(self) -> None:
        await self._agent.gather_candidates()
        if not self._agent.local_candidates:
            raise MediaFailed("this host has no address of that version but its loopback one")

    def says(self) -> dict[str, object]:
        offered = [_offered(1, c.host, c.port, c.priority) for c in self._agent.local_candidates]
        ufrag, pwd = self.credentials
        return {"ufrag": ufrag, "pwd": pwd, "candidates": offered}

    async def learn(self, places: Sequence[tuple[int, str, int]], of: tuple[str, str]) -> None:
        self._agent.remote_username, self._agent.remote_password = of
        for component, ip, port in places:
            if component == 1:
                remote = aioice.Candidate("1", 1, "udp", 1 << 24, ip, port, "host")
                await self._agent.add_remote_candidate(remote)
        await self._agent.add_remote_candidate(cast(aioice.Candidate, None))

    async def connect(self) -> None:
        await self._agent.connect()

    async def send(self, packet: bytes) -> None:
        await self._agent.send(packet)

    async def hear(self) -> bytes:
        return await self._agent.recv()

    async def close(self) -> None:
        await self._agent.close()


class _Sockets(_Party):
    """Two sockets, for RTP and RTCP."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self._sockets: list[socket.socket] = []
        self._remote: dict[int, Place] = {}

    async def open(self) -> None:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        for _ in range(2):
            opened = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets.append(opened)
            opened.setblocking(False)
            opened.bind((self._address, 0))

    def says(self) -> dict[str, object]:
        ports = (int(each.getsockname()[1]) for each in self._sockets)
        offered = [_offered(n, self._address, port, 0) for n, port in enumerate(ports, start=1)]
        return {"candidates": offered}

    async def learn(self, places: Sequence[tuple[int, str, int]], of: tuple[str, str]) -> None:
        self._remote = {component: (ip, port) for component, ip, port in places}

    async def connect(self) -> None:
        """Speak until the other party is heard, as a caller says hello."""
        while True:
            await self.send(self.packet(HELLO))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self.hear()
                    break
        await self.send(self.packet(HELLO))  # the other may have been too late for the others

    async def send(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sockets[0].sendto(packet, self._remote[1])

    async def hear(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sockets[0], 2048)

    async def close(self) -> None:
        for each in self._sockets:
            each.close()


def _new(kind: Kind, address: str, controlling: bool) -> _Party:
    if kind == "raw-udp":
        return _Sockets(address)
    return _Agent(6 if ":" in address else 4, controlling)


def _offered(component: int, ip: str, port: int, priority: int) -> dict[str, object]:
    return {"component": component, "ip": ip, "port": port, "priority": priority}


async def _talked(caller: _Party, callee: _Party) -> tuple[int, int]:
    """Both send RTP at the same time; how many of the other's packets each has heard."""
    heard: tuple[set[bytes], set[bytes]] = (set(), set())
    hearing = [
        asyncio.create_task(_hear(party, into))
        for party, into in zip((caller, callee), heard, strict=True)
    ]
    for _ in range(PACKETS):
        for party in (caller, callee):
            await party.send(party.packet(VOICE))
        await asyncio.sleep(INTERVAL_S)
    await asyncio.wait(hearing, timeout=LAST_S)
    for task in hearing:
        task.cancel()
    await asyncio.gather(*hearing, return_exceptions=True)
    return len(heard[0]), len(heard[1])


async def _hear(party: _Party, into: set[bytes]) -> None:
    while len(into) < PACKETS:
        if (packet := await party.hear()).endswith(VOICE):
            into.add(packet)
