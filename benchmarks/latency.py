"""What a relay adds to a packet's way: the same packets through each relay and through none.

Without a relay the kernel of the relay's host routes the packets, over the same two wires. Times
are from the sending to the kernel's receive time stamp at the other client.
"""

import argparse
import asyncio
import sys

from benchmarks.figures import machine, median, table
from benchmarks.generator import Load
from benchmarks.network import Network
from benchmarks.rig import Figures, measure, measure_wire

KINDS = ("none", "native", "rtpengine")
PARTS = ("p50_ms", "p99_ms", "p999_ms")


async def compare(calls: list[int], rounds: int, load: Load) -> Figures:
    """Each way in turns at each number of calls."""
    runs: list[Figures] = []
    with Network() as network:
        for count in calls:
            for _ in range(rounds):
                for kind in KINDS:
                    print(f"[bench] {count} calls: {kind}", file=sys.stderr)
                    if kind == "none":
                        runs.append(await measure_wire(network, count, load))
                    else:
                        runs.append(await measure(network, kind, count, load))
    summary = [_medians(kind, count, runs) for count in calls for kind in KINDS]
    return {"machine": machine(), "rounds": rounds, "summary": summary, "runs": runs}


def _medians(kind: str, calls: int, runs: list[Figures]) -> Figures:
    here = [run for run in runs if run["relay"] == kind and run["calls"] == calls]
    values: Figures = {part: round(median([run[part] for run in here]), 3) for part in PARTS}
    return {"calls": calls, "relay": kind, **values}


def rows(figures: Figures) -> str:
    """The table of the medians."""
    return table(
        ("calls", "relay", "p50 ms", "p99 ms", "p99.9 ms"),
        [
            (line["calls"], line["relay"], *(f"{line[part]:.3f}" for part in PARTS))
            for line in figures["summary"]
        ],
    )


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench latency", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured, of each run")
    options = parser.parse_args(arguments)
    return asyncio.run(compare(options.calls, options.rounds, Load(seconds=options.seconds)))
