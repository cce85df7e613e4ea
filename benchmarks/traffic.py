"""The generator and the lab that all relays are measured in: party A, relay, party B, routed."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.lab.world import RELAY, Lab

SOURCE = Path(__file__).with_name("generator.c")
PARTIES = {"a": "198.51.100.1", "b": "198.51.100.2"}
PACKETS_PER_S = 50
SIZE = 172
HEAD_START_S = 0.5

Ports = tuple[int, int]
"""The relay's ports of one call: the one that faces A and the one that faces B."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one run. Latencies in microseconds, the worse direction's.

    `relayed` counts all packets; `sent`, `heard` and the latencies leave out each flow's first ten,
    which teach the relay where its party is.
    """

    relayed: int
    sent: int
    heard: tuple[int, int]
    silent_flows: int
    reordered: int
    foreign: int
    p50_us: int
    p99_us: int

    @property
    def loss(self) -> float:
        """The part that did not arrive."""
        return 1 - sum(self.heard) / max(1, self.sent)


@cache
def generator() -> Path:
    """The generator, compiled once per run."""
    directory = Path(tempfile.mkdtemp(prefix="hnt-generator-"))
    compiler = shutil.which("gcc") or shutil.which("cc") or "gcc"
    program = directory / "generator"
    flags = ["-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
    subprocess.run([compiler, *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


def lab() -> Lab:
    """A relay and two parties, each a network namespace of its own."""
    made = Lab()
    made.public("relay", RELAY)
    for node, address in PARTIES.items():
        made.public(node, address)
    return made


async def talk(
    where: Lab, calls: Sequence[Ports], seconds: float, packets_per_s: float = PACKETS_PER_S
) -> Heard:
    """Both parties of all calls send at this pace to their ports of the relay."""
    start = time.monotonic() + HEAD_START_S
    ends = await asyncio.gather(
        *(
            _one(where, node, [ports[side] for ports in calls], start, seconds, packets_per_s)
            for side, node in enumerate(PARTIES)
        )
    )
    return Heard(
        relayed=sum(end["all"] for end in ends),
        sent=sum(end["sent"] for end in ends),
        heard=(ends[0]["heard"], ends[1]["heard"]),
        silent_flows=sum(end["silent_flows"] for end in ends),
        reordered=sum(end["reordered"] for end in ends),
        foreign=sum(end["foreign"] for end in ends),
        p50_us=max(end["p50_us"] for end in ends),
        p99_us=max(end["p99_us"] for end in ends),
    )


async def _one(
    where: Lab,
    node: str,
    ports: Sequence[int],
    start: float,
    seconds: float,
    packets_per_s: float,
) -> dict[str, int]:
    interval_us = round(1e6 / packets_per_s)
    arguments = [PARTIES[node], f"{start:.6f}", str(seconds), str(interval_us), str(SIZE)]
    process = await asyncio.create_subprocess_exec(
        *where.command(node, [str(generator()), *arguments]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    flows = "".join(f"{RELAY} {port}\n" for port in ports)
    output, _ = await process.communicate(flows.encode())
    if process.returncode != 0:
        raise RuntimeError(f"the generator at {node} failed with {process.returncode}")
    found: dict[str, int] = json.loads(output)
    return found


def say(text: str) -> None:
    """Progress, for who waits."""
    print(f"[bench] {text}", file=sys.stderr, flush=True)
