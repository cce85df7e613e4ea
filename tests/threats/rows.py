"""The rows that `scripts/threats` measures itself: the attack, what it shows, what is demanded."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.threats import media, reflection, soak
from tests.threats.field import Field, Outcome

LIVE = 0.995
BOTH = ("jingle-hnt", "rtpengine")


@dataclass(frozen=True, slots=True)
class Row:
    """An attack by its code: `shows` names the figures of the outcome, `met` judges them."""

    run: Callable[[Field], Awaitable[Outcome]]
    shows: tuple[str, ...]
    met: Callable[[Outcome], bool]
    relays: tuple[str, ...] = BOTH
    linger_s: float = 30.0
    """How long a port has to be idle after its call, where the relay knows such a time."""


def _nothing_leaks(outcome: Outcome) -> bool:
    return outcome.bleed == outcome.inject == 0 and outcome.live >= LIVE


def _unseen(outcome: Outcome) -> bool:
    """The same, and no packet of the attacker reached the process."""
    return _nothing_leaks(outcome) and (outcome.seen is None or outcome.seen.process == 0)


def _unmoved(outcome: Outcome) -> bool:
    return outcome.bleed == outcome.inject == 0 and outcome.gap_packets <= 1


def _healed(outcome: Outcome) -> bool:
    went_on = outcome.live > 0.5 and 0 < outcome.gap_ms <= 2000
    return outcome.bleed == outcome.inject == 0 and went_on


def _resumed(outcome: Outcome) -> bool:
    return outcome.gap_packets <= 25 and outcome.gap_ms <= 500 and outcome.inject == 0


def _flooded(outcome: Outcome) -> bool:
    calm = outcome.notes["cpu_more"] <= 0.10
    return _unseen(outcome) and outcome.neighbours >= 0.999 and calm


def _silent(outcome: Outcome) -> bool:
    return outcome.answers == outcome.answer_bytes == outcome.icmps == 0


LEFT = ("calls", "calls_per_s", "plane_grew", "core_grew", "descriptors", "tasks", "sessions")
HIJACK = ("sent", "pps", "bleed", "inject", "live")

MEASURED: dict[str, Row] = {
    "M1": Row(media.m1, HIJACK, _nothing_leaks),
    "M2": Row(media.m2, (*HIJACK, "process"), _unseen),
    "M6": Row(media.m6, HIJACK, _nothing_leaks),
    "M7": Row(media.m7, HIJACK, _nothing_leaks),
    "M8": Row(media.m8, (*HIJACK, "gap_packets"), _unmoved),
    "M9": Row(media.m9, HIJACK, _nothing_leaks),
    "M10": Row(media.m10, HIJACK, _nothing_leaks),
    "M12": Row(media.m12, ("gap_ms", "bleed", "inject", "live"), _healed),
    "M14": Row(media.m14, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _healed),
    "M15": Row(media.m15, ("calls", "inject", "bleed", "live"), _nothing_leaks),
    "M16": Row(media.m16, ("pps", "live", "neighbours", "cpu_more"), _flooded),
    "M17": Row(media.m17, ("sent", "answers", "icmps"), _silent),
    "S1": Row(reflection.s1, ("offers", "refused", "strayed"), reflection.kept_in, linger_s=0.0),
    "S2": Row(reflection.s2, ("offers", "refused", "strayed"), reflection.kept_in, linger_s=0.0),
    "S3": Row(reflection.s3, ("heard_from", "strayed"), reflection.kept_in),
    "S5": Row(reflection.s5, ("injected", "forwarded", "strayed"), reflection.cut),
    "F5": Row(media.f5, ("gap_ms", "gap_packets", "inject"), _resumed, ("jingle-hnt",)),
    "F16": Row(soak.f16, LEFT, soak.flat, ("jingle-hnt",), linger_s=0.0),
    "S6": Row(media.s6, ("sent", "answers", "answer_bytes"), _silent),
}


def figures(row: Row, outcome: Outcome) -> dict[str, float]:
    """What a row shows of an outcome, by name."""
    known: dict[str, Any] = asdict(outcome) | outcome.notes
    if outcome.seen is not None:
        known |= {"process": outcome.seen.process, "kernel": outcome.seen.kernel}
    return {name: _rounded(known[name]) for name in row.shows if name in known}


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 4)
