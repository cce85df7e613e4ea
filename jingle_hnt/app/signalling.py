"""The signalling process: the composition root and the only driver of the session core.

The rule that keeps it simple: an input goes into the registry together with the time, and its
effects are carried out before anything else runs. Nothing is awaited in between, so no second
stanza can slip in; what takes time is started here and comes back as another input.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import groupby

import structlog

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.http import MetricsServer
from jingle_hnt.admin.rehearsal import Rehearsals
from jingle_hnt.admin.server import AdminServer
from jingle_hnt.admin.service import AdminService
from jingle_hnt.app.call_records import CallRecords
from jingle_hnt.app.host import HostFaults
from jingle_hnt.app.plane_link import WATCHED, PlaneLink
from jingle_hnt.app.requests import Requests
from jingle_hnt.app.xmpp_inputs import XmppInputs
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Effect, Exceeded, FrontEffect, Release, Remember
from jingle_hnt.call.ice import DRAWN
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.errors import (
    ConfigurationError,
    only_refusals,
)
from jingle_hnt.fronts.inputs import Options
from jingle_hnt.fronts.outgoing import Outgoing
from jingle_hnt.fronts.table import fronts
from jingle_hnt.fronts.xmpp.components import Components
from jingle_hnt.fronts.xmpp.jids import normalised
from jingle_hnt.jingle.effects import (
    Answer,
    Bounce,
    CallRefused,
    Inject,
    Opened,
    Pass,
    Replace,
)
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.log import configure, set_level
from jingle_hnt.model.jid import JID
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services
from jingle_hnt.plane import probe
from jingle_hnt.plane.table import pools
from jingle_hnt.relay.binding import (
    Arm,
    BindingName,
    BindingSnapshot,
    Event,
    Gate,
    Latched,
    Rivalry,
)
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import LOCAL, PlaneId
from jingle_hnt.settings.in_force import Kept
from jingle_hnt.settings.reload import Reloader
from jingle_hnt.settings.wiring import (
    Wiring,
    administrators,
    front_options,
    interfaces,
    session_policy,
)
from jingle_hnt.store.history import History
from jingle_hnt.store.journal import Journal

log = structlog.get_logger(__name__)


class Signalling:
    """The signalling process. `run` returns when it is cancelled, or raises SecretRefused."""

    def __init__(
        self,
        wiring: Wiring,
        reloader: Reloader,
        orders: Kept | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wiring = wiring
        self._reloader = reloader
        self._orders = orders or Kept()
        self._clock = clock
        self._calls = Calls(Planes(pools(wiring.pool, secrets.randbelow)), fresh_name, drawn)
        self._registry = Registry(wiring.policy, self._calls)
        self._registry.draining = bool(self._orders.order("draining"))
        if level := self._orders.order("loglevel"):
            set_level(str(level))
        journal_spill, history_spill = wiring.spills
        journal = Journal(wiring.journal, journal_spill)
        self._history = History(
            wiring.history, wiring.history_calls, wiring.history_days, spill=history_spill
        )
        self._requests = Requests(self._registry, self._carry_out, clock)
        self._host = HostFaults(wiring.pool, reloader.settings.relay.port_range, clock)
        self._service = AdminService(self, self._history, redact=wiring.history_is_redacted)
        self._records = CallRecords(
            self._registry, journal, self._history, self._service.call_counters.exceeded, clock
        )
        self._rehearsals = Rehearsals(self._registry, clock, self._carry_out)
        inputs = XmppInputs(
            self._registry, self._requests, self._service, self._carry_out, self._linked, clock
        )
        self._components = Components(
            wiring.components, inputs, self._service.commands, lambda: bool(self._registry)
        )
        self._front_options = wiring.fronts
        self._fronts = fronts(self)
        self._planes = {
            plane: PlaneLink(plane, wiring.plane_socket, self) for plane in self._calls.planes
        }
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._carrying_out = False
        self._outgoing: Outgoing[Answer | Inject] = Outgoing(self._send)
        self._leaving: list[Answer | Inject] = []
        self._ordered: asyncio.Task[None] | None = None
        self._barred_told_at = float("-inf")

    async def run(self) -> None:
        """Serve until cancelled."""
        commands = (*self._service.commands, self._rehearsals.command)
        admin = AdminServer(self._wiring.admin_socket, commands)
        self._records.restore()
        self._carry_out()
        await admin.start()
        metrics = self._serve_metrics()
        try:
            async with asyncio.TaskGroup() as group:
                for link in self._planes.values():
                    group.create_task(link.keep())
                group.create_task(self._records.keep_written())
                group.create_task(self._components.run())
                group.create_task(self._components.watch_modules())
                for front in self._fronts:
                    group.create_task(front.run())
        except ExceptionGroup as failed:
            refused = only_refusals(failed)
            if refused is None:
                raise
            raise refused from None
        finally:
            if metrics is not None:
                await metrics.close()
            await self._stop(admin)

    def _serve_metrics(self) -> MetricsServer | None:
        """Calls are worth more than metrics: a listener that cannot be is told, and that is all."""
        if self._wiring.metrics is None:
            return None
        try:
            return MetricsServer(*self._wiring.metrics, self._service.scrape)
        except OSError as error:
            host, port = self._wiring.metrics
            log.error("metrics cannot be served", listen=f"{host}:{port}", why=str(error))
            return None

    # What fronts need (fronts.inputs.Driver)

    @property
    def calls(self) -> Calls:
        """All calls, whichever front they came in by."""
        return self._calls

    def carry_out(self) -> None:
        """Carry out what a front's input brings about."""
        self._carry_out()

    def options(self, kind: type[Options]) -> Options | None:
        """What the operator has set for a front of this class; None where it is off."""
        return next((each for each in self._front_options if isinstance(each, kind)), None)

    def _linked(self, component: str) -> None:
        """A component is connected: see `Components.linked`."""
        self._components.linked(component)

    # Effects

    def _carry_out(self) -> None:
        """Drain the registry's effects, including those that answers at once bring about."""
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while effects := self._calls.effects():
                for kind, group in groupby(effects, type):
                    self._carry_out_alike(kind, list(group))
                self._let_out()
        finally:
            self._carrying_out = False
        self._set_timer()

    def _let_out(self) -> None:
        """Stanzas leave when the orders that came with them are carried out: see `outgoing`."""
        if self._leaving:
            self._outgoing.put(self._leaving, self._ordered)
        self._leaving, self._ordered = [], None

    def _send(self, stanza: Answer | Inject) -> None:
        if self._is_of_front(stanza):
            return
        if isinstance(stanza, Inject):
            if not self._rehearsals.owns(stanza):
                self._components.inject(stanza)
        elif not self._rehearsals.takes(stanza):
            if isinstance(stanza, Bounce):
                self._service.call_counters.refused[stanza.error.condition.value] += 1
            self._components.answer(stanza)

    def _carry_out_alike(self, kind: type, effects: Sequence[Effect]) -> None:
        """Orders of one kind that follow each other go to the plane in one message."""
        if kind in (Arm, Gate, Release):
            orders = [e for e in effects if isinstance(e, Arm | Gate | Release)]
            for plane, link in self._planes.items():
                own = [order for order in orders if self._plane_of(order) == plane]
                quarantine_s = self._registry.policy.relay.quarantine_s
                if own and (ordered := link.order(own, quarantine_s)) is not None:
                    self._ordered = ordered
        else:
            for effect in effects:
                self._carry_out_one(effect)

    def _plane_of(self, order: Arm | Gate | Release) -> PlaneId:
        return order.plane if isinstance(order, Release) else self._calls.plane_of(order.name)

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case Pass() | Replace() | Opened() | Bounce() | Inject():
                self._leaving.append(effect)
            case Bind():
                self._planes[effect.plane].bind(effect)
            case Remember(session=name):
                self._records.note(name, live=True)
            case Exceeded(budget=budget, owner=owner):
                self._service.call_counters.exceeded[budget] += 1
                log.warning("budget exceeded", budget=budget, owner=owner)
            case CallRefused():
                if not self._rehearsals.is_one(effect.sid):
                    self._service.refused(effect)
            case Ended(account=session):
                self._is_of_front(effect)
                reported = session is None or not self._rehearsals.is_one(session.sid)
                bound = session is not None and bool(session.negotiation.allocations)
                waits = reported and bound and effect.obstacle is None
                self._records.over(effect, waits=waits)  # its report waits for the plane
                if reported:
                    self.spawn(self._service.call_closing.close(effect))
            case FrontEffect():
                self._is_of_front(effect)

    def _is_of_front(self, effect: FrontEffect) -> bool:
        """Have the fronts of the table carry this out; False where none of them has done all."""
        return any([front.carry_out(effect) for front in self._fronts])

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run this beside everything else, until the process ends."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Planes (see `plane_link.Host`)

    def met(self, link: PlaneLink, bindings: list[BindingSnapshot]) -> None:
        """A plane is met, which has these bindings of calls."""
        self._service.plane_met(link.instance)
        served = self._records.meet(link.instance)
        reconcile(self._calls, bindings, self._clock(), served, link.plane)
        self._carry_out()

    def after_met(self) -> None:
        """The plane has reported all events up to the reconciliation."""
        for ended, at in self._records.take_unreported():
            self.spawn(self._service.call_closing.close(ended, self._clock() - at))

    def on_event(self, event: Event, plane: PlaneId) -> None:
        """Something happened in a plane."""
        if event.name.startswith(probe.PREFIX):
            return
        if event.name.startswith(WATCHED):
            self._told_of_free_port(event)
            return
        match event:
            case Latched():
                what = "re-latched" if event.relatched else "latched"
                log.info(what, binding=event.name, side=event.side, source=str(event.source))
            case Rivalry():
                source = str(event.source)
                log.warning("rival source", binding=event.name, side=event.side, source=source)
        self._service.on_event(event)
        self._calls.on_event(event, self._clock(), plane)
        self._carry_out()

    def _told_of_free_port(self, event: Event) -> None:
        """A source has barred itself; a line a second says enough."""
        if not isinstance(event, Rivalry):
            return
        self._service.call_counters.barred += 1
        if self._clock() - self._barred_told_at >= 1.0:
            self._barred_told_at = self._clock()
            why = "it sends to ports that nobody was told of"
            log.warning("source is barred", source=str(event.source), why=why)

    # Time

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._calls.poll_timeout()
        # Who is silent is not known without its plane, and no call is ended for what is not known.
        if at is not None and all(link.is_met for link in self._planes.values()):
            delay = max(0.0, at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._calls.expire(self._clock())
        self._carry_out()

    # Start and stop

    async def _stop(self, admin: AdminServer) -> None:
        """Leave media as it is: the next life takes the calls up again."""
        if self._timer is not None:
            self._timer.cancel()
        await admin.close()
        self._requests.serve(every=True)
        self._service.call_closing.stop()
        self._service.refusals.flush()
        self._records.take_leave()
        self._outgoing.flush()
        await self._components.stop()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._records.close()

    # What the admin service needs (admin.back end.Office)

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def component_services(self) -> tuple[ComponentServices, ...]:
        """Return the services of each component besides answering server modules."""
        return self._components.component_services

    async def modules(self) -> dict[str, ModuleState]:
        """The server module of each domain."""
        return await self._components.diagnose()

    async def services(self) -> dict[str, Services]:
        """The STUN and TURN servers that each domain names to its users."""
        return await self._components.services()

    @property
    def links(self) -> dict[str, str]:
        return self._components.links

    @property
    def modules_down(self) -> Mapping[str, str]:
        return self._components.modules_down

    @property
    def rivalries(self) -> dict[str, str]:
        return self._components.rivalries

    @property
    def replacements(self) -> int:
        return self._components.replacements

    @property
    def journal_healthy(self) -> bool:
        return self._records.healthy

    @property
    def host_faults(self) -> Sequence[str]:
        """See `admin.backend.Backend`."""
        return self._host.now()

    @property
    def engine(self) -> str | None:
        """The plane's engine; None while it is not connected."""
        return self._planes[LOCAL].engine

    @property
    def plane_fault(self) -> str:
        """Why the plane is not connected, where more is known than that."""
        return self._planes[LOCAL].fault

    def now(self) -> float:
        return self._clock()

    def normalised(self, jid: str) -> str:
        return normalised(jid)

    def soon(self, call: Callable[[], None]) -> None:
        """Call this in a second."""
        asyncio.get_running_loop().call_later(1.0, call)

    def reported(self, session: str) -> None:
        """The report of a call that is over is in the history; the journal may forget it."""
        self._records.reported(session)

    def settle(self) -> None:
        """Carry out what a command has ordered."""
        self._carry_out()

    def set_log_level(self, level: str) -> None:
        """See `log.set_level`."""
        set_level(level)
        self._orders.keep("loglevel", level)

    def keep_draining(self, draining: bool) -> None:
        """The word of an administrator outlives this process, if there is one to start the next."""
        self._orders.keep("draining", draining)

    def inject(self, farewells: Iterable[Inject]) -> None:
        """Send these requests in the parties' names."""
        self._outgoing.put(tuple(farewells))

    def announce(self, to: Iterable[JID], text: str) -> None:
        """Send these users a message in the component's own name."""
        for jid in to:
            self._components.announce(jid, text)

    def reload(self) -> snapshots.ReloadSnapshot:
        """Read the configuration again; new calls follow it. Raises ValueError."""
        try:
            changed, waiting = self._reloader.reload()
        except ConfigurationError as error:
            log.error("the configuration is not reloaded", why=str(error))
            raise ValueError(f"nothing is changed: {error}") from None
        settings = self._reloader.settings
        self._follow()
        redacts = settings.admin.addresses == "redacted"
        self._components.administer(administrators(settings), redacts)
        configure(settings.log.level, settings.log.format, settings.log.redact)
        log.info("configuration is reloaded", changed=list(changed), needs_restart=list(waiting))
        return snapshots.ReloadSnapshot(changed=changed, needs_restart=waiting)

    def _follow(self) -> None:
        self._registry.follow(session_policy(self._reloader.settings))
        self._records.follow()
        self._components.ask_about_rings(self._registry.policy.calls.asks_about_rings)
        self._wiring.pool.readvertise(interfaces(self._reloader.settings))
        self._front_options = front_options(self._reloader.settings)
        for front in self._fronts:
            front.follow()

    def policy(self) -> dict[str, object]:
        """Return each option that `alter` takes, with the value for new calls."""
        return self._reloader.followed()

    def alter(self, option: str, value: str) -> None:
        """Set an option until the next reload or start. Raises ValueError."""
        try:
            self._reloader.alter(option, value)
        except ConfigurationError as error:
            raise ValueError(f"nothing is changed: {error}") from None
        self._orders.keep("options", {**(self._orders.order("options") or {}), option: value})
        self._follow()

    def hang_up_signal(self) -> None:
        """SIGHUP: reload, and say in the log what came of it."""
        with contextlib.suppress(ValueError):
            self.reload()

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        """Return the bindings of the planes; None if none answers."""
        answers = [await link.snapshot(names) for link in self._planes.values()]
        if all(answer is None for answer in answers):
            return None
        all_of_them = (b for answer in answers for b in answer or ())
        found = [b for b in all_of_them if not b.name.startswith(probe.PREFIX)]
        self._service.call_counters.traffic.seen(found, every=names is None)
        return found


def fresh_name() -> str:
    """A name for a session: unique over restarts, and no hint of who is in it."""
    return "s" + secrets.token_hex(8)


def drawn() -> str:
    """Random digits for an ICE agent of ours."""
    return secrets.token_hex(DRAWN // 2)
