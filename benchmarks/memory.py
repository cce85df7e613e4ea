"""What a call takes of memory and of descriptors: resident size before and after.

Ours is measured twice: bound (no packet came yet) and latched (both parties were heard, a second
socket is connected to each). rtpengine's calls have RTP and RTCP ports, which are two bindings of
ours; so a call is two bindings here. The kernel's memory of the sockets is in none of the figures.
"""

import argparse
import asyncio
import resource
import sys
from collections.abc import Sequence

from benchmarks.figures import descriptors, machine, rss_bytes, table
from benchmarks.generator import Load
from benchmarks.network import RELAY, Network
from benchmarks.plane import plane
from benchmarks.rig import Figures, allow_descriptors, drive
from benchmarks.rtpengine import rtpengine

BINDINGS = (1000, 10_000)
SPARE = 200
"""Descriptors that are not the calls'."""
TEACHING = Load(pps=4, warm_s=0.5, seconds=1)


async def compare(bindings: Sequence[int]) -> Figures:
    """Both relays at each number of bindings, as far as descriptors go."""
    allow_descriptors()
    most = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE) // 4
    counts = sorted({min(count, most) for count in bindings})
    if counts != sorted(bindings):
        print(f"[bench] the descriptor limit allows {most} bindings", file=sys.stderr)
    summary: list[Figures] = []
    with Network() as network:
        for count in counts:
            summary += [await ours(network, count), await theirs(network, count // 2)]
    return {"machine": machine(), "most_bindings": most, "summary": summary}


async def ours(network: Network, bindings: int) -> Figures:
    """The native plane with so many bindings."""
    async with plane(network) as relay:
        before = rss_bytes(relay.pid)
        mine, yours = await relay.calls(bindings)
        bound = rss_bytes(relay.pid)
        flows = ([(RELAY, port) for port in mine], [(RELAY, port) for port in yours])
        traffic, _ = await drive(network, flows, TEACHING, relay.pid)
        latched, opened = rss_bytes(relay.pid), descriptors(relay.pid)
    return {
        "relay": "native",
        "bindings": bindings,
        "idle_mb": _mb(before),
        "rss_mb": _mb(latched),
        "bound_kb_per_binding": _kb(bound - before, bindings),
        "kb_per_call": _kb(latched - before, bindings / 2),
        "descriptors_per_call": round(2 * opened / bindings, 1),
        "silent_flows": traffic.silent_flows,
    }


async def theirs(network: Network, calls: int) -> Figures:
    """rtpengine with so many calls."""
    async with rtpengine(network) as relay:
        before = rss_bytes(relay.pid)
        await relay.calls(calls)
        after, opened = rss_bytes(relay.pid), descriptors(relay.pid)
    return {
        "relay": "rtpengine",
        "bindings": 2 * calls,
        "idle_mb": _mb(before),
        "rss_mb": _mb(after),
        "kb_per_call": _kb(after - before, calls),
        "descriptors_per_call": round(opened / calls, 1),
    }


def _mb(size: int) -> float:
    return round(size / 1e6, 1)


def _kb(size: int, count: float) -> float:
    return round(size / count / 1000, 2)


def rows(figures: Figures) -> str:
    """The table of both relays."""
    names = ("relay", "bindings", "idle_mb", "rss_mb", "kb_per_call", "descriptors_per_call")
    heads = ("relay", "bindings", "idle MB", "with calls MB", "kB/call", "descriptors/call")
    return table(heads, [[line[name] for name in names] for line in figures["summary"]])


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=__doc__)
    parser.add_argument("--bindings", type=int, nargs="+", default=list(BINDINGS))
    options = parser.parse_args(arguments)
    return asyncio.run(compare(options.bindings))
