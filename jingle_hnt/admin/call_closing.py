"""The closing of calls that are over: a report of each, in the archive, the log and the counters.

Where the end is ours, both parties are told why, and in the words of the diagnosis what was wrong.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.backend import Archive, Backend
from jingle_hnt.admin.call_counters import CallCounters
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import words
from jingle_hnt.admin.refusals import Refusals
from jingle_hnt.admin.reports import (
    CallReport,
    bounded,
    is_one_way,
    legs,
    log_line,
    redacted,
    report,
)
from jingle_hnt.jingle.effects import CallRefused, Inject
from jingle_hnt.jingle.machine import Ended, Session
from jingle_hnt.jingle.refusals import Obstacle
from jingle_hnt.relay.binding import BindingName, BindingSnapshot, Drained

log = structlog.get_logger(__name__)

CLOSED_AT_ONCE = 100
"""Calls whose reports wait for one answer of the plane."""
DRAINED_KEPT = 1024
"""Last counters that are kept for reports of calls whose bindings go at once."""

LONGEST_TEXT = 500
"""Characters that a party is told. The names of contents, which clients choose, are among them."""


@dataclass(frozen=True, slots=True)
class _Over:
    """A call whose report is not written yet."""

    ended: Ended
    session: Session
    now: float
    at: datetime

    @property
    def names(self) -> list[BindingName]:
        """The bindings that are still to be counted, of removed contents as well."""
        return [
            *self.present,
            *(n for past in self.session.negotiation.past for n in past.uncounted),
        ]

    @property
    def present(self) -> list[BindingName]:
        """Those of the contents that it had at its end."""
        return [n for a in self.session.negotiation.allocations for n in a.bindings]


class CallClosing:
    """Told of the end of each call, and of the last counters of bindings that are gone by then."""

    def __init__(
        self,
        backend: Backend,
        archive: Archive,
        call_counters: CallCounters,
        refusals: Refusals,
        redact: bool,
    ) -> None:
        self._backend = backend
        self._refusals = refusals
        self._redact = redact
        self._archive = archive
        self._call_counters = call_counters
        self._is_closing = False
        self._over: list[_Over] = []
        self._farewells: dict[str, tuple[Inject, ...]] = {}
        self._drained: OrderedDict[BindingName, Drained] = OrderedDict()

    def drained(self, event: Drained) -> None:
        """A binding is gone; what it counted is kept for the report that will ask for it."""
        self._drained[event.name] = event
        if len(self._drained) > DRAINED_KEPT:
            self._drained.popitem(last=False)

    async def close(self, ended: Ended, ago_s: float = 0.0) -> None:
        """Write the report of a call that is over, with what the plane has counted; say farewell.

        It ended so many seconds ago: before this process began, say.

        Reports are kept in the order of the ends. Those of calls that end while the plane is asked
        are asked about together: one after the other they would fall behind under load. Whoever
        finds another at it leaves its call to that one, so that a full machine has a list to work
        off and not a crowd of tasks that wait, each with its call.
        """
        if ended.account is None:
            return
        if ended.obstacle is not None:
            self._call_counters.ended[ended.why] += 1
            self._refusals.add(_refused(ended.account, ended.obstacle), datetime.now(UTC))
            return
        self._farewells[ended.session] = ended.farewells
        now, at = self._backend.now() - ago_s, datetime.now(UTC) - timedelta(seconds=ago_s)
        self._over.append(_Over(ended, ended.account, now, at))
        if self._is_closing:
            return
        self._is_closing = True
        try:
            while self._over:
                await self._close_some()
        finally:
            self._is_closing = False

    async def _close_some(self) -> None:
        over, self._over = self._over[:CLOSED_AT_ONCE], self._over[CLOSED_AT_ONCE:]
        names = [name for case in over for name in case.names]
        found = await self._backend.bindings(names) if names else []
        counted = {b.name: b for b in found or []}
        for case in over:
            self._close(case, counted)
            # A request that has come meanwhile waits for one report at most. But in one turn of a
            # busy loop several calls may end: reports are no longer behind then.
            if len(self._over) < CLOSED_AT_ONCE:
                await asyncio.sleep(0)

    def stop(self) -> None:
        """Say the farewells that still wait for the plane's answer, without it."""
        for session in list(self._farewells):
            self._part(session, "")

    def _close(self, over: _Over, found: Mapping[BindingName, BindingSnapshot]) -> None:
        """One report that cannot be made costs that report only."""
        told = ""
        try:
            told = words(self._report(over, found).diagnosis)
        except Exception:
            log.exception("call report is lost", call=over.ended.session)
        self._part(over.ended.session, told)
        self._backend.reported(over.ended.session)

    def _part(self, session: str, told: str) -> None:
        farewells = self._farewells.pop(session, ())
        self._backend.inject([_telling(farewell, told) for farewell in farewells])

    def _report(self, over: _Over, found: Mapping[BindingName, BindingSnapshot]) -> CallReport:
        names, session = over.names, over.session
        bindings = self._counted(names, (found[name] for name in names if name in found))
        call = snapshots.call(session, bindings, over.now)
        counted = all(name in bindings for name in over.present or names)
        case = Case(call, over.ended.why, counted)
        if counted and case.had_time and case.is_relayed:
            unheard = self._call_counters.unheard_in_a_row
            self._call_counters.unheard_in_a_row = unheard + 1 if case.nobody_heard else 0
            self._call_counters.unheard += case.nobody_heard
        case = replace(case, nobody_lately=self._call_counters.nobody_lately)
        made = report(case, over.ended.reason, over.at)
        self._count(made)
        answered = made.call.setup_s is not None
        log.info("call ended" if answered else "call ended unanswered", **log_line(made))
        told = made.model_dump(mode="json")
        text = bounded(redacted(told) if self._redact else told)
        self._archive.add(session.name, session.sid, text)
        return made

    def _counted(
        self, names: Iterable[BindingName], found: Iterable[BindingSnapshot]
    ) -> dict[BindingName, BindingSnapshot]:
        bindings = {b.name: b for b in found}
        for name in names:
            last = self._drained.pop(name, None)
            if last is not None:
                bindings[name] = BindingSnapshot(name, last.pinholes, draining=True)
        return bindings

    def _count(self, made: CallReport) -> None:
        self._call_counters.ended[made.why] += 1
        if made.call.setup_s is not None:
            self._call_counters.setup.observe(made.call.setup_s)
            self._call_counters.accepted += 1
        self._call_counters.one_way += is_one_way(made.call)
        for content in made.call.contents:
            if content.ice is not None and content.path is not None:
                self._call_counters.paths[content.ice, content.path] += 1
        for _, _, leg in legs(made.call):
            if leg.check_failure is not None:
                self._call_counters.check_failures[leg.check_failure] += 1


def _refused(session: Session, obstacle: Obstacle) -> CallRefused:
    caller, callee = session.jids
    owner = session.anchor.budgets.owner_of(session.parties[0].account)
    return CallRefused(caller, callee, session.sid, obstacle, owner)


def _telling(farewell: Inject, told: str) -> Inject:
    """The request with these words after its reason's own."""
    reason = farewell.jingle.reason
    if reason is None or not told:
        return farewell
    text = f"{reason.text}; {told}"
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    return replace(farewell, jingle=replace(farewell.jingle, reason=replace(reason, text=text)))
