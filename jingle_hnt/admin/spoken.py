"""Answers in short lines, for clients whose forms have narrow fields and no tables.

Gajim and Psi give a field of text some 34 characters: what a table has in twenty columns is a line
of who and how here, trouble first. `jingle-hnt` and the tables that follow have the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel

from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import Finding, diagnose
from jingle_hnt.admin.refusals import RefusedCall
from jingle_hnt.admin.reports import CallReport, Explanation, HistorySnapshot
from jingle_hnt.admin.snapshots import (
    BudgetSnapshot,
    CallSnapshot,
    CallsSnapshot,
    CheckFinding,
    CheckSnapshot,
    ContentSnapshot,
    LimitsSnapshot,
    OptionSnapshot,
    PolicySnapshot,
)
from jingle_hnt.model.content import RTP

T = TypeVar("T")

Lines = Mapping[str, Sequence[str]]
"""Of each list of an answer, by its dotted name."""


def spoken(answer: BaseModel) -> Lines:
    """The lists of an answer in lines; those of answers that are not known here have none."""
    match answer:
        case CallsSnapshot(calls=calls):
            return {"calls": _all(_call, sorted(calls, key=_is_well))}
        case CallSnapshot(contents=contents):
            return {"contents": _all(_content, contents), "removed": _all(_content, answer.removed)}
        case HistorySnapshot(calls=calls, refused=refused):
            return {"calls": _all(_report, calls), "refused": _all(_refused, refused)}
        case Explanation(diagnosis=diagnosis):
            contents = () if answer.call is None else answer.call.contents
            told = _all(_finding, diagnosis)
            return {"diagnosis": told, "call.contents": _all(_content, contents)}
        case CheckSnapshot(findings=findings):
            return {"findings": _all(_check, sorted(findings, key=lambda f: f.verdict == "ok"))}
        case PolicySnapshot(options=options):
            return {"options": _all(_option, options)}
        case LimitsSnapshot(budgets=budgets):
            return {"budgets": _all(_budget, budgets)}
    return {}


def _all(lines: Callable[[T], Iterable[str]], members: Iterable[T]) -> tuple[str, ...]:
    return tuple(line for member in members for line in lines(member))


def _is_well(call: CallSnapshot) -> bool:
    return not diagnose(Case(call))


def _call(call: CallSnapshot) -> Iterator[str]:
    wrong = next((finding.cause for finding in diagnose(Case(call))), "")
    state = "rings" if call.setup_s is None else "on hold" if call.held else ""
    said = wrong or state
    yield f"{'! ' if wrong else ''}{_parties(call)} {_age(call.age_s)}{f' {said}' if said else ''}"


def _content(content: ContentSnapshot) -> Iterator[str]:
    if not content.components:
        yield f"{content.name}: {content.path or 'not relayed'}"
    for component in content.components:
        for leg in component.legs if component.component == RTP else ():
            score = "" if leg.mos is None else f", score {leg.mos:.1f}"
            heard = f"{leg.rtp_packets} heard, {leg.lost_packets} lost{score}"
            yield f"{content.name} {leg.leg}: {heard}"


def _report(report: CallReport) -> Iterator[str]:
    wrong = next((finding.cause for finding in report.diagnosis), "")
    said = f"! {wrong}" if wrong else report.why
    when = _clock(report.ended)
    yield f"{when} {_parties(report.call)} {_age(report.duration_s)} {said}"


def _refused(call: RefusedCall) -> Iterator[str]:
    times = "" if call.count == 1 else f" {call.count} times"
    which = call.which or call.kind
    yield f"{_clock(call.last)} {_name(call.caller)} > {_name(call.callee)}{times}: {which}"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"* {finding.text}."
    yield f"{finding.advice}."


def _check(finding: CheckFinding) -> Iterator[str]:
    yield f"{finding.verdict}: {finding.subject}: {finding.text}"


def _option(option: OptionSnapshot) -> Iterator[str]:
    yield f"{option.option} = {option.value}"


def _budget(budget: BudgetSnapshot) -> Iterator[str]:
    yield f"{budget.budget}: {budget.limit or 'off'}"
    for use in budget.uses:
        refused = f", refused {use.exceeded} times" if use.exceeded else ""
        yield f"- {use.who}: {use.used}{refused}"


def _parties(call: CallSnapshot) -> str:
    return f"{_name(call.initiator)} > {_name(call.responder)}"


def _name(jid: str) -> str:
    """A party as short as it can be told."""
    bare = jid.partition("/")[0]
    return bare.partition("@")[0] or bare


def _age(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _clock(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%H:%M}"
