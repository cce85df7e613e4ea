"""Whether the plane really moves packets: one is sent through it, on loopback.

Two pinholes are bound, armed and opened like those of a call, a party on each side speaks, and the
binding is released again. A plane that answers its control socket while its media threads stand
still does not pass.
"""

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

from jingle_hnt.errors import PlaneError
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.plane.protocol import PROBE
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate
from jingle_hnt.relay.evidence import Evidence, SourceAuth

PREFIX = PROBE
"""What the names of such bindings begin with; no call's does."""
PATIENCE_S = 3.0
"""How long a packet may take on loopback before the plane counts as stuck."""

_AGAIN_S = 0.05
_HOST = "127.0.0.1"
_EVIDENCE = Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network(f"{_HOST}/32"),))


async def probe(path: Path) -> None:
    """Send a packet through the plane that listens at `path`.

    Raises OSError or PlaneError where the plane cannot be reached or nothing comes through.
    """
    plane = await PlaneClient.connect(path, lambda _: None, lambda: None)
    try:
        await _through(plane)
    finally:
        await plane.close()


async def _through(plane: PlaneClient) -> None:
    name = PREFIX + secrets.token_hex(8)
    with _party() as one, _party() as other, _party() as free, _party() as too:
        ports = free.getsockname()[1], too.getsockname()[1]
        free.close()
        too.close()
        pinholes = TransportAddress.of(_HOST, ports[0]), TransportAddress.of(_HOST, ports[1])
        await plane.bind([BindingSpec(name, pinholes)])
        try:
            await plane.arm([Arm(name, 0, 1, _EVIDENCE), Arm(name, 1, 1, _EVIDENCE)])
            await plane.gate([Gate(name, (Flow.OPEN, Flow.OPEN))])
            await _passes(one, other, ports)
        finally:
            await plane.release([name], 0.0)


async def _passes(one: socket.socket, other: socket.socket, ports: tuple[int, int]) -> None:
    """Speak on both sides until one's packet is heard at the other."""
    token = secrets.token_bytes(16)
    loop = asyncio.get_running_loop()
    for number in range(int(PATIENCE_S / _AGAIN_S)):
        other.sendto(_rtp(number, b"learn where I am"), (_HOST, ports[1]))
        one.sendto(_rtp(number, token), (_HOST, ports[0]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S):
                while not (await loop.sock_recv(other, 2048)).endswith(token):
                    pass
            return
    raise PlaneError(f"no packet came through the plane within {PATIENCE_S:g} s")


def _rtp(number: int, payload: bytes) -> bytes:
    return struct.pack("!BBHII", 0x80, 0, number, 160 * number, 1) + payload


@contextlib.contextmanager
def _party() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as party:
        party.setblocking(False)
        party.bind((_HOST, 0))
        yield party
