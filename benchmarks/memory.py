"""What a call takes of memory and of descriptors, and whether both are given back.

Ours is measured twice: bound (no packet came yet) and latched (both parties were heard, a second
socket is connected to each). rtpengine's calls have RTP and RTCP ports, which are two bindings of
ours; so a call is two bindings here. The kernel's memory of the sockets is in none of the figures.
"""

import argparse
import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from benchmarks.figures import descriptors, machine, rss_bytes, table
from benchmarks.generator import Load
from benchmarks.network import RELAY, Network
from benchmarks.plane import SIDES, plane
from benchmarks.rig import Figures, allow_descriptors, drive
from benchmarks.rtpengine import rtpengine

BINDINGS = (1000, 20_000)
"""Those of 500 and of 10,000 calls."""
SPARE = 200
"""Descriptors that are not the calls'."""
TEACHING = Load(pps=2, warm_s=0.5, seconds=4)
LOOK_S, LOOKS = 0.01, 3000


async def compare(bindings: Sequence[int]) -> Figures:
    """Both relays at each number of bindings."""
    most = (allow_descriptors() - SPARE) // 4
    summary: list[Figures] = []
    with Network() as network:
        for count in bindings:
            summary.append(await ours(network, count, most))
            if count // 2 <= most:
                summary.append(await theirs(network, count // 2))
    return {"machine": machine(), "most_bindings": most, "summary": summary}


async def ours(network: Network, bindings: int, most: int) -> Figures:
    """The native plane with so many bindings, and after they are released.

    Where the descriptor limit allows `most` bindings only, several planes share them.
    """
    parts = shares(bindings, most)
    async with contextlib.AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(plane(network)) for _ in parts]
        pids = [relay.pid for relay in relays]
        before, idle, started = _sum(rss_bytes, pids), _sum(descriptors, pids), time.monotonic()
        pairs = zip(relays, parts, strict=True)
        made = [await relay.calls(len(share), share.start) for relay, share in pairs]
        made_s, bound = time.monotonic() - started, _sum(rss_bytes, pids)
        mine, yours = ([(RELAY, port) for some in made for port in some[side]] for side in SIDES)
        traffic, _, _ = await drive(network, (mine, yours), TEACHING, None)
        latched, opened = _sum(rss_bytes, pids), _sum(descriptors, pids)
        started = time.monotonic()
        for relay, share in zip(relays, parts, strict=True):
            await relay.end(len(share), share.start)
        await _until(lambda: _sum(descriptors, pids) <= idle)
        return {
            "relay": "native",
            "processes": len(relays),
            "bindings": bindings,
            "rss_mb": _mb(latched),
            "bound_kb_per_binding": _kb(bound - before, bindings),
            "kb_per_call": _kb(latched - before, bindings / 2),
            "descriptors": opened,
            "descriptors_per_call": round(2 * (opened - idle) / bindings, 1),
            "descriptors_left": _sum(descriptors, pids) - idle,
            "bindings_left": sum([len(await relay.client.snapshot()) for relay in relays]),
            "made_s": round(made_s, 2),
            "closed_s": round(time.monotonic() - started, 2),
            "silent_flows": traffic.silent_flows,
        }


def shares(bindings: int, most: int) -> list[range]:
    """The numbers of the bindings that each plane takes: as few planes as can be, evenly."""
    planes = -(-bindings // most)
    each = -(-bindings // planes)
    return [range(at, min(at + each, bindings)) for at in range(0, bindings, each)]


def _sum(of: Callable[[int], int], pids: Sequence[int]) -> int:
    return sum(map(of, pids))


async def _until(done: Callable[[], bool]) -> None:
    """Wait for this, but not for ever; what is left then is in the figures."""
    for _ in range(LOOKS):
        if done():
            return
        await asyncio.sleep(LOOK_S)


async def theirs(network: Network, calls: int) -> Figures:
    """rtpengine with so many calls, and after they are deleted."""
    async with rtpengine(network) as relay:
        before, idle, started = rss_bytes(relay.pid), descriptors(relay.pid), time.monotonic()
        await relay.calls(calls)
        made_s = time.monotonic() - started
        after, opened = rss_bytes(relay.pid), descriptors(relay.pid)
        started = time.monotonic()
        await asyncio.to_thread(relay.delete, calls)
        await _until(lambda: descriptors(relay.pid) <= idle)
        return {
            "relay": "rtpengine",
            "processes": 1,
            "bindings": 2 * calls,
            "rss_mb": _mb(after),
            "kb_per_call": _kb(after - before, calls),
            "descriptors": opened,
            "descriptors_per_call": round((opened - idle) / calls, 1),
            "descriptors_left": descriptors(relay.pid) - idle,
            "made_s": round(made_s, 2),
            "closed_s": round(time.monotonic() - started, 2),
        }


def _mb(size: int) -> float:
    return round(size / 1e6, 1)


def _kb(size: int, count: float) -> float:
    return round(size / count / 1000, 2)


def rows(figures: Figures) -> str:
    """The table of both relays."""
    heads = {
        "relay": "relay",
        "processes": "processes",
        "bindings": "bindings",
        "rss_mb": "MB with calls",
        "kb_per_call": "kB/call",
        "descriptors_per_call": "descriptors/call",
        "made_s": "made in s",
        "closed_s": "closed in s",
        "descriptors_left": "descriptors left",
    }
    lines = [[line.get(name, "") for name in heads] for line in figures["summary"]]
    return table(list(heads.values()), lines)


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=__doc__)
    parser.add_argument("--bindings", type=int, nargs="+", default=list(BINDINGS))
    options = parser.parse_args(arguments)
    return asyncio.run(compare(options.bindings))
