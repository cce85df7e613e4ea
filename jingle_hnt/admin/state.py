"""Commands that show how the process stands: status, check, stats, limits, policy."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping

from jingle_hnt import __version__
from jingle_hnt.admin import selfcheck, snapshots
from jingle_hnt.admin.backend import Archive, Backend
from jingle_hnt.admin.call_counters import FIELDS, KINDS, CallCounters
from jingle_hnt.admin.metrics import Scrape
from jingle_hnt.admin.whereabouts import Whereabouts

Request = Mapping[str, object]


class StateCommands:
    """A method for each command, of its name."""

    def __init__(
        self,
        backend: Backend,
        archive: Archive,
        call_counters: CallCounters,
        whereabouts: Whereabouts,
    ) -> None:
        self._backend = backend
        self._archive = archive
        self._call_counters = call_counters
        self._whereabouts = whereabouts
        self._started_at = backend.now()

    async def status(self, _: Request | None = None) -> snapshots.StatusSnapshot:
        """Return the state of the process."""
        backend = self._backend
        bindings = await backend.bindings() or []
        faults = tuple(self._faults())
        return snapshots.StatusSnapshot(
            version=__version__,
            ready=not faults,
            not_ready=faults,
            uptime_s=round(backend.now() - self._started_at, 3),
            connected=not any(backend.links.values()),
            disconnected={component: why for component, why in backend.links.items() if why},
            replacements=backend.replacements,
            draining=backend.registry.draining,
            journal_healthy=backend.journal_healthy,
            history_healthy=self._archive.healthy,
            calls=len(backend.registry),
            tasks=len(asyncio.all_tasks()),
            plane=snapshots.PlaneSnapshot(
                up=backend.engine is not None,
                engine=backend.engine,
                bindings=sum(not b.draining for b in bindings),
                draining=sum(b.draining for b in bindings),
            ),
            ports=snapshots.ports(backend.registry.calls.planes.counts),
        )

    def _faults(self) -> Iterator[str]:
        """Why a call that comes now would not be relayed, or would not outlive a restart."""
        backend = self._backend
        for component, why in backend.links.items():
            if why:
                yield f"the XMPP server is not connected as {component}: {why}"
        for domain, why in backend.modules_down.items():
            yield f"calls of {domain} pass us by: {why}"
        if backend.engine is None:
            why = backend.plane_fault or selfcheck.SEE_LOG
            yield f"the forwarding plane is not connected: {why}"
        if backend.registry.draining:
            yield "draining; `jingle-hnt undrain` ends it"
        yield from (f.text for f in self._files() if f.verdict == "FAIL")
        room = self._room()
        if room.verdict == "FAIL":
            yield f"media ports: {room.text}"
        yield from backend.host_faults

    def _room(self) -> snapshots.CheckFinding:
        pool = self._backend.registry.calls.planes
        pool.reinstate(self._backend.now())
        return selfcheck.ports(snapshots.ports(pool.counts), pool.scarcest)

    def _files(self) -> Iterator[snapshots.CheckFinding]:
        return selfcheck.files(self._backend.journal_healthy, self._archive.healthy)

    async def scrape(self) -> Scrape:
        """Return the values of a scrape of the metrics."""
        backend = self._backend
        states = Counter(session.state.value for session in backend.registry)
        modules = {
            domain: not backend.links[offers.component] and domain not in backend.modules_down
            for offers in backend.component_services
            for domain in offers.domains
        }
        return Scrape(await self.status(), states, self._call_counters, modules)

    async def check(self, _: Request) -> snapshots.CheckSnapshot:
        backend = self._backend
        policy = backend.registry.policy
        modules, services = await asyncio.gather(backend.modules(), backend.services())
        callers = {domain for offers in backend.component_services for domain in offers.callers}
        return snapshots.CheckSnapshot(
            findings=(
                *selfcheck.links(backend.links),
                *selfcheck.rivalries(backend.rivalries),
                *selfcheck.modules(modules, callers),
                *selfcheck.unlisted(modules, backend.registry.policy.domains),
                *(selfcheck.hidden_addresses(modules) if policy.terminates else ()),
                *self._whereabouts.findings(
                    (i.bound for i in backend.registry.calls.planes.interfaces),
                    policy.peers.proxies,
                ),
                *(
                    found
                    for offers in backend.component_services
                    for found in selfcheck.component_services(offers)
                ),
                *selfcheck.services(services),
                selfcheck.plane(backend.engine, backend.plane_fault),
                *self._files(),
                self._room(),
                selfcheck.media(
                    self._call_counters.unheard_in_a_row, self._call_counters.nobody_lately
                ),
                selfcheck.admission(backend.registry.draining),
                *selfcheck.host(backend.host_faults),
            ),
            stun=selfcheck.stun_servers(services),
        )

    async def stats(self, _: Request) -> snapshots.StatsSnapshot:
        backend, call_counters = self._backend, self._call_counters
        await backend.bindings()
        total = call_counters.traffic.total()
        drops = {name: total[name, 1] + total[name, 2] for name in FIELDS if "dropped_" in name}
        again = sum(count for (_, kind), count in call_counters.latches.items() if kind == "again")
        return snapshots.StatsSnapshot(
            uptime_s=round(backend.now() - self._started_at, 3),
            calls=dict(Counter(session.state.value for session in backend.registry)),
            accepted=call_counters.accepted,
            ended=dict(call_counters.ended),
            refused=dict(call_counters.refused),
            one_way=call_counters.one_way,
            latches={
                source_auth: count
                for (source_auth, kind), count in call_counters.latches.items()
                if kind == "first"
            },
            latches_again=again,
            rivalries=call_counters.rivalries,
            received_packets={k: total["received_packets", n] for n, k in KINDS.items()},
            received_bytes={k: total["received_bytes", n] for n, k in KINDS.items()},
            dropped={name.removeprefix("dropped_"): n for name, n in drops.items() if n},
            connections=call_counters.connections,
            planes=call_counters.planes,
        )

    async def limits(self, _: Request) -> snapshots.LimitsSnapshot:
        registry = self._backend.registry
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
        options = self._backend.policy().items()
        return snapshots.PolicySnapshot(
            options=tuple(
                snapshots.OptionSnapshot(option=option, value=json.dumps(value))
                for option, value in options
            )
        )
