"""Calls as lines of a terminal: one line each, trouble first, in the columns that there are.

Pure: the answer to `calls` goes in, lines come out. What a terminal cannot show in bars it gets in
characters of ASCII.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RTP = 1
QUIET_S = 5.0
"""A leg that was not heard for this long is told of."""

MINUTE_S, BUCKETS = 60.0, 10
"""What a sparkline shows, and its characters."""

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"

BAD_LOSS, BAD_JITTER_MS, LEAST_SCORE, BEST_SCORE = 0.1, 60.0, 1.0, 4.5
"""What fills a bar."""

POOR = 3.0
"""A score below this is trouble."""

NO_TROUBLE = {"unused-relay", "unknown-transport"}
"""Causes that say where media goes; that is no fault."""

NARROW, ROOMY = 80, 110
AGE = 5
NAME = 7
"""Characters of a call's name: enough to tell it by, and `call` and `explain` take them."""

LegKey = tuple[str, str, str]
"""Call, content, leg."""


@dataclass(frozen=True, slots=True)
class Direction:
    """The media of one party: of the content that is heard worst.

    `loss` is 0 to 1, `score` 1 to 4.5 or None, `trail` packets a second over the last minute, the
    newest last, None where nothing is known of a moment.
    """

    is_heard: bool = False
    loss: float = 0.0
    jitter_ms: float = 0.0
    score: float | None = None
    trail: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One call. `note` says in a word what is to be noticed, `is_bad` whether it is trouble."""

    name: str
    caller: str
    callee: str
    age_s: float
    directions: tuple[Direction, Direction]
    note: str = ""
    is_bad: bool = False


@dataclass(slots=True)
class Trails:
    """Counts of RTP by leg over the last minute."""

    _seen: dict[LegKey, deque[tuple[float, int]]] = field(default_factory=dict)

    def look(self, answer: Mapping[str, Any], now: float) -> None:
        """Remember what the calls have counted by now (seconds of any clock that goes on)."""
        alive: set[LegKey] = set()
        for key, leg in _rtp_legs(answer):
            alive.add(key)
            counts = self._seen.setdefault(key, deque())
            counts.append((now, leg["rtp_packets"]))
            while counts and counts[0][0] < now - MINUTE_S - 2 * MINUTE_S / BUCKETS:
                counts.popleft()
        for key in self._seen.keys() - alive:
            del self._seen[key]

    def of(self, key: LegKey, now: float) -> tuple[float | None, ...]:
        """Packets a second in each tenth of the last minute."""
        counts = self._seen.get(key, ())
        step = MINUTE_S / BUCKETS
        edges = [now - MINUTE_S + step * number for number in range(BUCKETS + 1)]
        return tuple(_rate(counts, start, end) for start, end in itertools.pairwise(edges))


def _rate(counts: Iterable[tuple[float, int]], start: float, end: float) -> float | None:
    """Packets a second in a time, as far as it was looked at; None where it was not."""
    before: tuple[float, int] | None = None
    packets, seconds = 0.0, 0.0
    for at, count in counts:
        if before is not None and at > before[0]:
            shared = min(at, end) - max(before[0], start)
            if shared > 0:
                packets += (count - before[1]) * shared / (at - before[0])
                seconds += shared
        before = at, count
    return max(0.0, packets / seconds) if seconds > 0 else None


def _rtp_legs(answer: Mapping[str, Any]) -> Iterable[tuple[LegKey, Mapping[str, Any]]]:
    for call in answer["calls"]:
        for content in call["contents"]:
            for component in content["components"]:
                if component["component"] == RTP:
                    for leg in component["legs"]:
                        yield (call["call"], content["name"], leg["leg"]), leg


def lines(
    answer: Mapping[str, Any],
    causes: Callable[[Mapping[str, Any]], Sequence[str]],
    trails: Trails | None = None,
    now: float = 0.0,
) -> list[Line]:
    """The calls of an answer. `causes` names what is wrong with one, the most telling first."""
    return [_line(call, causes(call), trails, now) for call in answer["calls"]]


def _line(
    call: Mapping[str, Any], causes: Sequence[str], trails: Trails | None, now: float
) -> Line:
    first, second = (_direction(call, leg, trails, now) for leg in ("initiator", "responder"))
    bad = [cause for cause in causes if cause not in NO_TROUBLE]
    note, is_bad = (bad[0], True) if bad else _state(call)
    return Line(
        name=call["call"],
        caller=call["initiator"],
        callee=call["responder"],
        age_s=call["age_s"],
        directions=(first, second),
        note=note,
        is_bad=is_bad,
    )


def _state(call: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the notable state of a call without a cause."""
    if call["setup_s"] is None:
        return "rings", False
    if call["held"]:
        return "on hold", False
    for key, leg in _rtp_legs({"calls": [call]}):
        quiet_s = leg["heard_s"]
        if leg["flow"] == "open" and quiet_s is not None and quiet_s >= QUIET_S:
            who = "caller" if key[2] == "initiator" else "callee"
            return f"{who} silent", True
    if _worst_of(call) < POOR:
        return "sounds bad", True
    if any(content["path"] == "direct" for content in call["contents"]):
        return "direct", False
    return ("", False) if any(c["relayed"] for c in call["contents"]) else ("not relayed", False)


def _worst_of(call: Mapping[str, Any]) -> float:
    scores = (leg["mos"] for _, leg in _rtp_legs({"calls": [call]}) if leg["mos"] is not None)
    return min(scores, default=BEST_SCORE)


def _direction(call: Mapping[str, Any], which: str, trails: Trails | None, now: float) -> Direction:
    legs = [(key, leg) for key, leg in _rtp_legs({"calls": [call]}) if key[2] == which]
    heard = [(key, leg) for key, leg in legs if leg["rtp_packets"]]
    if not heard:
        trail = trails.of(legs[0][0], now) if trails is not None and legs else ()
        return Direction(trail=trail)
    key, worst = min(heard, key=lambda found: found[1]["mos"] or BEST_SCORE)
    lost = worst["lost_packets"]
    return Direction(
        is_heard=True,
        loss=lost / (lost + worst["rtp_packets"]),
        jitter_ms=worst["jitter_ms"],
        score=worst["mos"],
        trail=() if trails is None else trails.of(key, now),
    )


# Order and choice

ORDERS: dict[str, Callable[[Line], object]] = {
    "trouble": lambda line: (not line.is_bad, _worst(line), -line.age_s),
    "score": lambda line: (_worst(line), -line.age_s),
    "loss": lambda line: -max(d.loss for d in line.directions),
    "age": lambda line: -line.age_s,
    "caller": lambda line: line.caller,
}
"""What lines may be sorted by; trouble first, then who is heard worst."""


def _worst(line: Line) -> float:
    """The score of the direction that is heard worse; whoever is not heard in trouble is worst."""
    if line.is_bad and not all(direction.is_heard for direction in line.directions):
        return LEAST_SCORE
    return min((d.score for d in line.directions if d.score is not None), default=BEST_SCORE)


def ordered(found: Iterable[Line], by: str = "trouble", text: str = "") -> list[Line]:
    """The lines in this order; those in which this text occurs, where one is given."""
    wanted = text.lower()
    chosen = (
        line
        for line in found
        if any(wanted in each.lower() for each in (line.caller, line.callee, line.name, line.note))
    )
    return sorted(chosen, key=ORDERS[by])  # type: ignore[arg-type]


# Drawing


@dataclass(frozen=True, slots=True)
class Pen:
    """The form of lines: their columns, blocks or ASCII, names cut or whole.

    `trails` draws the last minute of each direction; where there is little room, in place of the
    call's name and of the scores in figures.
    """

    columns: int = NARROW
    blocks: str = BLOCKS
    whole: bool = False
    trails: bool = False

    @property
    def _is_roomy(self) -> bool:
        return not self.trails or self.whole or self.columns >= ROOMY

    def _cell(self) -> int:
        """Columns of one direction."""
        return 3 + (4 if self._is_roomy else 0) + (1 + BUCKETS if self.trails else 0)

    def _widths(self, found: Sequence[Line]) -> tuple[int, int]:
        """Columns of a party, and of the note."""
        if self.whole:
            parties = (_who(p) for line in found for p in (line.caller, line.callee))
            return max(map(len, parties), default=8), 8
        note = 12 if self.trails else 13
        fixed = 2 + (NAME + 1 if self._is_roomy else 0) + 3 + AGE + 4 + 2 * self._cell() + note
        return max(8, (self.columns - fixed) // 2), note

    def draw(self, found: Sequence[Line]) -> list[str]:
        """A line of words above the columns, and a line for each call."""
        party, note = self._widths(found)
        names = max((len(line.name) for line in found), default=NAME) if self.whole else NAME
        head = [" ", *(["call".ljust(names)] if self._is_roomy else [])]
        head += ["caller".ljust(party), " ", "callee".ljust(party), "age".rjust(AGE)]
        head += ["caller".ljust(self._cell()), "callee".ljust(self._cell()), "note"]
        return [" ".join(head), *(self._row(line, party, note, names) for line in found)]

    def _row(self, line: Line, party: int, note: int, names: int) -> str:
        parts = ["!" if line.is_bad else " "]
        if self._is_roomy:
            parts.append((line.name if self.whole else line.name[:NAME]).ljust(names))
        parts += [self.cut(_who(line.caller), party), ">", self.cut(_who(line.callee), party)]
        parts.append(age(line.age_s).rjust(AGE))
        parts += [self._direction(direction) for direction in line.directions]
        parts.append(self.cut(line.note, note))
        return " ".join(parts).rstrip()

    def _direction(self, direction: Direction) -> str:
        parts = [self.bars(direction)]
        if self._is_roomy:
            parts.append("   " if direction.score is None else f"{direction.score:.1f}")
        if self.trails:
            parts.append(self.spark(direction.trail).rjust(BUCKETS))
        return " ".join(parts)

    def bar(self, part: float) -> str:
        """One character for a part from 0 to 1: the lowest for nothing, too."""
        steps = len(self.blocks) - 1
        return self.blocks[min(steps, max(1, math.ceil(part * steps)))]

    def bars(self, direction: Direction) -> str:
        """Loss, jitter and score: two that should be low, and one that should be high."""
        if not direction.is_heard:
            return " - "
        score = direction.score
        return (
            self.bar(direction.loss / BAD_LOSS)
            + self.bar(direction.jitter_ms / BAD_JITTER_MS)
            + (" " if score is None else self.bar((score - 1) / (BEST_SCORE - 1)))
        )

    def spark(self, trail: Sequence[float | None]) -> str:
        """Packets a second over the last minute, measured by the most of it; 0 is a line."""
        most = max((rate for rate in trail if rate is not None), default=0.0)
        return "".join(
            " " if rate is None else self.bar(rate / most) if rate else "_" for rate in trail
        )

    def cut(self, text: str, width: int) -> str:
        """A text in just this width; whole, where names are."""
        if self.whole or len(text) <= width:
            return text.ljust(width)
        return text[: width - 1] + ("…" if self.blocks == BLOCKS else "~")


def pen(columns: int | None, encoding: str | None, trails: bool = False) -> Pen:
    """The pen for an output of so many columns; None for a pipe or a file, which is cut nowhere."""
    blocks = BLOCKS
    try:
        (BLOCKS + "…").encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        blocks = ASCII_BLOCKS
    return Pen(columns or NARROW, blocks, whole=columns is None, trails=trails)


def legend(pen: Pen) -> str:
    """Return the legend of the bars."""
    text = "! trouble; bars: loss, jitter, score (low, low and high are good)"
    return text + ("; last minute" if pen.trails else "")


def age(seconds: float) -> str:
    """Return the age of a call, in few characters."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 100 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d"


def _who(jid: str) -> str:
    """A party as people call it: without its client."""
    return jid.partition("/")[0]
