"""How fast calls are made and ended in the relay: over our control socket, and over rtpengine's.

A call of ours is bound, armed for both parties, opened and released, one order after another as
signalling does it, or hundreds in one order as after a restart. A call of rtpengine's is offered,
answered and deleted.
"""

import argparse
import asyncio
import time

from benchmarks.figures import cpu_s, descriptors, machine, table
from benchmarks.network import Network
from benchmarks.plane import AT_ONCE, Plane, plane
from benchmarks.rig import Figures, allow_descriptors
from benchmarks.rtpengine import rtpengine


async def compare(calls: int) -> Figures:
    """Both relays."""
    allow_descriptors()
    with Network() as network:
        async with plane(network) as ours:
            idle = descriptors(ours.pid)
            summary = [await _rate(ours, calls, 1), await _rate(ours, calls, AT_ONCE)]
            left = descriptors(ours.pid) - idle
        async with rtpengine(network) as theirs:
            before, started = cpu_s(theirs.pid), time.monotonic()
            await theirs.calls(calls)
            await asyncio.to_thread(theirs.delete, calls)
            lasted, used = time.monotonic() - started, cpu_s(theirs.pid) - before
            summary.append(_line("rtpengine", 1, calls, lasted, used))
    return {"machine": machine(), "calls": calls, "summary": summary, "descriptors_left": left}


async def _rate(relay: Plane, calls: int, at_once: int) -> Figures:
    before, started = cpu_s(relay.pid), time.monotonic()
    for at in range(0, calls, at_once):
        numbers = range(min(at_once, calls - at))
        await relay.make(numbers)
        await relay.release(numbers)
    return _line(relay.name, at_once, calls, time.monotonic() - started, cpu_s(relay.pid) - before)


def _line(name: str, at_once: int, calls: int, lasted: float, used: float) -> Figures:
    return {
        "relay": name,
        "at_once": at_once,
        "calls_per_s": round(calls / lasted),
        "cpu_us_per_call": round(1e6 * used / calls),
    }


def rows(figures: Figures) -> str:
    """The table of the rates."""
    names = ("relay", "at_once", "calls_per_s", "cpu_us_per_call")
    heads = ("relay", "in one order", "made and released/s", "CPU µs each")
    return table(heads, [[line[name] for name in names] for line in figures["summary"]])


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench bindings", description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args(arguments)
    return asyncio.run(compare(options.calls))
