"""What a relayed packet costs: our native engine against rtpengine, in turns.

Two parties and the relay are network namespaces. Each party of every call sends 50 packets of 172
bytes a second to the relay, which sends them on. The cost is the relay process's user and system
time per relayed packet. Both directions are checked, and loss and latency are stated. `--against
reference` compares with our own engine in pure Python.
"""

import argparse
import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any

from benchmarks.figures import cpu_s, machine, median
from benchmarks.relays import Running, ours, rtpengine
from benchmarks.traffic import lab, say, talk
from tests.lab.world import Lab

Figures = dict[str, Any]
Relay = Callable[[Lab, int], AbstractAsyncContextManager[Running]]


def reference(where: Lab, calls: int) -> AbstractAsyncContextManager[Running]:
    """Our pure Python engine."""
    return ours(where, calls, engine="reference")


AGAINST: dict[str, Relay] = {"rtpengine": rtpengine, "reference": reference}


async def measure(name: str, relay: Relay, calls: int, seconds: float) -> Figures:
    """One run of one relay."""
    with lab() as where:
        async with relay(where, calls) as running:
            before = cpu_s(running.pid)
            heard = await talk(where, running.calls, seconds)
            used = cpu_s(running.pid) - before
    return {
        "relay": name,
        "calls": calls,
        "cpu_us_per_packet": round(1e6 * used / max(1, heard.relayed), 3),
        "loss": round(heard.loss, 6),
        **asdict(heard),
    }


async def compare(against: str, calls: int, seconds: float, rounds: int) -> Figures:
    """Both relays in turns, and the median of the ratios."""
    runs: list[Figures] = []
    for number in range(rounds):
        for name, relay in ((against, AGAINST[against]), ("jingle-hnt", ours)):
            say(f"{calls} calls, round {number + 1} of {rounds}: {name}")
            runs.append(await measure(name, relay, calls, seconds))
    own = [run for run in runs if run["relay"] == "jingle-hnt"]
    other = [run for run in runs if run["relay"] == against]

    def ratio(figure: str) -> float:
        pairs = zip(own, other, strict=True)
        return round(median([a[figure] / max(1e-9, b[figure]) for a, b in pairs]), 3)

    return {
        "calls": calls,
        "ratio": ratio("cpu_us_per_packet"),
        "p99_ratio": ratio("p99_us"),
        "runs": runs,
        **{
            f"{side}_{figure}": median([run[figure] for run in part])
            for side, part in (("own", own), ("other", other))
            for figure in ("cpu_us_per_packet", "p50_us", "p99_us", "loss")
        },
    }


def main(arguments: list[str]) -> Figures:
    """Measure as told and print; returns the figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench relay", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 500, 1000])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", choices=list(AGAINST), default="rtpengine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    compared = [
        asyncio.run(compare(options.against, calls, options.seconds, options.rounds))
        for calls in options.calls
    ]
    figures: Figures = {
        "benchmark": "relay",
        "against": options.against,
        "machine": machine(),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "compared": compared,
    }
    print(json.dumps(figures) if options.json else table(figures))
    return figures


def table(figures: Figures) -> str:
    """The figures in Markdown."""
    other = figures["against"]
    lines = [
        f"| calls | jingle-hnt µs CPU/packet | {other} | ratio | p99 latency | {other} | loss |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['calls']} | {row['own_cpu_us_per_packet']:.1f} |"
        f" {row['other_cpu_us_per_packet']:.1f} | {row['ratio']:.2f} |"
        f" {row['own_p99_us'] / 1000:.2f} ms | {row['other_p99_us'] / 1000:.2f} ms |"
        f" {row['own_loss']:.3%} / {row['other_loss']:.3%} |"
        for row in figures["compared"]
    ]
    return "\n".join(lines)
