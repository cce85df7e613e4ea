"""The signalling process: the composition root and the only driver of the session core.

The rule that keeps it simple: an input goes into the registry together with the time, and its
effects are carried out before anything else runs. Nothing is awaited in between, so no second
stanza can slip in; what takes time is started here and comes back as another input.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import structlog

from jingle_hnt import __version__
from jingle_hnt.admin import snapshots
from jingle_hnt.admin.commands import Command, Field
from jingle_hnt.admin.server import AdminServer
from jingle_hnt.config import RelayNodes, Settings
from jingle_hnt.errors import JingleError, PlaneError, PlaneGone, PortTaken, SecretRefused
from jingle_hnt.model.jid import JID
from jingle_hnt.plane import probe
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingSnapshot, Event, Gate, Latched, Rivalry
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from jingle_hnt.relay.ports import PortPool
from jingle_hnt.session.effects import (
    Bind,
    Bounce,
    ChannelRequest,
    Effect,
    Ended,
    Gone,
    Inject,
    Moved,
    Opened,
    Pass,
    Refusal,
    Release,
    Remember,
    Replace,
    Request,
    Withdrawn,
)
from jingle_hnt.session.policy import (
    AlreadyRelayed,
    ChannelPolicy,
    EarlyMedia,
    Fallback,
    GatePolicy,
    IceMode,
    SessionPolicy,
    Times,
)
from jingle_hnt.session.reconcile import reconcile
from jingle_hnt.session.record import dump, load
from jingle_hnt.session.registry import Registry
from jingle_hnt.store.journal import Journal
from jingle_hnt.xmpp.component import Component, ComponentSettings

log = structlog.get_logger(__name__)

PLANE_RETRY_S = 0.2
"""Pause between attempts to reach the plane: a local socket, and calls wait behind it."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """All that the signalling process needs of the configuration, as small values."""

    component: ComponentSettings
    policy: SessionPolicy
    pool: PortPool
    plane_socket: Path
    admin_socket: Path
    journal: Path


class Signalling:
    """The signalling process. `run` returns when it is cancelled, or raises SecretRefused.

    It is also what the XMPP side talks to: the methods named in `xmpp.component.Inputs`.
    """

    def __init__(self, wiring: Wiring, clock: Callable[[], float] = time.monotonic) -> None:
        self._wiring = wiring
        self._clock = clock
        self._registry = Registry(wiring.policy, wiring.pool, fresh_name)
        self._component = Component(wiring.component, self, commands=self._commands())
        self._journal = Journal(wiring.journal)
        self._plane: PlaneClient | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._link_up = False
        self._started_at = clock()
        self._carrying_out = False

    async def run(self) -> None:
        """Serve until cancelled."""
        admin = AdminServer(self._wiring.admin_socket, self._commands())
        self._restore()
        self._carry_out()
        await admin.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_plane())
                group.create_task(self._component.run())
        except* SecretRefused as refused:
            raise refused.exceptions[0] from None
        finally:
            await self._stop(admin)

    def reload(self, settings: Settings) -> None:
        """Take up what can change while calls go on: the administrators. The rest needs a start."""
        self._component.administer(administrators(settings))
        log.info("configuration read again", taken_up="admin, log", rest="needs a restart")

    # Inputs from the XMPP side

    def receive(self, request: Request) -> None:
        """A stanza that a server module holds."""
        self._registry.receive(request, self._clock())
        self._carry_out()

    def refused(self, refusal: Refusal) -> None:
        """A diverted request was answered by an error."""
        self._registry.refused(refusal, self._clock())
        self._carry_out()

    def moved(self, moved: Moved) -> None:
        """A party's connection comes from another address."""
        self._registry.moved(moved, self._clock())
        self._carry_out()

    def gone(self, gone: Gone) -> None:
        """A party has left its server."""
        self._registry.gone(gone, self._clock())
        self._carry_out()

    def withdrawn(self, withdrawn: Withdrawn) -> None:
        """A party said in a message that its call is over."""
        self._registry.withdrawn(withdrawn, self._clock())
        self._carry_out()

    def channel(self, request: ChannelRequest) -> None:
        """A user asks for a relay channel."""
        self._registry.channel(request, self._clock())
        self._carry_out()

    def rejected(self, sender: JID, error: JingleError) -> None:
        """A stanza was bounced for what it is, before any session saw it."""
        condition = error.answer.condition.value
        log.info("stanza rejected", sender=str(sender), condition=condition, why=str(error))

    def link_up(self) -> None:
        """The XMPP server has accepted us."""
        self._link_up = True
        log.info("connected to the XMPP server", component=self._wiring.component.jid)

    def link_down(self, reason: str) -> None:
        """The stream is gone; media goes on, and calls are under control again when it is back."""
        self._link_up = False
        log.warning("XMPP link is down; media goes on", reason=reason, calls=len(self._registry))

    # Effects

    def _carry_out(self) -> None:
        """Drain the registry's effects, including those that answers at once bring about."""
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while effects := self._registry.effects():
                for kind, group in groupby(effects, type):
                    self._carry_out_alike(kind, list(group))
        finally:
            self._carrying_out = False
        self._set_timer()

    def _carry_out_alike(self, kind: type, effects: Sequence[Effect]) -> None:
        """Orders of one kind that follow each other go to the plane in one message."""
        if kind is Arm:
            arms = [e for e in effects if isinstance(e, Arm)]
            self._order(lambda plane: plane.arm(arms))
        elif kind is Gate:
            gates = [e for e in effects if isinstance(e, Gate)]
            self._order(lambda plane: plane.gate(gates))
        elif kind is Release:
            names = [n for e in effects if isinstance(e, Release) for n in e.names]
            linger_s = self._registry.policy.times.linger_s
            self._order(lambda plane: plane.release(names, linger_s))
        else:
            for effect in effects:
                self._carry_out_one(effect)

    def _carry_out_one(self, effect: Effect) -> None:
        match effect:
            case Pass() | Replace() | Bounce() | Opened():
                self._component.answer(effect)
            case Bind():
                self._bind(effect)
            case Inject():
                self._component.inject(effect)
            case Remember(session=name):
                session = self._registry.find(name)
                if session is not None:
                    self._journal.put(name, dump(session, self._clock()))
            case Ended(session=name, why=why):
                self._journal.forget(name)
                log.info("call ended", call=name, why=why.value)

    def _bind(self, bind: Bind) -> None:
        if self._plane is None:
            self._bind_failed(bind, PlaneGone("the forwarding plane is not connected"))
        else:
            self._spawn(self._bind_on(self._plane, bind))

    async def _bind_on(self, plane: PlaneClient, bind: Bind) -> None:
        try:
            await plane.bind(bind.specs)
        except PlaneError as error:
            self._bind_failed(bind, error)
        else:
            self._registry.bound(bind.session, bind.number, self._clock())
        self._carry_out()

    def _bind_failed(self, bind: Bind, error: PlaneError) -> None:
        taken = isinstance(error, PortTaken)
        log.warning("binding failed", call=bind.session, code=error.code, why=str(error))
        self._registry.unbound(bind.session, bind.number, taken, self._clock())

    def _order(self, order: Callable[[PlaneClient], Coroutine[object, object, object]]) -> None:
        """Send an order that needs no answer; what a lost plane misses, `reconcile` repairs."""
        if self._plane is not None:
            self._spawn(self._order_on(order(self._plane)))

    async def _order_on(self, order: Coroutine[object, object, object]) -> None:
        try:
            await order
        except PlaneGone:
            pass
        except PlaneError as error:
            log.warning("the plane refused an order", code=error.code, why=str(error))

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The plane

    async def _keep_plane(self) -> None:
        """Stay connected to the plane, and reconcile at each new meeting."""
        while True:
            lost = asyncio.Event()
            try:
                plane = await PlaneClient.connect(self._wiring.plane_socket, self._told, lost.set)
            except (OSError, PlaneError):
                await asyncio.sleep(PLANE_RETRY_S)
                continue
            try:
                await self._meet(plane)
                await lost.wait()
            except PlaneError as error:
                log.warning("forwarding plane does not answer", why=str(error))
            finally:
                self._plane = None
                await plane.close()
            log.warning("forwarding plane is gone; reconnecting", calls=len(self._registry))
            await asyncio.sleep(PLANE_RETRY_S)

    async def _meet(self, plane: PlaneClient) -> None:
        bindings = await plane.snapshot()
        self._plane = plane
        log.info("forwarding plane", engine=plane.engine, bindings=len(bindings))
        reconcile(self._registry, bindings, self._clock())
        self._carry_out()

    def _told(self, event: Event) -> None:
        """Something happened in the plane."""
        if event.name.startswith(probe.PREFIX):
            return
        match event:
            case Latched():
                what = "re-latched" if event.relatched else "latched"
                log.info(what, binding=event.name, side=event.side, source=str(event.source))
            case Rivalry():
                source = str(event.source)
                log.warning("rival source", binding=event.name, side=event.side, source=source)
        self._registry.told(event, self._clock())
        self._carry_out()

    # Time

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._registry.poll_timeout()
        if at is not None:
            delay = max(0.0, at - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._registry.expire(self._clock())
        self._carry_out()

    # Start and stop

    def _restore(self) -> None:
        """Take up the calls of an earlier life; one bad record costs that call only."""
        now = self._clock()
        for record in self._journal.records():
            try:
                self._registry.restore(load(record, self._registry, now), now)
            except ValueError as error:
                name = str(record.get("name", ""))
                log.warning("call is not taken up again", call=name, why=str(error))
                self._journal.forget(name)
        if len(self._registry):
            log.info("calls taken up again", calls=len(self._registry))

    async def _stop(self, admin: AdminServer) -> None:
        """Leave media as it is: the next life takes the calls up again."""
        if self._timer is not None:
            self._timer.cancel()
        await admin.close()
        await self._component.stop()
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._journal.close()

    # What the administrator asks

    def _commands(self) -> tuple[Command, ...]:
        call = Field("call", "The call's name", required=True)
        return (
            Command("status", "Status", self._status),
            Command("calls", "Calls", self._calls),
            Command("terminate", "End a call", self._terminate, (call,), changes=True),
        )

    async def _status(self, _: Mapping[str, object]) -> snapshots.StatusSnapshot:
        bindings = await self._snapshot()
        plane = self._plane
        return snapshots.StatusSnapshot(
            version=__version__,
            ready=self._link_up and plane is not None,
            uptime_s=round(self._clock() - self._started_at, 3),
            link_up=self._link_up,
            journal_healthy=self._journal.healthy,
            calls=len(self._registry),
            tasks=len(asyncio.all_tasks()),
            plane=snapshots.PlaneSnapshot(
                up=plane is not None,
                engine=None if plane is None else plane.engine,
                bindings=sum(not b.draining for b in bindings),
                draining=sum(b.draining for b in bindings),
            ),
            ports=snapshots.ports(self._registry.pool.counts),
        )

    async def _calls(self, _: Mapping[str, object]) -> snapshots.CallsSnapshot:
        bindings = {b.name: b for b in await self._snapshot()}
        return snapshots.calls(self._registry, bindings, self._clock())

    async def _terminate(self, request: Mapping[str, object]) -> snapshots.CallsSnapshot:
        name = request.get("call")
        if not isinstance(name, str) or not self._registry.terminate(name, self._clock()):
            raise ValueError("no such call; `jingle-hnt calls` lists them by name")
        self._carry_out()
        return await self._calls({})

    async def _snapshot(self) -> list[BindingSnapshot]:
        if self._plane is None:
            return []
        try:
            return await self._plane.snapshot()
        except PlaneError:
            return []


def wire(settings: Settings) -> Wiring:
    """Small values out of the settings. Raises ConfigurationError where the secret is missing."""
    relay, state = settings.relay, settings.state
    interfaces = [
        Interface(i.address, i.advertise or i.address, i.port_offset, i.networks)
        for i in relay.interfaces
    ]
    host, port = settings.xmpp.endpoint
    component = ComponentSettings(
        jid=settings.xmpp.component,
        secret=settings.secret,
        domains=settings.xmpp.domains,
        host=str(host),
        port=port,
        ping_s=settings.xmpp.ping_s,
        channels=settings.relay_nodes.enabled,
        administrators=administrators(settings),
    )
    own = {ip for interface in interfaces for ip in (interface.bound, interface.advertised)}
    peers = PeerPolicy(
        own=tuple(sorted(own, key=str)),
        allowed=relay.allow_networks,
        proxies=relay.proxies,
        widen_v4=relay.widen_v4,
        widen_v6=relay.widen_v6,
        early_stream=relay.early_stream,
        unknown=UnknownSource(relay.unknown_source),
    )
    policy = SessionPolicy(
        domains=frozenset(settings.xmpp.domains),
        peers=peers,
        gate=GatePolicy(settings.gate.policy),
        early_media=EarlyMedia(settings.gate.early_media),
        exhausted=Fallback(relay.exhausted),
        already_relayed=AlreadyRelayed(relay.already_relayed),
        ice=IceMode(settings.ice.mode),
        times=Times(
            **settings.times.model_dump(),
            ice_idle_s=settings.ice.idle_s,
            linger_s=relay.quarantine_s,
        ),
        channels=_channels(settings.relay_nodes),
    )
    pool = PortPool(interfaces, *relay.port_range, secrets.randbelow)
    return Wiring(component, policy, pool, state.plane_socket, state.admin_socket, state.journal)


def administrators(settings: Settings) -> tuple[JID, ...]:
    """Who may use ad-hoc commands."""
    return tuple(JID.of(jid) for jid in settings.admin.jids)


def _channels(nodes: RelayNodes) -> ChannelPolicy | None:
    if not nodes.enabled:
        return None
    return ChannelPolicy(nodes.per_user, nodes.per_minute, nodes.expire_s)


def fresh_name() -> str:
    """A name for a session: unique over restarts, and no hint of who is in it."""
    return "s" + secrets.token_hex(8)
