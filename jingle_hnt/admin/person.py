"""Finds the call that a user means who says "I could not call at five past two"."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jingle_hnt.admin.moments import Span
from jingle_hnt.admin.refusals import RefusedCall
from jingle_hnt.admin.reports import CallReport
from jingle_hnt.model.jid import JID

NEAR_S = 120.0
"""A refusal so near to the time is what is meant, whatever other call there was."""

FAR_S = 6 * 3600.0
"""What is farther from the time is not meant."""

OTHERS = 5
"""Other calls of about that time that are named."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """A call of a user: one that goes on (`session` is its name), is over, or was refused."""

    start: datetime
    end: datetime
    line: str
    session: str = ""
    report: CallReport | None = None
    refused: RefusedCall | None = None

    def gap_s(self, when: Span) -> float:
        """Return its distance from a time in seconds; 0 if it was going on then."""
        first, last = when
        return max((self.start - last).total_seconds(), (first - self.end).total_seconds(), 0.0)


def of_user(user: JID, parties: Iterable[str]) -> bool:
    """Return whether a full JID, or any client of a bare one, is among the parties."""
    for party in parties:
        try:
            jid = JID.of(party)
        except ValueError:
            continue
        if user in (jid, jid.bare):
            return True
    return False


def over(user: JID, reports: Iterable[CallReport]) -> Iterator[Occasion]:
    """The user's calls among those that are over."""
    for report in reports:
        call = report.call
        if of_user(user, (call.initiator, call.responder)):
            parties = f"{call.initiator} called {call.responder}"
            start, end = _at(report.started), _at(report.ended)
            line = f"{_clock(start)} {parties} for {report.duration_s:.0f} s ({call.call})"
            yield Occasion(start, end, line, report=report)


def refused(user: JID, calls: Iterable[RefusedCall]) -> Iterator[Occasion]:
    """The user's calls among those that were refused."""
    for call in calls:
        if of_user(user, (call.caller, call.callee)):
            start, end = _at(call.first), _at(call.last)
            times = "" if call.count == 1 else f", {call.count} times"
            line = (
                f"{_clock(end)} {call.caller} to {call.callee} {call.outcome}{times}: {call.text}"
            )
            yield Occasion(start, end, line, refused=call)


def meant(events: Sequence[Occasion], when: Span | None) -> tuple[Occasion | None, tuple[str, ...]]:
    """The call that is meant, the latest where no time is told, and the others of about then."""
    if when is None:
        ordered = sorted(events, key=lambda e: e.end if e.refused else e.start, reverse=True)
    else:
        near = [event for event in events if event.gap_s(when) <= FAR_S]
        ordered = sorted(near, key=lambda e: _order(e, when))
    if not ordered:
        return None, ()
    first, *others = ordered
    around = timedelta(hours=1)
    close = [e for e in others if first.start - around <= e.end and e.start <= first.end + around]
    return first, tuple(event.line for event in close[:OTHERS])


def _order(event: Occasion, when: Span) -> tuple[bool, float]:
    gap_s = event.gap_s(when)
    return not (event.refused is not None and gap_s <= NEAR_S), gap_s


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
