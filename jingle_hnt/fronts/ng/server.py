"""Where proxies reach us: UDP, and unix sockets.

The protocol has no authentication: whoever can send a datagram here can move calls. So it listens
on loopback, on unix sockets, or for networks that the operator lists, and what comes from elsewhere
is dropped before a byte of it is read.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import structlog

from jingle_hnt.fronts.ng.bencode import BadBencode, Framing
from jingle_hnt.fronts.ng.cookies import LONGEST_COOKIE, BadCookie, Cookies, split
from jingle_hnt.fronts.ng.listening import LOOPBACK, Listening, demand_safe
from jingle_hnt.model.address import IPAddress, IPNetwork, literal

log = structlog.get_logger(__name__)

MOST_MESSAGE = 65_536
"""Bytes of one message over a unix socket; a datagram has no more."""

MOST_CONNECTIONS = 64
"""Connections of one unix socket at a time; OpenSIPS makes one for each command."""

IDLE_S = 10.0
"""How long a connection may take for one message."""

TOLD_EVERY_S = 60.0
"""Pause between two lines of the log about datagrams from elsewhere."""

CarryOut = Callable[[bytes], Awaitable[bytes]]


class NgServer:
    """Listens at all places, until it is closed. `carry_out` answers a message; it never raises."""

    def __init__(
        self,
        listening: Sequence[Listening],
        networks: Sequence[IPNetwork],
        carry_out: CarryOut,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        demand_safe(listening, networks)
        self.strangers = 0
        self._listening = tuple(listening)
        self._admitted = (*LOOPBACK, *networks)
        self._carry_out = carry_out
        self._now = now
        self._told_at = float("-inf")
        self._cookies: Cookies[Hashable] = Cookies()
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self) -> None:
        """Bind. Raises OSError where an address or path cannot be used."""
        try:
            for each in self._listening:
                if each.path is not None:
                    await self._listen_unix(each.path)
                else:
                    await self._listen_udp(str(each.host), each.port)
        except OSError:
            await self.close()
            raise

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The UDP addresses that are bound."""
        names = (transport.get_extra_info("sockname") for transport in self._transports)
        return [(name[0], name[1]) for name in names]

    async def close(self) -> None:
        """Stop listening; commands that are being carried out get no answer."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # then the sockets are closed
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink()
        self._transports, self._servers, self._paths = [], [], []

    def admits(self, ip: IPAddress) -> bool:
        """Whether a command from this address is heard."""
        return any(ip.version == network.version and ip in network for network in self._admitted)

    # UDP

    async def _listen_udp(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
        self._transports.append(transport)

    def received(
        self, transport: asyncio.DatagramTransport, data: bytes, address: tuple[Any, ...]
    ) -> None:
        """A datagram: a new command, one that came already, or nothing of ours."""
        try:
            ip = literal(str(address[0]))
        except ValueError:
            return  # a zone: link-local, of which none is listed
        if not self.admits(ip):
            self._tell_of_stranger(ip)
            return
        try:
            cookie, message = split(data)
        except BadCookie:
            return
        peer = (transport, address)
        if not self._cookies.is_new(peer, cookie, self._now()):
            answer = self._cookies.answer(peer, cookie)
            if answer is not None:
                transport.sendto(answer, address)
            return
        self._spawn(self._answer_datagram(transport, address, cookie, message))

    async def _answer_datagram(
        self,
        transport: asyncio.DatagramTransport,
        address: tuple[Any, ...],
        cookie: bytes,
        message: bytes,
    ) -> None:
        answer = cookie + b" " + await self._carry_out(message)
        self._cookies.keep((transport, address), cookie, answer)
        if not transport.is_closing():
            transport.sendto(answer, address)

    def _tell_of_stranger(self, ip: IPAddress) -> None:
        self.strangers += 1
        if self._now() - self._told_at >= TOLD_EVERY_S:
            self._told_at = self._now()
            log.warning(
                "NG commands from an address that is not listed are dropped",
                source=str(ip),
                dropped=self.strangers,
                do="list it in ng.networks if it is a SIP proxy of yours",
            )

    # Unix sockets

    async def _listen_unix(self, path: Path) -> None:
        sock = _unix_socket(path)
        server = await asyncio.start_unix_server(self._serve, sock=sock, limit=MOST_MESSAGE)
        self._servers.append(server)
        self._paths.append(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a message (OpenSIPS writes no cookie here), its answer, and so on."""
        if self._connections >= MOST_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            unread = b""
            while True:
                async with asyncio.timeout(IDLE_S):
                    whole, unread = await _message(reader, unread)
                if not whole:
                    return
                cookie, message = (b"", whole) if whole.startswith(b"d") else split(whole)
                answer = await self._carry_out(message)
                writer.write(cookie + b" " + answer if cookie else answer)
                await writer.drain()
        except (TimeoutError, ConnectionError, BadCookie, BadBencode):
            pass
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unix_socket(path: Path) -> socket.socket:
    """A socket at this path for its owner and group; that of an earlier run makes room."""
    if path.is_socket():
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o117)
    try:
        sock.bind(str(path))
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NgServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        assert self._transport is not None
        self._server.received(self._transport, data, addr)


async def _message(reader: asyncio.StreamReader, unread: bytes) -> tuple[bytes, bytes]:
    """The next whole message of a stream, and what was read of the one behind it; empty at its end.

    A stream has no ends of messages but those of their values. Raises BadBencode, BadCookie.
    """
    data, framing = unread, Framing()
    while True:
        if data:
            begin = 0
            if not data.startswith(b"d"):
                begin = data.find(b" ") + 1
                if begin == 0 and len(data) > LONGEST_COOKIE:
                    raise BadCookie("a message begins with a cookie of 1 to 64 bytes and a space")
            if begin or data.startswith(b"d"):
                end = framing.end(data, begin)
                if end:
                    return data[:end], data[end:]
        if len(data) >= MOST_MESSAGE:
            raise BadBencode(f"a message has at most {MOST_MESSAGE} bytes")
        more = await reader.read(MOST_MESSAGE - len(data))
        if not more:
            return b"", b""
        data += more
