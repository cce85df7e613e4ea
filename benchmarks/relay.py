"""Measure what a relayed packet costs: the native engine against other relays, in turns.

Calls of 50 packets of 172 bytes a second each way go through one relay and then through the next,
from the same generator in the same minute. The cost is the relay process's user and system time per
relayed packet; a ratio is the median of the rounds' ratios. Both directions are counted. Our relay
has one worker thread. rtpengine runs with one thread beside it, and once more with as many as it
starts by itself.
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
SAME_THREADS = "rtpengine-1"
"""rtpengine with as many threads as our one worker; see `rig.relay_of`."""

HEADS = ("calls", "relay", "threads", "packets/s", "CPU µs/packet", "loss", "p50 ms", "p99 ms")
RATIO = "ratio"


async def compare(kinds: Sequence[str], calls: Sequence[int], rounds: int, load: Load) -> Figures:
    """Measure the relays in turns at each number of calls; ratios are the first one's."""
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
    """Return the medians of one number of calls, and of the first relay's ratio to each other."""
    here = {kind: [r for r in runs if r["relay"] == kind and r["calls"] == calls] for kind in kinds}
    cost = {kind: [run["cpu_us_per_packet"] for run in here[kind]] for kind in kinds}
    first, *others = kinds
    ratios = {
        kind: [a / b for a, b in zip(cost[first], cost[kind], strict=True)] for kind in others
    }
    return {
        "calls": calls,
        "relays": [{"relay": kind, **_medians(here[kind])} for kind in kinds],
        "ratio": {kind: round(median(found), 3) for kind, found in ratios.items()},
        "ratios": {kind: [round(each, 3) for each in found] for kind, found in ratios.items()},
    }


def _medians(runs: Sequence[Figures]) -> Figures:
    names = ("packets_per_s", "cpu_us_per_packet", "p50_ms", "p99_ms", "rss_mb")
    values: Figures = {name: median([run[name] for run in runs]) for name in names}
    return {**values, "worst_loss": max(max(run["loss"]) for run in runs)}


def rows(figures: Figures) -> str:
    """Return the table of the medians.

    A ratio is our cost divided by that of its row. Records of one other relay have a single one.
    """
    lines = []
    for line in figures["summary"]:
        ratio = line["ratio"]
        if not isinstance(ratio, dict):
            ratio = {line["relays"][1]["relay"]: ratio}
        for relay in line["relays"]:
            of = relay["relay"]
            lines.append((*_row(line["calls"], relay), f"{ratio[of]:.2f}" if of in ratio else ""))
    return table((*HEADS, RATIO), lines)


def _row(calls: int, relay: Figures) -> tuple[object, ...]:
    name, _, threads = relay["relay"].partition("-")
    return (
        calls,
        name,
        threads or ("default" if name == "rtpengine" else 1),
        round(relay["packets_per_s"]),
        f"{relay['cpu_us_per_packet']:.2f}",
        f"{relay['worst_loss']:.3%}",
        f"{relay['p50_ms']:.2f}",
        f"{relay['p99_ms']:.2f}",
    )


def against(
    others: Sequence[str], calls: Sequence[int], arguments: list[str], load: Load = AUDIO
) -> Figures:
    """Measure the native engine and other relays as the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=list(calls))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="measured, of each run")
    parser.add_argument(
        "--against",
        nargs="+",
        choices=[SAME_THREADS, "rtpengine", "reference"],
        default=list(others),
        help=f"relays; {SAME_THREADS} has one thread, rtpengine as many as it starts by itself",
    )
    parser.add_argument("--quick", action="store_true", help="one short round, about 40 s")
    options = parser.parse_args(arguments)
    rounds, load = options.rounds, replace(load, seconds=options.seconds)
    if options.quick:
        rounds, load = 1, replace(load, seconds=min(3.0, options.seconds), warm_s=0.5)
    return asyncio.run(compare(("native", *options.against), options.calls, rounds, load))


def main(arguments: list[str]) -> Figures:
    """Measure the native engine against rtpengine, with one thread and with its default."""
    return against((SAME_THREADS, "rtpengine"), CALLS, arguments)
