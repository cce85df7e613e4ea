"""The link to one plane: it is kept connected, met again after it was away, and given orders."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Release
from jingle_hnt.errors import PlaneError, PlaneGone, PlaneServed, PortTaken
from jingle_hnt.model.content import RTCP, RTP
from jingle_hnt.plane.table import PLANES, PlaneConnection
from jingle_hnt.relay.binding import (
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Event,
    Gate,
    Side,
)
from jingle_hnt.relay.evidence import UNTOLD
from jingle_hnt.relay.ports import PlaneId

log = structlog.get_logger(__name__)

WATCHED = "watch."
"""What the names of bindings begin with that listen on free ports; no call's does."""

SERVED_RETRY_S = 1.0
"""Pause between attempts to reach a plane that another signalling process orders about."""

PLANE_PATIENCE_S = 2.0
"""How long stanzas that need ports wait for a plane that is away; servers wait three seconds."""

PLANE_RETRY_S = 0.02
"""Pause between attempts to reach the plane: a local socket, and media waits behind it."""


class Host(Protocol):
    """The process that a link runs in."""

    @property
    def calls(self) -> Calls:
        """All calls."""

    def now(self) -> float:
        """Monotonic seconds."""

    def carry_out(self) -> None:
        """Carry out the effects of an input."""

    def met(self, link: "PlaneLink", bindings: list[BindingSnapshot]) -> None:
        """A plane is met, which has these bindings of calls."""

    def after_met(self) -> None:
        """The plane has reported all events up to the reconciliation."""

    def on_event(self, event: Event, plane: PlaneId) -> None:
        """Something happened in a plane."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run this beside everything else."""


class PlaneLink:
    """See the module's text. `fault` says why it is not connected, if that is known."""

    def __init__(self, plane: PlaneId, path: Path, host: Host) -> None:
        self.plane = plane
        self.fault = ""
        self.instance = ""
        self._path = path
        self._host = host
        self._connection: PlaneConnection | None = None
        self._met = asyncio.Event()
        host.calls.planes.away.add(plane)

    @property
    def is_met(self) -> bool:
        """Return whether what the plane has and what calls want were put together."""
        return self._connection is not None

    @property
    def engine(self) -> str | None:
        """The plane's engine; None while it is not connected."""
        return None if self._connection is None else self._connection.engine

    async def snapshot(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        """The bindings of these names, or all; None where the plane does not answer."""
        if self._connection is None:
            return None
        try:
            found = await self._connection.snapshot(names)
        except PlaneError:
            return None
        return [b for b in found if not b.name.startswith(WATCHED)]

    # Orders

    def bind(self, bind: Bind) -> None:
        """Have bindings made; the answer is an input to the calls."""
        if self._connection is None:
            self._host.spawn(self._bind_when_met(bind))
        else:
            self._host.spawn(self._bind_on(self._connection, bind))

    def order(
        self, orders: Sequence[Arm | Gate | Release], quarantine_s: float
    ) -> asyncio.Task[None] | None:
        """Send orders of one kind, which need no answer, in one message; None while the plane is
        away: what it misses, `reconcile` repairs."""
        plane = self._connection
        if plane is None:
            return None
        arms = [order for order in orders if isinstance(order, Arm)]
        gates = [order for order in orders if isinstance(order, Gate)]
        names = [n for order in orders if isinstance(order, Release) for n in order.names]
        if arms:
            return self._host.spawn(self._order_on(plane.arm(arms)))
        if gates:
            return self._host.spawn(self._order_on(plane.gate(gates)))
        return self._host.spawn(self._order_on(plane.release(names, quarantine_s)))

    async def _order_on(self, order: Coroutine[object, object, object]) -> None:
        try:
            await order
        except PlaneGone:
            pass
        except PlaneError as error:
            log.warning("the plane refused an order", code=error.code, why=str(error))

    async def _bind_when_met(self, bind: Bind) -> None:
        """A plane that is away for a moment refuses nobody: the stanza waits."""
        plane = await self._met_another(None)
        if plane is not None:
            await self._bind_on(plane, bind)
        else:
            self._bind_failed(bind, PlaneGone("the forwarding plane is not connected"))
            self._host.carry_out()

    async def _met_another(self, before: PlaneConnection | None) -> PlaneConnection | None:
        """The plane that is met next, if it is soon; what it has made by then is known."""
        if self._connection is before:
            self._met.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PLANE_PATIENCE_S):
                await self._met.wait()
        return self._connection if self._met.is_set() else None

    async def _bind_on(self, plane: PlaneConnection, bind: Bind) -> None:
        calls = self._host.calls
        try:
            await plane.bind(bind.specs, bind.orders)
        except PlaneGone as error:
            if not calls.makes_again(bind.session, bind.number):
                again = await self._met_another(plane)
                if not calls.waits_for(bind.session, bind.number):
                    return  # it was made all the same, or is not wanted any more
                if again is not None:
                    await self._bind_on(again, bind)
                    return
                self._bind_failed(bind, error)
        except PlaneError as error:
            self._bind_failed(bind, error)
        else:
            calls.bound(bind.session, bind.number, self._host.now())
        self._host.carry_out()

    def _bind_failed(self, bind: Bind, error: PlaneError) -> None:
        taken = bind.addresses(error.address) if isinstance(error, PortTaken) else ()
        log.warning("binding failed", call=bind.session, code=error.code, why=str(error))
        if isinstance(error, PlaneGone):
            self._host.calls.unanswered(bind.session, bind.number, self._host.now())
        else:
            self._host.calls.unbound(bind.session, bind.number, taken, self._host.now())

    # The connection

    async def keep(self) -> None:
        """Stay connected, and meet the plane each time."""
        connection = PLANES[self.plane]
        planes = self._host.calls.planes
        while True:
            lost = asyncio.Event()
            try:
                plane = await connection.connect(self._path, self._told, lost.set)
            except (OSError, PlaneError):
                self.fault = ""
                await asyncio.sleep(PLANE_RETRY_S)
                continue
            plane.hold_events()
            try:
                await plane.serve()
                self.fault = ""
                await self._meet(plane)
                await lost.wait()
            except PlaneServed as error:
                if not self.fault:
                    log.error("forwarding plane refuses the connection", why=str(error))
                self.fault = str(error)
                await plane.close()
                await asyncio.sleep(SERVED_RETRY_S)
                continue
            except PlaneError as error:
                log.warning("forwarding plane does not answer", why=str(error))
            finally:
                self._connection = None
                planes.away.add(self.plane)
                self._met.clear()
                await plane.close()
            log.warning("forwarding plane is gone; reconnecting", calls=len(self._host.calls))
            await asyncio.sleep(PLANE_RETRY_S)

    async def _meet(self, plane: PlaneConnection) -> None:
        bindings = await plane.snapshot()
        watched = [b.name for b in bindings if b.name.startswith(WATCHED)]
        await plane.release(watched, 0.0)
        self._connection, self.instance = plane, plane.instance
        self._host.calls.planes.away.discard(self.plane)
        bindings = [b for b in bindings if not b.name.startswith(WATCHED)]
        log.info("connected to the forwarding plane", engine=plane.engine, bindings=len(bindings))
        self._host.met(self, bindings)
        plane.tell_events()
        self._met.set()
        self._host.after_met()
        self._host.spawn(self._watch(plane))

    async def _watch(self, plane: PlaneConnection) -> None:
        """Hold some free ports open, to hear who sends where nobody was told (`relay.barring`)."""
        sides: tuple[Side, Side] = (0, 1)
        for lease in self._host.calls.planes[self.plane].watch():
            pair = lease.bound(RTP), lease.bound(RTCP)
            spec = BindingSpec(f"{WATCHED}{lease.interface.bound}.{lease.port}", pair)
            try:
                await plane.bind([spec], [Arm(spec.name, side, 0, UNTOLD) for side in sides])
            except PlaneError as error:
                log.debug("a free port cannot be watched", code=error.code, why=str(error))

    def _told(self, event: Event) -> None:
        self._host.on_event(event, self.plane)
