"""How much a relay carries: packets a second, raised until more than 0.1 % are lost.

The generator runs on the same machine and takes its part of it; "none" is what it can send and hear
when the kernel routes its packets and no relay is there, and so the most that can be measured.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from benchmarks.figures import machine, table
from benchmarks.generator import Load
from benchmarks.network import Network
from benchmarks.rig import Figures, measure_once, measure_wire

CALLS = 500
STEPS = (40, 60, 80, 100, 120, 140, 170, 200, 250, 300, 350, 400)
"""Thousands of packets a second, both ways together."""
TOO_MUCH = 0.001
PLACES = {
    "backlog": "the machine's backlog",
    "relay": "the relay's queues",
    "generators": "the generators' queues",
    "nobody": "not there in time",
}
WAYS = (("none", 1), ("native", 1), ("native", 2), ("rtpengine", 1))


async def climb(
    network: Network, kind: str, workers: int, steps: Sequence[int], seconds: float
) -> Figures:
    """Step after step until one is too much; one that fails is tried twice."""
    best: Figures | None = None
    failed: Figures | None = None
    for step in steps:
        load = Load(pps=1000 * step / 2 / CALLS, seconds=seconds)
        print(f"[bench] {kind}, {workers} workers: {step} kpps", file=sys.stderr)
        for _ in range(2):
            run = await _run(network, kind, workers, load)
            if carried := run["sent_all"] and max(run["loss"]) <= TOO_MUCH:
                best = {"kpps": step, **run}
                break
            failed = {"kpps": step, **run}
        if not carried:
            why = "loss" if run["sent_all"] else "generator"
            line = {"relay": kind, "workers": workers, "best": best, "stopped_by": why}
            return {**line, "failed": failed}
    return {"relay": kind, "workers": workers, "best": best, "stopped_by": "steps"}


async def _run(network: Network, kind: str, workers: int, load: Load) -> Figures:
    if kind == "none":
        return await measure_wire(network, CALLS, load)
    return await measure_once(network, kind, CALLS, load, workers)


async def compare(steps: Sequence[int], seconds: float) -> Figures:
    """Each relay on its own."""
    with Network() as network:
        climbs = [await climb(network, *way, steps, seconds) for way in WAYS]
    return {"machine": machine(), "calls": CALLS, "summary": climbs}


def rows(figures: Figures) -> str:
    """The table of what each carried."""
    return table(
        ("relay", "workers", "carried, kpps", "CPU µs/packet", "p99 ms", "the next step failed by"),
        [_row(line) for line in figures["summary"]],
    )


def _why(line: Figures) -> str:
    """What the step after the best failed by; of losses, where most of the packets are."""
    failed, why = line.get("failed"), str(line["stopped_by"])
    if why != "loss" or failed is None:
        return why
    dropped = failed["dropped_by"]
    most = max(dropped, key=dropped.__getitem__)
    return f"{why} of {max(failed['loss']):.1%}: {PLACES[most]}"


def _row(line: Figures) -> Sequence[object]:
    best = line["best"]
    workers = line["workers"] if line["relay"] == "native" else "-"
    if best is None:
        return line["relay"], workers, "less", "-", "-", _why(line)
    cost = f"{best['cpu_us_per_packet']:.2f}" if line["relay"] != "none" else "-"
    return line["relay"], workers, best["kpps"], cost, f"{best['p99_ms']:.2f}", _why(line)


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench saturation", description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS), help="kpps")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured, of each run")
    options = parser.parse_args(arguments)
    return asyncio.run(compare(options.steps, options.seconds))
