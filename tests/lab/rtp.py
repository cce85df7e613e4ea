"""Media for tests: RTP and RTCP that tell exactly which packets of whom arrived."""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

RTP_INTERVAL_S = 0.02
RTCP_INTERVAL_S = 0.25
_MARK = struct.Struct(">16sI")
RTP_SIZE = 172


def rtp(stream: bytes, ssrc: int, number: int) -> bytes:
    """RTP (RFC 3550 section 5.1) of 172 bytes whose payload names its stream and number."""
    header = struct.pack(">BBHII", 0x80, 0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, ssrc)
    return (header + _MARK.pack(stream, number)).ljust(RTP_SIZE, b"\x55")


def rtcp(stream: bytes, ssrc: int, number: int) -> bytes:
    """A sender report with the mark in an SDES item (RFC 3550 sections 6.4.1 and 6.5)."""
    now = time.time() + 2208988800
    report = struct.pack(
        ">BBHIIIIII", 0x80, 200, 6, ssrc, int(now), int(now % 1 * 2**32), number * 160, number, 0
    )
    chunk = struct.pack(">IBB", ssrc, 8, _MARK.size) + _MARK.pack(stream, number)  # PRIV
    chunk += b"\0" * (4 - len(chunk) % 4)
    return report + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk


def mark(datagram: bytes) -> tuple[bytes, int] | None:
    """The stream and number that a packet of ours carries; None for anybody else's."""
    offset = 12 if len(datagram) == RTP_SIZE else 28 + 4 + 4 + 2
    if len(datagram) < offset + _MARK.size:
        return None
    stream, number = _MARK.unpack_from(datagram, offset)
    return stream, number


@dataclass
class Heard:
    """What one component received."""

    expected: bytes = b""
    numbers: Counter[int] = field(default_factory=Counter)
    foreign: int = 0
    sources: Counter[tuple[str, int]] = field(default_factory=Counter)
    first_at: dict[int, float] = field(default_factory=dict)
    """When a number came first, on the clock of `Component.sent_at`."""


class Component(asyncio.DatagramProtocol):
    """One component of a call: a socket that sends a marked stream and counts what it hears."""

    def __init__(self, stream: bytes, ssrc: int, control: bool) -> None:
        self.stream = stream
        self.ssrc = ssrc
        self.heard = Heard()
        self.protect: Callable[[bytes], bytes] = bytes
        self.unprotect: Callable[[bytes], bytes] = bytes
        self.sent_at: list[float] = []
        self.control = control
        self._transport: asyncio.DatagramTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    async def open(self, address: str, port: int) -> None:
        """Bind; `close` must be called in the end."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = mark(self.unprotect(data))
        if found is None or found[0] != self.heard.expected:
            self.heard.foreign += 1
            return
        self.heard.numbers[found[1]] += 1
        self.heard.sources[addr[0], addr[1]] += 1
        self.heard.first_at.setdefault(found[1], time.monotonic())

    def start(self, destination: tuple[str, int]) -> None:
        """Send there from now on, instead of where it went before."""
        self.stop()
        self._sending = asyncio.create_task(self._send(destination))

    def send(self, datagram: bytes, destination: tuple[str, int]) -> None:
        """Send one datagram, if the port is open."""
        if self._transport is not None:
            self._transport.sendto(datagram, destination)

    def stop(self) -> None:
        """Send no more."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    async def close(self) -> None:
        """Send and hear no more; returns when the port is free."""
        self.stop()
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    async def _send(self, destination: tuple[str, int]) -> None:
        interval_s = RTCP_INTERVAL_S if self.control else RTP_INTERVAL_S
        make = rtcp if self.control else rtp
        due = time.monotonic()
        while self._transport is not None:
            number = len(self.sent_at)
            self.sent_at.append(time.monotonic())
            self.send(self.protect(make(self.stream, self.ssrc, number)), destination)
            due += interval_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
