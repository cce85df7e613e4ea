"""Commands that show how the process stands: status, check, stats, limits, policy."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping

from jingle_hnt import __version__
from jingle_hnt.admin import selfcheck, snapshots
from jingle_hnt.admin.metrics import Scrape
from jingle_hnt.admin.office import Archive, Office
from jingle_hnt.admin.tally import FIELDS, KINDS, Tally
from jingle_hnt.admin.whereabouts import Whereabouts

Request = Mapping[str, object]


class StateCommands:
    """A method for each command, of its name."""

    def __init__(
        self, office: Office, archive: Archive, tally: Tally, whereabouts: Whereabouts
    ) -> None:
        self._office = office
        self._archive = archive
        self._tally = tally
        self._whereabouts = whereabouts
        self._started_at = office.now()

    async def status(self, _: Request | None = None) -> snapshots.StatusSnapshot:
        """How the process stands."""
        office = self._office
        bindings = await office.bindings() or []
        faults = tuple(self._faults())
        return snapshots.StatusSnapshot(
            version=__version__,
            ready=not faults,
            not_ready=faults,
            uptime_s=round(office.now() - self._started_at, 3),
            connected=not any(office.links.values()),
            disconnected={component: why for component, why in office.links.items() if why},
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
            ports=snapshots.ports(office.registry.calls.planes.counts),
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
        room = self._room()
        if room.verdict == "FAIL":
            yield f"media ports: {room.text}"
        yield from office.host_faults

    def _room(self) -> snapshots.CheckFinding:
        pool = self._office.registry.calls.planes
        pool.reinstate(self._office.now())
        return selfcheck.ports(snapshots.ports(pool.counts), pool.scarcest)

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
        return Scrape(await self.status(), states, self._tally, modules)

    async def check(self, _: Request) -> snapshots.CheckSnapshot:
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
                *self._whereabouts.findings(
                    (i.bound for i in office.registry.calls.planes.interfaces), policy.peers.proxies
                ),
                *(found for doors in office.other_doors for found in selfcheck.other_doors(doors)),
                *selfcheck.services(services),
                selfcheck.plane(office.engine, office.plane_fault),
                *self._files(),
                self._room(),
                selfcheck.media(self._tally.unheard_in_a_row, self._tally.nobody_lately),
                selfcheck.admission(office.registry.draining),
                *selfcheck.host(office.host_faults),
            ),
            stun=selfcheck.stun_servers(services),
        )

    async def stats(self, _: Request) -> snapshots.StatsSnapshot:
        office, tally = self._office, self._tally
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
                source_auth: count
                for (source_auth, kind), count in tally.latches.items()
                if kind == "first"
            },
            latches_again=again,
            rivalries=tally.rivalries,
            received_packets={k: total["received_packets", n] for n, k in KINDS.items()},
            received_bytes={k: total["received_bytes", n] for n, k in KINDS.items()},
            dropped={name.removeprefix("dropped_"): n for name, n in drops.items() if n},
            connections=tally.connections,
            planes=tally.planes,
        )

    async def limits(self, _: Request) -> snapshots.LimitsSnapshot:
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

    async def policy(self, _: Request) -> snapshots.PolicySnapshot:
        options = self._office.policy().items()
        return snapshots.PolicySnapshot(
            options=tuple(
                snapshots.OptionSnapshot(option=option, value=json.dumps(value))
                for option, value in options
            )
        )
