"""top: the calls that go on, live: who is heard, at what rate, and where somebody is not."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.live import Live
from rich.table import Table

from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import add, as_json, ask, shown
from jingle_hnt.commands.screen import console, printable

RTP = 1
QUIET_S = 5.0
"""A leg that was not heard for this long is marked."""

FIGURES = ("in/s", "out/s", "loss", "jitter")

Answer = Mapping[str, Any]
LegKey = tuple[str, str, int, str]
"""Call, content, component and leg."""


@dataclass(frozen=True, slots=True)
class Row:
    """One leg of one component, as the relay hears it.

    Rates are packets a second, None at the first look; `loss` is the part of the party's RTP that
    did not arrive (0 to 1).
    """

    call: str
    party: str
    media: str
    rung: str
    learned: str
    in_rate: float | None
    out_rate: float | None
    loss: float
    jitter_ms: float
    mark: str


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the command."""
    command = add(commands, add_config, "top", "the calls that go on, live", addresses=True)
    command.add_argument("--once", action="store_true", help="look for one interval and end")
    command.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between two looks"
    )
    command.set_defaults(command=watch)


def watch(options: argparse.Namespace) -> int:
    """Look until interrupted; 1 where nobody answers, 2 for an interval that is none."""
    if not 0.1 <= options.interval <= 60:
        print(f"--interval is {options.interval}: write 0.1 to 60 seconds", file=sys.stderr)
        return 2
    before = ask(options, "calls")
    if before is None:
        return 1
    if options.json:
        print(as_json(before, options))
        return 0
    looks = _looks(options, before)
    if options.once:
        found = next(looks, None)
        if found is None:
            return 1
        console().print(found)
        return 0
    with Live(table([], 0), console=console(), transient=True) as live:
        for found in looks:
            live.update(found, refresh=True)
    return 1


def _looks(options: argparse.Namespace, before: Answer) -> Iterator[Table]:
    """A table after each interval, until nobody answers."""
    while True:
        time.sleep(options.interval)
        now = ask(options, "calls")
        if now is None:
            return
        found = rows(printable(now), printable(before), options.interval, options.addresses)
        yield table(list(found), len(now["calls"]))
        before = now


def rows(now: Answer, before: Answer, seconds: float, whole: bool = False) -> Iterator[Row]:
    """The legs of all calls; rates are what happened since the look before."""
    earlier = dict(_legs(before))
    for key, leg in _legs(now):
        name, media, component, _ = key
        lost = leg["lost_packets"]
        yield Row(
            call=name,
            party=leg["party"],
            media=f"{media}/{component}",
            rung=leg["rung"] or "-",
            learned=shown(leg["learned"], whole),
            in_rate=_rate(leg, earlier.get(key), "received_packets", seconds),
            out_rate=_rate(leg, earlier.get(key), "sent_packets", seconds),
            loss=lost / (lost + leg["rtp_packets"]) if lost else 0.0,
            jitter_ms=leg["jitter_ms"],
            mark=mark(leg, component),
        )


def mark(leg: Mapping[str, Any], component: int = RTP) -> str:
    """What is to be noticed of a leg, in a word or two; empty where all is well."""
    if leg["flow"] not in ("open", "held"):
        return "before accept"
    if not leg["received_packets"]:
        return "never heard"
    if component == RTP and not leg["rtp_packets"]:
        return "no media"
    if leg["dropped"].get("policed"):
        return f"policed {leg['dropped']['policed']}"
    if leg["heard_s"] is not None and leg["heard_s"] >= QUIET_S:
        return f"silent {leg['heard_s']:.0f} s"
    return "held" if leg["flow"] == "held" else ""


def table(found: list[Row], calls: int) -> Table:
    """The rows as a table; what is to be noticed is red."""
    made = Table(title=f"calls: {calls}")
    for column in ("call", "party", "media", "rung", "learned", *FIGURES, ""):
        made.add_column(column, justify="right" if column in FIGURES else "left", overflow="fold")
    for row in found:
        style = "red" if row.mark.startswith(("never", "silent", "no media", "policed")) else None
        rates = ("-" if r is None else f"{r:.0f}" for r in (row.in_rate, row.out_rate))
        quality = (f"{row.loss:.1%}", f"{row.jitter_ms:.1f} ms")
        made.add_row(
            *(row.call, row.party, row.media, row.rung, row.learned),
            *(*rates, *quality, row.mark),
            style=style,
        )
    return made


def _legs(answer: Answer) -> Iterator[tuple[LegKey, dict[str, Any]]]:
    for call in answer["calls"]:
        for content in call["contents"]:
            for component in content["components"]:
                for leg in component["legs"]:
                    key = (call["call"], content["name"], component["component"], leg["leg"])
                    yield key, {**leg, "party": call[leg["leg"]]}


def _rate(
    leg: Mapping[str, Any], earlier: Mapping[str, Any] | None, count: str, seconds: float
) -> float | None:
    if earlier is None:
        return None
    rate: float = (leg[count] - earlier[count]) / seconds
    return rate
