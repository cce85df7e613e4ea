"""What a relayed packet costs: the native engine against another relay, in turns.

Calls of 50 packets of 172 bytes a second each way go through one relay and then through the other,
from the same generator in the same minute. The cost is the relay process's user and system time per
relayed packet; the ratio is the median of the rounds' ratios. Both directions are counted.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.figures import machine, median, table
from benchmarks.generator import Load
from benchmarks.network import Network
from benchmarks.rig import Figures, measure

CALLS = (100, 500, 1000)
AUDIO = Load()
HEADS = ("calls", "relay", "packets/s", "CPU µs/packet", "loss", "p50 ms", "p99 ms", "ratio")


async def compare(kinds: Sequence[str], calls: Sequence[int], rounds: int, load: Load) -> Figures:
    """Both relays in turns at each number of calls."""
    runs: list[Figures] = []
    with Network() as network:
        for count in calls:
            for number in range(rounds):
                for kind in kinds:
                    say = f"{count} calls, round {number + 1} of {rounds}: {kind}"
                    print(f"[bench] {say}", file=sys.stderr)
                    runs.append(await measure(network, kind, count, load))
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": load.seconds,
        "summary": [summary(kinds, count, runs) for count in calls],
        "runs": runs,
    }


def summary(kinds: Sequence[str], calls: int, runs: Sequence[Figures]) -> Figures:
    """The medians of one number of calls, and the median ratio of the first relay to the second."""
    here = {kind: [r for r in runs if r["relay"] == kind and r["calls"] == calls] for kind in kinds}
    cost = {kind: [run["cpu_us_per_packet"] for run in here[kind]] for kind in kinds}
    ratios = [mine / other for mine, other in zip(*cost.values(), strict=True)]
    return {
        "calls": calls,
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "relays": [{"relay": kind, **_medians(here[kind])} for kind in kinds],
    }


def _medians(runs: Sequence[Figures]) -> Figures:
    names = ("packets_per_s", "cpu_us_per_packet", "p50_ms", "p99_ms", "rss_mb")
    values: Figures = {name: median([run[name] for run in runs]) for name in names}
    return {**values, "worst_loss": max(max(run["loss"]) for run in runs)}


def rows(figures: Figures) -> str:
    """The table of the medians."""
    return table(
        HEADS,
        [
            (
                line["calls"],
                relay["relay"],
                round(relay["packets_per_s"]),
                f"{relay['cpu_us_per_packet']:.2f}",
                f"{relay['worst_loss']:.3%}",
                f"{relay['p50_ms']:.2f}",
                f"{relay['p99_ms']:.2f}",
                f"{line['ratio']:.2f}" if at == 0 else "",
            )
            for line in figures["summary"]
            for at, relay in enumerate(line["relays"])
        ],
    )


def against(other: str, calls: Sequence[int], arguments: list[str], load: Load = AUDIO) -> Figures:
    """Measure the native engine and another relay as the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=list(calls))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured, of each run")
    parser.add_argument("--against", choices=["rtpengine", "reference"], default=other)
    parser.add_argument("--quick", action="store_true", help="one short round, about 40 s")
    options = parser.parse_args(arguments)
    rounds, load = options.rounds, replace(load, seconds=options.seconds)
    if options.quick:
        rounds, load = 1, replace(load, seconds=min(3.0, options.seconds), warm_s=0.5)
    return asyncio.run(compare(("native", options.against), options.calls, rounds, load))


def main(arguments: list[str]) -> Figures:
    """The native engine against rtpengine."""
    return against("rtpengine", CALLS, arguments)
