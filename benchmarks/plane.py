"""Our forwarding plane as a benchmark's relay, in a process of its own as in production.

``python -m benchmarks.plane ENGINE PATH WORKERS`` is that process.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import cast

from benchmarks.network import CLIENTS, RELAY, Network
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.plane.engines import EngineKind, open_engine
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.relay.binding import Arm, BindingSpec, Event, Flow, Gate, Side
from jingle_hnt.relay.evidence import Evidence, SourceAuth

START_S = 10.0
FIRST_PORT = 10000
AT_ONCE = 500
"""Bindings in one order."""
SIDES: tuple[Side, Side] = (0, 1)


class Plane:
    """A running plane. `calls` makes one binding per call between the network's two clients."""

    def __init__(self, name: str, pid: int, client: PlaneClient) -> None:
        self.name = name
        self.pid = pid
        self.client = client

    async def calls(self, count: int, first: int = 0) -> tuple[list[int], list[int]]:
        """Make so many calls; returns the relay's ports that face client 0, and client 1.

        Planes beside each other number their calls from another `first`.
        """
        numbers = range(first, first + count)
        for at in range(0, count, AT_ONCE):
            await self.make(numbers[at : at + AT_ONCE])
        mine, yours = zip(*map(ports, numbers), strict=True)
        return list(mine), list(yours)

    async def make(self, numbers: Sequence[int]) -> None:
        """Bind with the latches armed, as an offer does; open the gates, as an answer does."""
        arms = [arm(number, side) for number in numbers for side in SIDES]
        await self.client.bind([spec(number) for number in numbers], arms)
        await self.client.gate([Gate(f"b{number}", (Flow.OPEN, Flow.OPEN)) for number in numbers])

    async def release(self, numbers: Sequence[int]) -> None:
        """Release these bindings; their ports are free again at once."""
        await self.client.release([f"b{number}" for number in numbers], 0)

    async def end(self, count: int, first: int = 0) -> None:
        """Release what `calls` has made."""
        for at in range(first, first + count, AT_ONCE):
            await self.release(range(at, min(at + AT_ONCE, first + count)))


def ports(number: int) -> tuple[int, int]:
    """The two ports of a binding."""
    return FIRST_PORT + 2 * number, FIRST_PORT + 2 * number + 1


def spec(number: int) -> BindingSpec:
    """Where a binding's pinholes are."""
    mine, yours = (TransportAddress.of(RELAY, port) for port in ports(number))
    return BindingSpec(f"b{number}", (mine, yours))


def arm(number: int, side: Side) -> Arm:
    """The party must send from its client's address, as of an XMPP connection."""
    return Arm(
        f"b{number}", side, 0, Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network(CLIENTS[side]),))
    )


@contextlib.asynccontextmanager
async def plane(network: Network, engine: str = "native", workers: int = 1) -> AsyncIterator[Plane]:
    """A plane of this engine in the relay's namespace."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plane.sock"
        words = [sys.executable, "-m", "benchmarks.plane", engine, str(path), str(workers)]
        process = await asyncio.create_subprocess_exec(*network.command(network.relay, words))
        try:
            client = await _connected(path)
            yield Plane(engine, process.pid, client)
            await client.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _connected(path: Path) -> PlaneClient:
    def unheard(_: Event) -> None:
        """A benchmark has no use for events."""

    deadline = time.monotonic() + START_S
    while True:
        try:
            return await PlaneClient.connect(path, unheard, lambda: None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    opened = open_engine(cast(EngineKind, sys.argv[1]), int(sys.argv[3]))
    asyncio.run(PlaneServer(Path(sys.argv[2]), opened).run())
