"""The rows that `scripts/threats` measures itself: the attack, what it shows, what is demanded."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.threats import excess, faults, kernel, media, reflection, signalling, signed, soak
from tests.threats.field import Field, Outcome

LIVE = 0.995
BOTH = ("jingle-hnt", "rtpengine")
OURS = ("jingle-hnt",)


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


def _unanswered(outcome: Outcome) -> bool:
    """The same, and at most one answer to a check, no larger than it."""
    most = outcome.notes.get("sent_bytes", 0)
    modest = outcome.answers <= outcome.sent and outcome.answer_bytes <= most
    return _nothing_leaks(outcome) and modest


def _unmoved(outcome: Outcome) -> bool:
    return outcome.bleed == outcome.inject == 0 and outcome.gap_packets <= 1


def _healed(outcome: Outcome) -> bool:
    went_on = outcome.live > 0.5 and 0 < outcome.gap_ms <= 2000
    return outcome.bleed == outcome.inject == 0 and went_on


def _believed(outcome: Outcome) -> bool:
    """Whoever is on probation loses four packets."""
    heard = outcome.live >= 0.95 and outcome.gap_ms <= 2000
    return heard and outcome.bleed == outcome.inject == 0


def _muted_by_nobody(outcome: Outcome) -> bool:
    """A forged datagram may go on where nobody was heard yet, two for each call."""
    heard = outcome.live >= 0.9 and outcome.gap_ms <= 2000
    return heard and outcome.bleed == 0 and outcome.inject <= 4 * media.CALLS


def _resumed(outcome: Outcome) -> bool:
    return outcome.gap_packets <= 25 and outcome.gap_ms <= 500 and outcome.inject == 0


def _flooded(outcome: Outcome) -> bool:
    calm = outcome.notes["cpu_more"] <= 0.10
    return _unseen(outcome) and outcome.neighbours >= 0.999 and calm


def _silent(outcome: Outcome) -> bool:
    return outcome.answers == outcome.answer_bytes == outcome.icmps == 0


LEFT = ("calls", "calls_per_s", "plane_grew", "core_grew", "descriptors", "tasks", "sessions")
EXHAUSTED = ("refused", "answer_ms", "live", "free_s", "left")
FLOOD = ("offers", "refused", "answer_ms", "quiet_ms", "loud_ms", "grew")
SCARCE = ("limit", "calls", "refused", "answer_ms", "live", "free_s", "left", "descriptors_left")
OCCUPIED = ("foreign", "calls", "refused", "on_foreign", "shunned", "live")
ERRORS = ("icmps_per_s", "packets", "dead_lost", "lost", "lines_per_s")
STALLED = ("stalls", "stall_ms", "gc_ms", "packets", "lost", "way_ms", "more_ms")
EXCESS = ("sent_kbps", "passed_kbps", "policed", "others_policed", "back", "neighbours")
LOOPS = ("injected", "forwarded", "injected2", "forwarded2", "going_on")
HIJACK = ("sent", "pps", "bleed", "inject", "live")

MEASURED: dict[str, Row] = {
    "M1": Row(media.m1, HIJACK, _nothing_leaks),
    "M2": Row(media.m2, (*HIJACK, "process"), _unseen),
    "M3": Row(signed.m3, (*HIJACK, "answers"), _unanswered),
    "M4": Row(signed.m4, HIJACK, _nothing_leaks),
    "M6": Row(media.m6, HIJACK, _nothing_leaks),
    "M7": Row(media.m7, HIJACK, _nothing_leaks),
    "M8": Row(media.m8, (*HIJACK, "gap_packets"), _unmoved),
    "M9": Row(media.m9, HIJACK, _nothing_leaks),
    "M10": Row(media.m10, HIJACK, _nothing_leaks),
    "M11": Row(signed.m11, HIJACK, _nothing_leaks),
    "M12": Row(media.m12, ("gap_ms", "bleed", "inject", "live"), _healed),
    "M13": Row(media.m13, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _healed),
    "M14": Row(media.m14, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _healed),
    "M15": Row(media.m15, ("calls", "inject", "bleed", "live"), _nothing_leaks),
    "M16": Row(media.m16, ("pps", "live", "neighbours", "cpu_more"), _flooded),
    "M17": Row(media.m17, ("sent", "answers", "icmps"), _silent),
    "M18": Row(excess.m18, EXCESS, excess.bounded, OURS),
    "M19": Row(signed.m19, HIJACK, _nothing_leaks),
    "M20": Row(media.m20, HIJACK, _nothing_leaks),
    "M21": Row(media.m21, ("sent", "gap_ms", "bleed", "inject", "live"), _muted_by_nobody),
    "M22": Row(media.m22, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _healed),
    "S1": Row(reflection.s1, ("offers", "refused", "strayed"), reflection.kept_in, linger_s=0.0),
    "S2": Row(reflection.s2, ("offers", "refused", "strayed"), reflection.kept_in, linger_s=0.0),
    "S3": Row(reflection.s3, ("strayed", "unknown", "unknown_s"), reflection.hardly_reflected),
    "S4": Row(reflection.s4, ("allowed_s", "sent_on_s", "resumed"), reflection.stopped),
    "S5": Row(reflection.s5, LOOPS, reflection.cut),
    "S8": Row(excess.s8, EXCESS, excess.bounded, OURS),
    "P5": Row(excess.p5, ("mbps", "cpu", "quiet_ms", "way_ms", "live"), excess.cheap, OURS),
    "P6": Row(reflection.p6, ("sent", "unknown", "unknown_s"), reflection.as_unknown, OURS),
    "X1": Row(signalling.x1, ("tries", "changes", "told_apart"), signalling.no_oracle, OURS),
    "X9": Row(signalling.x9, ("stanzas", "let_in", "longest_ms"), signalling.pruned, OURS),
    "X10": Row(signalling.x10, ("bombs", "let_in", "grew"), signalling.refused, OURS),
    "X11": Row(signalling.x11, ("dripped_ms", "packets_ms"), signalling.cheap, OURS),
    "X8": Row(faults.x8, FLOOD, faults.bearable, OURS, linger_s=0.0),
    "F4": Row(faults.f4, ("calls", "live", "restored_s", "unknown"), faults.unnoticed, OURS),
    "F7": Row(faults.f7, EXHAUSTED, faults.told_at_once, OURS),
    "F8": Row(kernel.f8, SCARCE, kernel.refused_at_once, OURS),
    "F9": Row(kernel.f9, OCCUPIED, kernel.others_taken, OURS, linger_s=0.0),
    "F13": Row(kernel.f13, ERRORS, kernel.harmless, OURS),
    "F18": Row(kernel.f18, STALLED, kernel.unstirred, OURS),
    "F10": Row(faults.f10, ("still_s", "lost_calls", "gap_ms", "inject"), faults.goes_on, OURS),
    "F12": Row(faults.f12, ("allowed_s", "free_s"), faults.freed, OURS),
    "F21": Row(faults.f21, ("came", "went", "unlatched", "added"), faults.adds_nothing, OURS),
    "E1": Row(media.e1, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _believed),
    "F28": Row(media.f28, ("sent", "pps", "gap_ms", "bleed", "inject", "live"), _healed, OURS),
    "F5": Row(media.f5, ("gap_ms", "gap_packets", "inject"), _resumed, OURS),
    "F16": Row(soak.f16, LEFT, soak.flat, OURS, linger_s=0.0),
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
