"""The two parties of all calls: `generator.c`, compiled when needed, one process per client."""

import asyncio
import hashlib
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.network import CLIENTS, Network

SOURCE = Path(__file__).with_name("generator.c")
CACHE = SOURCE.parent.parent / "build" / "benchmarks"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE")
SIZE = 172
"""Bytes of a packet: 20 ms of G.711 and its RTP header."""
PORT = 7078
"""Where each client sends from, whatever the call: relays tell calls apart by their own ports."""
LEAD_S = 0.7
"""Time for both processes to start and to read their flows."""
DRAIN_S = 0.3

Destination = tuple[str, int]
Flows = tuple[Sequence[Destination], Sequence[Destination]]
"""For each client, where the packets of each call go."""


@dataclass(frozen=True)
class Load:
    """What is sent: packets a second, flow and direction, and for how long.

    `size` is in bytes, `burst` how many packets of a flow leave together, as a video frame's do.
    """

    pps: float = 50
    warm_s: float = 1.0
    seconds: float = 5.0
    size: int = SIZE
    burst: int = 1


@dataclass(frozen=True)
class Traffic:
    """What came of it. Where there is a pair, its first is of the packets from client 0 to 1."""

    sent: tuple[int, int]
    heard: tuple[int, int]
    duplicates: int
    reordered: int
    foreign: int
    mangled: int
    silent_flows: int
    generator_cpu_s: float
    late_ms: float
    latency_us: list[tuple[int, int]] = field(repr=False)

    @property
    def loss(self) -> tuple[float, float]:
        """The part of the packets sent that never came, each way."""
        pairs = zip(self.heard, self.sent, strict=True)
        first, second = (1 - heard / max(1, sent) for heard, sent in pairs)
        return first, second

    def latency(self, part: float) -> int:
        """Microseconds below which this part (0 to 1) of all packets took; exact to 3 %."""
        left = part * sum(count for _, count in self.latency_us)
        for us, count in self.latency_us:
            left -= count
            if left < 0:
                return us
        return self.latency_us[-1][0] if self.latency_us else 0


def compiled() -> Path:
    """The generator's program; compiled anew when its source has changed."""
    digest = hashlib.sha256(SOURCE.read_bytes() + repr(FLAGS).encode()).hexdigest()[:12]
    program = CACHE / f"generator-{digest}"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", *FLAGS, "-o", str(program), str(SOURCE)], check=True)
    return program


class Generators:
    """Both processes; `start`, wait until `measures_at`, then until `ends_at`, then `outcome`."""

    def __init__(self, processes: list[asyncio.subprocess.Process], at: float, load: Load) -> None:
        self._processes = processes
        self.measures_at = at + load.warm_s
        self.ends_at = self.measures_at + load.seconds

    @classmethod
    async def start(cls, network: Network, flows: Flows, load: Load) -> "Generators":
        """Start both; the first packets leave LEAD_S from now."""
        program, at = str(compiled()), time.time() + LEAD_S
        processes = []
        for way, client in enumerate(network.clients):
            sent = (load.pps, load.size, load.burst)
            times = (at + way * 0.00025, load.warm_s, load.seconds, DRAIN_S)
            words = [str(value) for value in (CLIENTS[way], PORT, way, *sent, *times)]
            process = await asyncio.create_subprocess_exec(
                *network.command(client, [program, *words]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            processes.append(process)
        for process, destinations in zip(processes, flows, strict=True):
            assert process.stdin is not None
            lines = "".join(f"{address} {port}\n" for address, port in destinations)
            process.stdin.write(lines.encode())
            await process.stdin.drain()
            process.stdin.close()
        return cls(processes, at, load)

    @property
    def pids(self) -> list[int]:
        """Of both processes."""
        return [process.pid for process in self._processes]

    async def outcome(self) -> Traffic:
        """Wait for both to end. Raises RuntimeError where one could not do its work."""
        reports = []
        for process in self._processes:
            output, _ = await process.communicate()
            if process.returncode != 0:
                raise RuntimeError(f"the generator ended with {process.returncode}")
            reports.append(json.loads(output))
        return _together(reports)

    async def stop(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _together(reports: list[dict[str, Any]]) -> Traffic:
    first, second = reports
    latency: dict[int, int] = {}
    for report in reports:
        for us, count in report["latency_us"]:
            latency[us] = latency.get(us, 0) + count
    sums = ("duplicates", "reordered", "foreign", "mangled", "silent_flows")
    return Traffic(
        sent=(first["sent"], second["sent"]),
        heard=(second["received"], first["received"]),
        generator_cpu_s=first["cpu_s"] + second["cpu_s"],
        late_ms=max(first["late_ms"], second["late_ms"]),
        latency_us=sorted(latency.items()),
        **{name: first[name] + second[name] for name in sums},
    )
