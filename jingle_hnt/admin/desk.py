"""The administrator's desk: what may be seen and done.

Made once by the signalling process, which tells it what happens. `commands` is the one table from
which the local socket, the command line and the ad-hoc commands of XMPP clients are made.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from jingle_hnt import __version__
from jingle_hnt.admin import moments, person, selfcheck, snapshots
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.closing import Closing
from jingle_hnt.admin.commands import SHUTDOWN, Command, Field, Kind
from jingle_hnt.admin.diagnosis import Finding, diagnose, set_aside
from jingle_hnt.admin.metrics import Scrape
from jingle_hnt.admin.moments import Span
from jingle_hnt.admin.office import Archive, Office
from jingle_hnt.admin.person import FAR_S, Occasion
from jingle_hnt.admin.refusals import Refusals, RefusedCall
from jingle_hnt.admin.reports import (
    CallReport,
    Explanation,
    HistorySnapshot,
    valid,
)
from jingle_hnt.admin.tally import FIELDS, KINDS, Tally
from jingle_hnt.admin.whereabouts import Whereabouts
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.binding import (
    Drained,
    Event,
    Latched,
    Rivalry,
)
from jingle_hnt.relay.evidence import Rung
from jingle_hnt.session.effects import CallRefused
from jingle_hnt.session.machine import Session

log = structlog.get_logger(__name__)

LEVELS = ("debug", "info", "warning", "error")
SHOWN = 20
MOST_SHOWN = 1000
SHORTEST_NAME = 5
"""Characters that a call's name may be cut to."""
LONGEST_ANNOUNCEMENT = 1000

NOT_FOUND = (
    "no such call, now or in the history; `jingle-hnt calls` and `jingle-hnt history` list them by"
    " name"
)
NO_SUCH_CALL = "no such call; `jingle-hnt calls` lists them by name"
Request = Mapping[str, object]


class Desk:
    """See the module's text."""

    def __init__(self, office: Office, archive: Archive, redact: bool = False) -> None:
        self.tally = Tally()
        self.refusals = Refusals(archive, office.soon)
        self.whereabouts = Whereabouts()
        self._office = office
        self._archive = archive
        self._started_at = office.now()
        self._plane_instance = ""
        self.closing = Closing(office, archive, self.tally, self.refusals, redact)
        office.registry.limits.blocked = archive.blocked()
        self.commands = self._table()

    # What the process tells

    def told(self, event: Event) -> None:
        """Something happened in the plane."""
        match event:
            case Latched():
                pinhole = self._office.registry.pinhole(event.name, event.side)
                evidence = None if pinhole is None else pinhole.evidence
                rung = Rung.R5 if evidence is None else evidence.rung
                self.tally.latches[rung.value, "again" if event.relatched else "first"] += 1
                self.tally.latch.observe(event.after_s)
            case Rivalry():
                self.tally.rivalries += 1
            case Drained():
                self.tally.traffic.drained(event)
                self.closing.drained(event)

    def refused(self, refused: CallRefused) -> None:
        """A call was refused, or goes on without the relay."""
        self.refusals.add(refused, datetime.now(UTC) - timedelta(seconds=refused.age_s))

    def plane_met(self, instance: str) -> None:
        """The plane is connected; another instance than the last counts from zero."""
        if instance != self._plane_instance:
            self.tally.traffic.plane_is_new()
            self.tally.planes += 1
        self._plane_instance = instance

    # What the administrator asks

    def _table(self) -> tuple[Command, ...]:
        ended = Field("call", "The call's name or sid, or a user's JID", required=True)
        at = Field("at", "At what time, of a user's calls")
        either = Field("call", "The call's name or sid", required=True)
        who = Field("who", "A bare JID or a domain", required=True)
        level = Field("level", "Log level", Kind.CHOICE, required=True, options=LEVELS)
        count = Field("count", "How many", default=str(SHOWN))
        party = Field("party", "Only calls of this JID")
        option = Field("option", "Option", Kind.CHOICE, True, options=tuple(self._office.policy()))
        value = Field("value", "Value, until the next reload or start", required=True)
        said = Field("announcement", "Announcement to who is in a call", Kind.LINES)
        return (
            Command("status", "Status", self._status),
            Command("calls", "Calls", self._calls),
            Command("call", "One call in full", self._call, (either,)),
            Command("explain", "What is wrong with a call", self._explain, (ended, at)),
            Command("history", "Calls that are over", self._history, (count, party)),
            Command("check", "Self-check", self._check),
            Command("stats", "Counts since the start", self._stats),
            Command("limits", "Limits and who is near them", self._limits),
            Command("policy", "What new calls follow", self._policy),
            Command("set", "Set an option for new calls", self._set, (option, value), changes=True),
            Command("terminate", "End calls", self._terminate, (ended,), changes=True),
            Command(
                "drain", "Take no new calls", self._drain, (said,), changes=True, node=SHUTDOWN
            ),
            Command("undrain", "Take new calls again", self._undrain, changes=True),
            Command("block", "Block a user or domain", self._block, (who,), changes=True),
            Command("unblock", "Unblock a user or domain", self._unblock, (who,), changes=True),
            Command("loglevel", "Set the log level", self._loglevel, (level,), changes=True),
            Command("reload", "Read the configuration again", self._reload, changes=True),
        )

    async def status(self) -> snapshots.StatusSnapshot:
        """How the process stands."""
        office = self._office
        bindings = await office.bindings() or []
        faults = tuple(self._faults())
        return snapshots.StatusSnapshot(
            version=__version__,
            ready=not faults,
            not_ready=faults,
            uptime_s=round(office.now() - self._started_at, 3),
            link_up=not any(office.links.values()),
            links_down={component: why for component, why in office.links.items() if why},
            replacements=office.replacements,
            draining=office.registry.draining,
            journal_healthy=office.journal_healthy,
            history_healthy=self._archive.healthy,
            calls=len(office.registry),
            tasks=len(asyncio.all_tasks()),
            plane=snapshots.PlaneSnapshot(
                up=office.engine is not None,
                engine=office.engine,
                bindings=sum(not b.draining for b in bindings),
                draining=sum(b.draining for b in bindings),
            ),
            ports=snapshots.ports(office.registry.pool.counts),
        )

    def _faults(self) -> Iterator[str]:
        """Why a call that comes now would not be relayed, or would not outlive a restart."""
        office = self._office
        for component, why in office.links.items():
            if why:
                yield f"the XMPP server is not connected as {component}: {why}"
        for domain, why in office.modules_down.items():
            yield f"calls of {domain} pass us by: {why}"
        if office.engine is None:
            why = office.plane_fault or selfcheck.SEE_LOG
            yield f"the forwarding plane is not connected: {why}"
        if office.registry.draining:
            yield "draining; `jingle-hnt undrain` ends it"
        yield from (f.text for f in self._files() if f.verdict == "FAIL")
        room = selfcheck.ports(snapshots.ports(office.registry.pool.counts))
        if room.verdict == "FAIL":
            yield f"media ports: {room.text}"
        yield from office.host_faults

    def _files(self) -> Iterator[snapshots.CheckFinding]:
        return selfcheck.files(self._office.journal_healthy, self._archive.healthy)

    async def scrape(self) -> Scrape:
        """What a scrape of the metrics shows now."""
        office = self._office
        states = Counter(session.state.value for session in office.registry)
        modules = {
            domain: not office.links[doors.component] and domain not in office.modules_down
            for doors in office.other_doors
            for domain in doors.domains
        }
        return Scrape(await self.status(), states, self.tally, modules)

    async def _status(self, _: Request) -> snapshots.StatusSnapshot:
        return await self.status()

    async def _check(self, _: Request) -> snapshots.CheckSnapshot:
        office = self._office
        policy = office.registry.policy
        modules, services = await asyncio.gather(office.modules(), office.services())
        callers = {domain for doors in office.other_doors for domain in doors.callers}
        return snapshots.CheckSnapshot(
            findings=(
                *selfcheck.links(office.links),
                *selfcheck.rivalries(office.rivalries),
                *selfcheck.modules(modules, callers),
                *selfcheck.unlisted(modules, office.registry.policy.domains),
                *(selfcheck.hidden_addresses(modules) if policy.terminates else ()),
                *self.whereabouts.findings(
                    (i.bound for i in office.registry.pool.interfaces), policy.peers.proxies
                ),
                *(found for doors in office.other_doors for found in selfcheck.other_doors(doors)),
                *selfcheck.services(services),
                selfcheck.plane(office.engine, office.plane_fault),
                *self._files(),
                selfcheck.ports(snapshots.ports(office.registry.pool.counts)),
                selfcheck.media(self.tally.unheard_in_a_row, self.tally.nobody_lately),
                selfcheck.admission(office.registry.draining),
                *selfcheck.host(office.host_faults),
            ),
            stun=selfcheck.stun_servers(services),
        )

    async def _calls(self, _: Request) -> snapshots.CallsSnapshot:
        bindings = {b.name: b for b in await self._office.bindings() or []}
        return snapshots.calls(self._office.registry, bindings, self._office.now())

    async def _call(self, request: Request) -> snapshots.CallSnapshot:
        session = self._named(_text(request, "call"))
        if session is None:
            raise ValueError(NO_SUCH_CALL)
        return (await self._live(session)).call

    def _named(self, wanted: str) -> Session | None:
        """The call of this name, else of this sid, which clients choose: it may be that of many."""
        registry = self._office.registry
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

    def _of_user(self, wanted: str) -> list[Session]:
        """The calls in which this bare or full JID is a party."""
        try:
            jid = JID.of(self._office.normalised(wanted))
        except ValueError:
            return []
        return [
            session
            for session in self._office.registry
            if any(jid in (party.jid, party.jid.bare) for party in session.parties)
        ]

    def _who(self, request: Request) -> str:
        text = _text(request, "who").strip()
        try:
            jid = JID.of(self._office.normalised(text))
        except ValueError:
            jid = None
        if jid is None or jid.is_full or any(c.isspace() for c in text):
            raise ValueError('who: write a bare JID or a domain, such as "eve@example.org"')
        return str(jid)

    async def _explain(self, request: Request) -> Explanation:
        wanted = _text(request, "call")
        session = self._named(wanted)
        if session is not None:
            return _of_case(await self._live(session))
        found = self._archive.find(wanted)
        if found is None:
            return await self._explain_another(wanted, str(request.get("at") or ""))
        return _of_report(CallReport.model_validate(found))

    async def _explain_another(self, wanted: str, at: str) -> Explanation:
        """What is no call's name: the sid of one that was refused, or a user."""
        self.refusals.flush()
        named = self._archive.refused(SHOWN, json.dumps(wanted))
        for refused in valid(RefusedCall, named):
            if wanted in refused.sids:
                return _of_refused(refused)
        try:
            user = JID.of(self._office.normalised(wanted.strip()))
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
        session = self._office.registry.find(event.session)
        if session is not None:
            found = _of_case(await self._live(session))
        elif event.report is not None:
            found = _of_report(event.report)
        else:
            assert event.refused is not None
            found = _of_refused(event.refused)
        return found.model_copy(update={"others": others})

    def _going_on(self, user: JID, now: datetime) -> Iterator[Occasion]:
        for session in self._of_user(str(user)):
            age = timedelta(seconds=self._office.now() - session.life.started_at)
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
        found = await self._office.bindings(names)
        bindings = {b.name: b for b in found or []}
        call = snapshots.call(session, bindings, self._office.now())
        return Case(call, plane=found is not None, nobody_lately=self.tally.nobody_lately)

    async def _history(self, request: Request) -> HistorySnapshot:
        try:
            count = int(str(request.get("count") or SHOWN))
        except ValueError:
            count = 0
        if not 1 <= count <= MOST_SHOWN:
            raise ValueError(f"count: write a number from 1 to {MOST_SHOWN}")
        self.refusals.flush()
        party = str(request.get("party") or "")
        calls = valid(CallReport, self._archive.latest(count, party))
        refused = valid(RefusedCall, self._archive.refused(count, party))
        return HistorySnapshot(calls=tuple(calls), refused=tuple(refused))

    async def _stats(self, _: Request) -> snapshots.StatsSnapshot:
        office, tally = self._office, self.tally
        await office.bindings()
        total = tally.traffic.total()
        drops = {name: total[name, 1] + total[name, 2] for name in FIELDS if "dropped_" in name}
        again = sum(count for (_, kind), count in tally.latches.items() if kind == "again")
        return snapshots.StatsSnapshot(
            uptime_s=round(office.now() - self._started_at, 3),
            calls=dict(Counter(session.state.value for session in office.registry)),
            accepted=tally.accepted,
            ended=dict(tally.ended),
            refused=dict(tally.refused),
            one_way=tally.one_way,
            latches={
                rung: count for (rung, kind), count in tally.latches.items() if kind == "first"
            },
            latches_again=again,
            rivalries=tally.rivalries,
            received_packets={k: total["received_packets", n] for n, k in KINDS.items()},
            received_bytes={k: total["received_bytes", n] for n, k in KINDS.items()},
            dropped={name.removeprefix("dropped_"): n for name, n in drops.items() if n},
            link_connections=tally.connections,
            planes=tally.planes,
        )

    async def _limits(self, _: Request) -> snapshots.LimitsSnapshot:
        registry = self._office.registry
        policy, limits = registry.policy.limits, registry.limits
        return snapshots.LimitsSnapshot(
            per_user=policy.per_user,
            per_domain=policy.per_domain,
            calls=policy.calls,
            per_minute=policy.per_minute,
            half_open=policy.half_open,
            total=limits.domains.total(),
            users={str(jid): count for jid, count in limits.users.most_common(10)},
            domains=dict(limits.domains.most_common(10)),
            unanswered=dict(limits.half_open.most_common(10)),
            blocked=tuple(sorted(limits.blocked)),
            budgets=snapshots.budgets(registry),
        )

    async def _policy(self, _: Request) -> snapshots.PolicySnapshot:
        options = self._office.policy().items()
        return snapshots.PolicySnapshot(
            options=tuple(
                snapshots.OptionSnapshot(option=option, value=json.dumps(value))
                for option, value in options
            )
        )

    async def _set(self, request: Request) -> snapshots.PolicySnapshot:
        option, value = _text(request, "option"), _text(request, "value")
        self._office.alter(option, value)
        log.warning("set until the next reload or start", option=option, value=value)
        return await self._policy({})

    async def _terminate(self, request: Request) -> snapshots.CallsSnapshot:
        wanted = _text(request, "call")
        registry = self._office.registry
        # A sid may look like anything, a JID too; it does not shield its user from this.
        sessions = [] if registry.find(wanted) else self._of_user(wanted)
        if not sessions and (session := self._named(wanted)) is not None:
            sessions = [session]
        if not sessions:
            raise ValueError(NO_SUCH_CALL)
        for session in sessions:
            registry.terminate(session.name, self._office.now())
        log.warning("ended by an administrator", calls=[s.name for s in sessions])
        self._office.settle()
        return await self._calls({})

    async def _drain(self, request: Request) -> snapshots.StatusSnapshot:
        text = _announcement(request)
        if text:
            self._office.announce(self._talking(), text)
        return await self._set_draining(True)

    def _talking(self) -> list[JID]:
        """The users of our domains that are in a call, each once; no other is ours to address."""
        registry = self._office.registry
        parties = (party.jid for session in registry for party in session.parties)
        local = (jid for jid in parties if jid.domain in registry.policy.domains)
        return list(dict.fromkeys(jid for jid in local if jid.is_full))

    async def _undrain(self, _: Request) -> snapshots.StatusSnapshot:
        return await self._set_draining(False)

    async def _set_draining(self, draining: bool) -> snapshots.StatusSnapshot:
        registry = self._office.registry
        if registry.draining != draining:
            registry.draining = draining
            self._office.keep_draining(draining)
            what = "draining: no new calls are relayed" if draining else "new calls are taken again"
            log.warning(what, calls=len(registry))
        return await self.status()

    async def _block(self, request: Request) -> snapshots.LimitsSnapshot:
        who = self._who(request)
        self._archive.block(who)
        self._office.registry.limits.blocked.add(who)
        log.warning("blocked", who=who)
        return await self._limits({})

    async def _unblock(self, request: Request) -> snapshots.LimitsSnapshot:
        who = self._who(request)
        blocked = self._office.registry.limits.blocked
        if who not in blocked:
            raise ValueError(f"{who} is not blocked; `jingle-hnt limits` lists who is")
        self._archive.unblock(who)
        blocked.discard(who)
        log.warning("unblocked", who=who)
        return await self._limits({})

    async def _loglevel(self, request: Request) -> snapshots.LogSnapshot:
        level = _text(request, "level")
        if level not in LEVELS:
            raise ValueError(f"level: write one of {', '.join(LEVELS)}")
        self._office.set_log_level(level)
        return snapshots.LogSnapshot(level=level)

    async def _reload(self, _: Request) -> snapshots.ReloadSnapshot:
        return self._office.reload()


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


def _text(request: Request, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: missing")
    return value


def _announcement(request: Request) -> str:
    """What a drain is announced with; a form sends its lines singly. Empty where nothing is."""
    value = request.get("announcement") or ""
    lines = [str(line) for line in value] if isinstance(value, list) else [str(value)]
    text = "\n".join(lines).strip()
    if len(text) > LONGEST_ANNOUNCEMENT or not text.replace("\n", " ").isprintable():
        raise ValueError(
            f"announcement: write at most {LONGEST_ANNOUNCEMENT} characters, no control characters"
        )
    return text
