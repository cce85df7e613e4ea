"""The calls of a day in figures: how many, how set up, why ended, how they sounded, which were bad.

Pure: reports of the history go in, a `Digest` comes out. Times are UTC, durations seconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median, quantiles

from jingle_hnt.admin.causes import CALL_CAUSES, LEG_CAUSES
from jingle_hnt.admin.diagnosis import OTHER_DROPS, streams
from jingle_hnt.admin.refusals import RefusedCall
from jingle_hnt.admin.reports import CallReport, is_one_way
from jingle_hnt.admin.snapshots import ContentSnapshot

MOST_STEPS = 48
"""Parts that the time is cut into at most."""

WORST = 10
POOR = 3.0
"""A score below this is bad."""

HARMLESS = frozenset({"unused-relay", "never-accepted", "refused-by-party", "too-short"})
"""Causes that say what came of a call; that is no fault."""

RANKS = {
    code: number
    for number, code in enumerate([*(c.code for c in (*CALL_CAUSES, *LEG_CAUSES)), OTHER_DROPS])
}


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the time: calls that ended in it, those in trouble, and how they sounded.

    `score` is the median of the calls' worst directions, `poor` that of the worst tenth; None where
    no call was heard for long enough. `loss` is the part of all RTP that did not arrive.
    """

    start: datetime
    calls: int
    bad: int
    refused: int
    score: float | None
    poor: float | None
    loss: float
    jitter_ms: float


@dataclass(frozen=True, slots=True)
class Count:
    """The number of calls of a kind; `score` is the median of theirs, None if there is none."""

    name: str
    count: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """See the module's text. `worst` are calls in trouble, the worst first."""

    since: datetime
    until: datetime
    calls: int
    accepted: int
    bad: int
    one_way: int
    refused: int
    talked_s: float
    duration_s: float | None
    setup_s: tuple[float, float] | None
    score: float | None
    steps: tuple[Step, ...]
    step_s: float
    ends: tuple[Count, ...]
    paths: tuple[Count, ...]
    source_auths: tuple[Count, ...]
    causes: tuple[Count, ...]
    obstacles: tuple[Count, ...]
    worst: tuple[CallReport, ...]
    refusals: tuple[RefusedCall, ...]


def digest(
    calls: Sequence[CallReport],
    refused: Sequence[RefusedCall],
    since: datetime,
    until: datetime,
) -> Digest:
    """The figures of the calls that ended, and of those that were refused, in this time."""
    accepted = [report for report in calls if report.call.setup_s is not None]
    bad = [report for report in calls if is_bad(report)]
    scores = [found for report in accepted if (found := score(report)) is not None]
    setups = [report.call.setup_s or 0.0 for report in accepted]
    step_s = _step_s(until - since)
    return Digest(
        since=since,
        until=until,
        calls=len(calls),
        accepted=len(accepted),
        bad=len(bad),
        one_way=sum(is_one_way(report.call) for report in calls),
        refused=sum(call.count for call in refused),
        talked_s=sum(_talked_s(report) for report in accepted),
        duration_s=median(map(_talked_s, accepted)) if accepted else None,
        setup_s=_middle_and_slow(setups),
        score=median(scores) if scores else None,
        steps=tuple(_steps(calls, refused, since, until, step_s)),
        step_s=step_s,
        ends=_counts(_end(report) for report in calls),
        paths=_scored(found for report in accepted for found in _paths(report)),
        source_auths=_scored(found for report in accepted for found in _source_auths(report)),
        causes=_counts(c for r in calls for c in {f.cause for f in r.diagnosis} - HARMLESS),
        obstacles=_counted(refused),
        worst=tuple(sorted(bad, key=_badness)[:WORST]),
        refusals=tuple(sorted(refused, key=lambda call: -call.count)[:WORST]),
    )


def is_bad(report: CallReport) -> bool:
    """Return whether something was wrong with a call, or it sounded bad."""
    found = score(report)
    poor = found is not None and found < POOR
    return poor or any(finding.cause not in HARMLESS for finding in report.diagnosis)


def score(report: CallReport) -> float | None:
    """The estimated score of the direction that was heard worst; None where none was."""
    found = [stream.leg.mos for stream in streams(report.call) if stream.leg.mos is not None]
    return min(found, default=None)


def _badness(report: CallReport) -> tuple[int, float, float]:
    causes = [f.cause for f in report.diagnosis if f.cause not in HARMLESS]
    rank = min((RANKS.get(cause, len(RANKS)) for cause in causes), default=len(RANKS))
    return rank, score(report) or 5.0, -report.duration_s


def _talked_s(report: CallReport) -> float:
    return max(0.0, report.duration_s - (report.call.setup_s or 0.0))


def _end(report: CallReport) -> str:
    if report.call.setup_s is None:
        return f"unanswered: {report.reason or report.why}"
    return report.why if report.reason is None else f"{report.why} ({report.reason})"


def _paths(report: CallReport) -> Iterator[tuple[str, float | None]]:
    """The path of each content, and how it sounded in the worse direction."""
    scores: dict[str, float] = {}
    for stream in streams(report.call):
        if stream.leg.mos is not None:
            name = stream.content.name
            scores[name] = min(stream.leg.mos, scores.get(name, stream.leg.mos))
    for content in report.call.all_contents:
        if content.agreed:
            yield _path(content), scores.get(content.name)


def _path(content: ContentSnapshot) -> str:
    if content.ice is not None:
        return f"ICE ({content.ice}): {content.path or 'not known'}"
    return f"{content.transport}: {'relayed' if content.relayed else 'not relayed'}"


def _source_auths(report: CallReport) -> Iterator[tuple[str, float | None]]:
    for stream in streams(report.call):
        if stream.leg.learned is not None and stream.leg.source_auth is not None:
            yield stream.leg.source_auth, stream.leg.mos


def _counts(names: Iterable[str]) -> tuple[Count, ...]:
    return tuple(Count(name, count) for name, count in Counter(names).most_common())


def _scored(found: Iterable[tuple[str, float | None]]) -> tuple[Count, ...]:
    kinds: dict[str, list[float | None]] = {}
    for name, each in found:
        kinds.setdefault(name, []).append(each)
    made = []
    for name, all_of in kinds.items():
        scores = [each for each in all_of if each is not None]
        made.append(Count(name, len(all_of), median(scores) if scores else None))
    return tuple(sorted(made, key=lambda each: (-each.count, each.name)))


def _counted(refused: Iterable[RefusedCall]) -> tuple[Count, ...]:
    total: Counter[str] = Counter()
    for call in refused:
        total[" ".join(filter(None, (call.kind, call.which)))] += call.count
    return tuple(Count(name, count) for name, count in total.most_common())


def _middle_and_slow(values: Sequence[float]) -> tuple[float, float] | None:
    """The median and the slowest twentieth's best."""
    if not values:
        return None
    if len(values) == 1:
        return values[0], values[0]
    return median(values), quantiles(values, n=20, method="inclusive")[-1]


def _step_s(length: timedelta) -> float:
    hours = max(1.0, length.total_seconds() / 3600 / MOST_STEPS)
    return 3600.0 * (-(-hours // 1))


def _steps(
    calls: Sequence[CallReport],
    refused: Sequence[RefusedCall],
    since: datetime,
    until: datetime,
    step_s: float,
) -> Iterator[Step]:
    count = max(1, int(-(-(until - since).total_seconds() // step_s)))
    parts: list[list[CallReport]] = [[] for _ in range(count)]
    turned = [0] * count
    for report in calls:
        parts[_place(report.ended, since, step_s, count)].append(report)
    for call in refused:
        turned[_place(call.last, since, step_s, count)] += call.count
    for number, part in enumerate(parts):
        start = since + timedelta(seconds=step_s * number)
        scores = sorted(found for report in part if (found := score(report)) is not None)
        lost, heard, jitter = _quality(part)
        yield Step(
            start=start,
            calls=len(part),
            bad=sum(map(is_bad, part)),
            refused=turned[number],
            score=median(scores) if scores else None,
            poor=scores[len(scores) // 10] if scores else None,
            loss=lost / (lost + heard) if lost else 0.0,
            jitter_ms=jitter,
        )


def _quality(part: Iterable[CallReport]) -> tuple[int, int, float]:
    legs = [s.leg for r in part for s in streams(r.call) if s.leg.rtp_packets]
    jitters = [leg.jitter_ms for leg in legs]
    lost, heard = sum(leg.lost_packets for leg in legs), sum(leg.rtp_packets for leg in legs)
    return lost, heard, median(jitters) if jitters else 0.0


def _place(at: str, since: datetime, step_s: float, count: int) -> int:
    passed = (datetime.fromisoformat(at) - since).total_seconds()
    return max(0, min(count - 1, int(passed // step_s)))
