"""What an administrator asks about calls: those that go on, those that ended, what went wrong."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.commands import Command, Field
from jingle_hnt.admin.diagnosis import diagnose
from jingle_hnt.relay.binding import BindingName, BindingSnapshot
from jingle_hnt.session.effects import Why
from jingle_hnt.session.machine import Session
from jingle_hnt.session.registry import Registry

Bindings = Callable[[Sequence[BindingName] | None], Awaitable[list[BindingSnapshot]]]
"""Asks the plane for the bindings of these names, or for all; nothing where it is away."""

MOST_REPORTS = 1000


class Reports(Protocol):
    """Where the reports of ended calls are kept, as JSON text."""

    def find(self, key: str) -> str | None:
        """The newest report of this name or session id."""

    def recent(self, limit: int) -> list[str]:
        """The newest reports, newest first."""


class Desk:
    """Answers; changes nothing. Its commands raise ValueError for what cannot be answered."""

    def __init__(
        self,
        registry: Registry,
        bindings: Bindings,
        history: Reports,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._bindings = bindings
        self._history = history
        self._clock = clock

    def commands(self) -> tuple[Command, ...]:
        """What can be asked here."""
        key = Field("call", "The call's name or its session id", required=True)
        limit = Field("limit", "How many, newest first", default="20")
        return (
            Command("calls", "Calls", self.calls),
            Command("explain", "Explain a call", self.explain, (key,)),
            Command("history", "Ended calls", self.reports, (limit,)),
        )

    def report(
        self,
        session: Session,
        bindings: Iterable[BindingSnapshot],
        why: Why | None = None,
        reason: str | None = None,
    ) -> snapshots.CallReport:
        """The report of a call that ended for this reason, or goes on where there is none."""
        call = snapshots.call(session, {b.name: b for b in bindings}, self._clock())
        return snapshots.CallReport(
            call=call,
            ended_at=None if why is None else round(time.time(), 3),
            duration_s=call.age_s,
            why=None if why is None else why.value,
            reason=reason,
            findings=diagnose(call, why),
        )

    async def calls(self, _: Mapping[str, object]) -> snapshots.CallsSnapshot:
        """The calls that go on, oldest first."""
        bindings = {b.name: b for b in await self._bindings(None)}
        return snapshots.calls(self._registry, bindings, self._clock())

    async def explain(self, request: Mapping[str, object]) -> snapshots.CallReport:
        """What is, or was, wrong with one call."""
        key = str(request.get("call", ""))
        live = next((s for s in self._registry if key in (s.name, s.sid)), None)
        if live is not None:
            return self.report(live, await self._bindings(None))
        report = self._history.find(key)
        if report is None:
            raise ValueError("no such call; `jingle-hnt calls` and `jingle-hnt history` list them")
        return snapshots.CallReport.model_validate_json(report)

    async def reports(self, request: Mapping[str, object]) -> snapshots.HistorySnapshot:
        """The calls that ended last."""
        limit = str(request.get("limit", "20"))
        if not limit.isdecimal() or not 1 <= int(limit) <= MOST_REPORTS:
            raise ValueError(f"limit is {limit[:20]!r}: write a number from 1 to {MOST_REPORTS}")
        reports = map(snapshots.CallReport.model_validate_json, self._history.recent(int(limit)))
        return snapshots.HistorySnapshot(reports=tuple(reports))
