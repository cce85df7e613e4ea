"""top: the calls that go on, live. Two lines per call and medium, one for each party."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import Answer, add, ask, shown

RTP = 1
LEG_COLUMNS = ("party", "rung", "learned", "in", "out", "drops", "in/s", "kbit/s", "loss", "jitter")


@dataclass(frozen=True, slots=True)
class Sample:
    """The answer to `calls`, and when it came (monotonic seconds)."""

    calls: list[Answer]
    at: float


Counts = dict[tuple[str, str, str], tuple[int, int]]


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the command."""
    command = add(commands, add_config, "top", "the calls that go on, live", addresses=True)
    command.add_argument("--once", action="store_true", help="print one table and end")
    command.add_argument(
        "--interval",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="seconds between two looks (default: 2)",
    )
    command.set_defaults(command=top)


def top(options: argparse.Namespace) -> int:
    """Show the table until interrupted; 1 where the process does not answer any more."""
    if options.json:
        answer = ask(options, "calls")
        if answer is not None:
            print(json.dumps(answer))
        return 0 if answer is not None else 1
    samples = _samples(options)
    first = next(samples, None)
    if first is None:
        return 1
    if options.once:
        second = next(samples, None) if first.calls else first
        if second is None:
            return 1
        Console().print(table(first, second, options.addresses))
        return 0
    with Live(table(first, first, options.addresses), screen=sys.stdout.isatty()) as live:
        try:
            for sample in samples:
                live.update(table(first, sample, options.addresses), refresh=True)
                first = sample
        except KeyboardInterrupt:
            return 0
    return 1


def table(before: Sample, now: Sample, whole: bool) -> Table:
    """The calls of a sample, with rates since the one before it."""
    made = Table(title=f"{len(now.calls)} calls")
    for column in ("call", "age", "state", "media", *LEG_COLUMNS, ""):
        made.add_column(column, no_wrap=True)
    known = _counts(before)
    passed_s = now.at - before.at
    for call in now.calls:
        for content in call["contents"]:
            for component in content["components"]:
                if component["component"] == RTP:
                    for row in _rows(call, content, component["legs"], known, passed_s, whole):
                        made.add_row(*row)
    return made


def _rows(
    call: Answer, content: Answer, legs: list[Answer], known: Counts, passed_s: float, whole: bool
) -> Iterator[list[str]]:
    first = [call["call"], f"{call['age_s']:.0f}", call["state"], content["name"]]
    one_way = _is_one_way(call, content, legs)
    for number, leg in enumerate(legs):
        head = first if number == 0 else [""] * len(first)
        packets, octets = leg["received_packets"], leg["received_bytes"]
        was = known.get((call["call"], content["name"], leg["leg"]))
        quality = leg.get("quality") or {}
        yield [
            *head,
            call[leg["leg"]],
            leg["rung"] or "-",
            shown(leg["learned"], whole),
            str(packets),
            str(leg["sent_packets"]),
            str(sum(leg["dropped"].values())),
            _rate(packets, was and was[0], passed_s),
            _rate(octets / 125, was and was[1] / 125, passed_s),
            _figure(quality.get("loss"), 100, "%"),
            _figure(quality.get("jitter_s"), 1000, " ms"),
            "one way" if one_way and not packets else "",
        ]


def _is_one_way(call: Answer, content: Answer, legs: list[Answer]) -> bool:
    heard = sum(leg["received_packets"] > 0 for leg in legs)
    accepted = call["setup_s"] is not None and not call["held"]
    return accepted and content["senders"] == "both" and heard == 1


def _counts(sample: Sample) -> Counts:
    return {
        (call["call"], content["name"], leg["leg"]): (
            leg["received_packets"],
            leg["received_bytes"],
        )
        for call in sample.calls
        for content in call["contents"]
        for component in content["components"]
        if component["component"] == RTP
        for leg in component["legs"]
    }


def _rate(now: float, before: float | None, passed_s: float) -> str:
    return "-" if before is None or passed_s <= 0 else f"{max(0.0, now - before) / passed_s:.0f}"


def _figure(value: float | None, factor: int, unit: str) -> str:
    return "-" if value is None else f"{value * factor:.1f}{unit}"


def _samples(options: argparse.Namespace) -> Iterator[Sample]:
    """Answers, one per interval; ends where none comes."""
    while (answer := ask(options, "calls")) is not None:
        yield Sample(answer["calls"], time.monotonic())
        time.sleep(options.interval)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("write seconds from 0.1 to 3600")
    return value
