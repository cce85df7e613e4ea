"""The relays that are compared: ours, native or in Python, and rtpengine from the distribution."""

import asyncio
import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from pathlib import Path

from benchmarks.traffic import PARTIES, Ports
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate, Side
from jingle_hnt.relay.evidence import Evidence, Rung
from tests.lab.world import RELAY, Lab

FIRST_PORT = 20000
START_S = 15.0
AT_ONCE = 500


class Running:
    """A relay process with its calls set up: `pid`, and the ports of each call."""

    def __init__(self, pid: int, calls: Sequence[Ports]) -> None:
        self.pid = pid
        self.calls = list(calls)


@contextlib.asynccontextmanager
async def ours(
    where: Lab, calls: int, engine: str = "native", workers: int = 1
) -> AsyncIterator[Running]:
    """Our forwarding plane with latch, gate and counters as in a call that was accepted."""
    _raise_descriptors()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plane.sock"
        command = [sys.executable, "-m", "benchmarks.plane", engine, str(path), str(workers)]
        process = await asyncio.create_subprocess_exec(*where.command("relay", command))
        try:
            client = await connect(path)
            ports = [(FIRST_PORT + 2 * n, FIRST_PORT + 2 * n + 1) for n in range(calls)]
            for first in range(0, calls, AT_ONCE):
                await _bind(client, ports[first : first + AT_ONCE], first)
            yield Running(process.pid, ports)
            await client.close()
        finally:
            process.terminate()
            await process.wait()


async def _bind(client: PlaneClient, ports: Sequence[Ports], first: int) -> None:
    names = [f"b{first + number}" for number in range(len(ports))]
    sides: tuple[Side, Side] = (0, 1)
    networks = [ip_network(address) for address in PARTIES.values()]
    await client.bind(
        [
            BindingSpec(name, (TransportAddress.of(RELAY, a), TransportAddress.of(RELAY, b)))
            for name, (a, b) in zip(names, ports, strict=True)
        ]
    )
    await client.arm(
        [Arm(n, side, 0, Evidence(Rung.R3, (networks[side],))) for n in names for side in sides]
    )
    await client.gate([Gate(name, (Flow.OPEN, Flow.OPEN)) for name in names])


async def connect(path: Path) -> PlaneClient:
    """The control connection to a plane that is being started."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await PlaneClient.connect(path, lambda _: None, lambda: None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def rtpengine(where: Lab, calls: int) -> AsyncIterator[Running]:
    """rtpengine in user space, as many threads as it chooses, strict source as it recommends."""
    _raise_descriptors()
    arguments = ["rtpengine", "--foreground", "--table=-1", f"--interface={RELAY}"]
    arguments += ["--listen-ng=127.0.0.1:22222", "--log-level=3", "--log-stderr"]
    arguments += ["--port-min=20000", "--port-max=60000"]
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *where.command("relay", arguments), stderr=output, stdout=output
        )
        try:
            yield Running(process.pid, await _offer_and_answer(where, calls))
        finally:
            process.terminate()
            await process.wait()


async def _offer_and_answer(where: Lab, calls: int) -> list[Ports]:
    command = [sys.executable, "-m", "benchmarks.rtpengine", str(calls), *PARTIES.values()]
    process = await asyncio.create_subprocess_exec(
        *where.command("relay", command), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("rtpengine did not take the calls")
    return [(a, b) for a, b in json.loads(output)]


def _raise_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
