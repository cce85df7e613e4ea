"""Commands that show calls: calls, call, explain, history. They find a call as people name it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from jingle_hnt.admin import moments, person, snapshots
from jingle_hnt.admin.backend import Archive, Backend
from jingle_hnt.admin.call_counters import CallCounters
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import Finding, diagnose, set_aside
from jingle_hnt.admin.moments import Span
from jingle_hnt.admin.person import FAR_S, Occasion
from jingle_hnt.admin.refusals import Refusals, RefusedCall
from jingle_hnt.admin.reports import CallReport, Explanation, HistorySnapshot, valid
from jingle_hnt.jingle.machine import Session
from jingle_hnt.model.commands import SHOWN
from jingle_hnt.model.jid import JID

MOST_SHOWN = 1000
SHORTEST_NAME = 5
"""Characters that a call's name may be cut to."""

NOT_FOUND = (
    "no such call, now or in the history; `jingle-hnt calls` and `jingle-hnt history` list them by"
    " name"
)
NO_SUCH_CALL = "no such call; `jingle-hnt calls` lists them by name"
Request = Mapping[str, object]


class CallCommands:
    """A method for each command, of its name."""

    def __init__(
        self, backend: Backend, archive: Archive, call_counters: CallCounters, refusals: Refusals
    ) -> None:
        self._backend = backend
        self._archive = archive
        self._call_counters = call_counters
        self._refusals = refusals

    async def calls(self, _: Request) -> snapshots.CallsSnapshot:
        bindings = {b.name: b for b in await self._backend.bindings() or []}
        return snapshots.calls(self._backend.registry, bindings, self._backend.now())

    async def call(self, request: Request) -> snapshots.CallSnapshot:
        session = self.named(text_of(request, "call"))
        if session is None:
            raise ValueError(NO_SUCH_CALL)
        return (await self._live(session)).call

    def named(self, wanted: str) -> Session | None:
        """The call of this name, else of this sid, which clients choose: it may be that of many."""
        registry = self._backend.registry
        session = registry.find(wanted)
        if session is not None:
            return session
        found = [s for s in registry if s.sid == wanted]
        if len(found) > 1:
            some = ", ".join(s.name for s in found[:3])
            raise ValueError(
                f"{len(found)} calls have this sid: write a call's name, such as {some}"
            )
        if not found and len(wanted) >= SHORTEST_NAME:
            # As `calls` and `top` show names.
            found = [s for s in registry if s.name.startswith(wanted)]
        return found[0] if len(found) == 1 else None

    def of_user(self, wanted: str) -> list[Session]:
        """The calls in which this bare or full JID is a party."""
        try:
            jid = JID.of(self._backend.normalised(wanted))
        except ValueError:
            return []
        return [
            session
            for session in self._backend.registry
            if any(jid in (party.jid, party.jid.bare) for party in session.parties)
        ]

    async def explain(self, request: Request) -> Explanation:
        wanted = text_of(request, "call")
        session = self.named(wanted)
        if session is not None:
            return _of_case(await self._live(session))
        found = self._archive.find(wanted)
        if found is None:
            return await self._explain_another(wanted, str(request.get("at") or ""))
        return _of_report(CallReport.model_validate(found))

    async def _explain_another(self, wanted: str, at: str) -> Explanation:
        """What is no call's name: the sid of one that was refused, or a user."""
        self._refusals.flush()
        named = self._archive.refused(SHOWN, json.dumps(wanted))
        for refused in valid(RefusedCall, named):
            if wanted in refused.sids:
                return _of_refused(refused)
        try:
            user = JID.of(self._backend.normalised(wanted.strip()))
        except ValueError:
            user = None
        if user is None or not user.local:
            raise ValueError(NOT_FOUND)
        return await self._explain_user(user, at)

    async def _explain_user(self, user: JID, at: str) -> Explanation:
        now = datetime.now(UTC)
        when = moments.span(at, now) if at else None
        events = [*self._going_on(user, now), *self._happened(user, when)]
        event, others = person.meant(events, when)
        if event is None:
            raise ValueError(
                f"no call of {user} is known{' of about then' if at else ''}, and none was refused:"
                " its client made none, or its server did not ask us (`jingle-hnt check`)"
            )
        session = self._backend.registry.find(event.session)
        if session is not None:
            found = _of_case(await self._live(session))
        elif event.report is not None:
            found = _of_report(event.report)
        else:
            assert event.refused is not None
            found = _of_refused(event.refused)
        return found.model_copy(update={"others": others})

    def _going_on(self, user: JID, now: datetime) -> Iterator[Occasion]:
        for session in self.of_user(str(user)):
            age = timedelta(seconds=self._backend.now() - session.life.started_at)
            line = f"{session.jids[0]} calls {session.jids[1]} ({session.name})"
            yield Occasion(now - age, now, line, session=session.name)

    def _happened(self, user: JID, when: Span | None) -> Iterator[Occasion]:
        name = str(user)
        since, until = 0.0, float("inf")
        if when is not None:  # a call may be long, and ends after the time that is meant
            since, until = when[0].timestamp() - FAR_S, when[1].timestamp() + 86400.0
        calls = self._archive.latest(MOST_SHOWN if when else SHOWN, name, since, until)
        yield from person.over(user, valid(CallReport, calls))
        refused = self._archive.refused(MOST_SHOWN if when else SHOWN, name, since, until)
        yield from person.refused(user, valid(RefusedCall, refused))

    async def _live(self, session: Session) -> Case:
        own = session.negotiation
        names = [n for a in own.allocations for n in a.bindings]
        names += [n for past in own.past for n in past.uncounted]
        found = await self._backend.bindings(names)
        bindings = {b.name: b for b in found or []}
        call = snapshots.call(session, bindings, self._backend.now())
        return Case(call, plane=found is not None, nobody_lately=self._call_counters.nobody_lately)

    async def history(self, request: Request) -> HistorySnapshot:
        try:
            count = int(str(request.get("count") or SHOWN))
        except ValueError:
            count = 0
        if not 1 <= count <= MOST_SHOWN:
            raise ValueError(f"count: write a number from 1 to {MOST_SHOWN}")
        self._refusals.flush()
        party = str(request.get("party") or "")
        calls = valid(CallReport, self._archive.latest(count, party))
        refused = valid(RefusedCall, self._archive.refused(count, party))
        return HistorySnapshot(calls=tuple(calls), refused=tuple(refused))


def _of_case(case: Case) -> Explanation:
    """A call that goes on."""
    call = case.call
    return Explanation(call=call, report=None, diagnosis=diagnose(case), dropped=set_aside(call))


def _of_report(made: CallReport) -> Explanation:
    return Explanation(
        call=made.call, report=made, diagnosis=made.diagnosis, dropped=set_aside(made.call)
    )


def _of_refused(refused: RefusedCall) -> Explanation:
    finding = Finding(
        cause=f"refused-{refused.kind}", party=None, text=refused.text, advice=refused.advice
    )
    return Explanation(call=None, report=None, diagnosis=(finding,), refused=refused)


def text_of(request: Request, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: missing")
    return value
