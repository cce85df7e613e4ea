"""All calls of the relay, of every front, with the inputs of planes and of time.

The driver gives inputs with the present time, then drains `effects` and carries them out, in order
and before the next input. `poll_timeout` says how long it may wait. A front opens its calls here,
and learns of events through their owners.
"""

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

from jingle_hnt.call.allocation import Allocation, Pinhole
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.budgets import MediaBudgets
from jingle_hnt.call.call import Call
from jingle_hnt.call.effects import Effect
from jingle_hnt.call.endpoint import Endpoint
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import COMPONENTS
from jingle_hnt.relay.binding import BindingName, Drained, Event, Side
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import LOCAL, PlaneId

SPARE_TIMERS = 256
"""Timers of calls that are over that may wait, beside as many as there are calls."""

LATE_S, PATIENCE_S = 1.0, 5.0
"""A process that is woken so much too late stood still (suspended, SIGSTOP); then no call is ended
for so long, in which the plane and the parties can say that they are there."""


class Owner(Protocol):
    """A front's record of one call. `Calls` reports to it what happens to the call."""

    @property
    def call(self) -> Call:
        """The call."""

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to be done, and the call may be forgotten."""

    @property
    def wake_at(self) -> float | None:
        """Return when `on_time` is to be called next; None if it is not needed."""

    def on_bound(self, number: int) -> None:
        """The plane has made the bindings of this number (see `Anchor.bind`)."""

    def on_unbound(self, number: int, lost: Sequence[Allocation], plane_is_gone: bool) -> None:
        """The plane could not make these bindings; the call does not have them any more."""

    def on_emptied(self) -> None:
        """Reconciliation shows that the call was over before."""

    def on_time(self, now: float) -> None:
        """End the call if that is due, and do what else is due."""

    def on_settled(self, now: float) -> None:
        """An input is complete. A call that is over is forgotten next."""

    def remember(self) -> None:
        """Have the call written to the journal."""


class Calls:
    """See the module's text.

    `names` returns a fresh name for a call at each call: 1 to 40 characters out of
    ``[A-Za-z0-9]``, beginning with a letter, unique over restarts. `drawn` returns
    `call.ice.DRAWN` hexadecimal digits that nobody can foresee.
    """

    def __init__(self, planes: Planes, names: Callable[[], str], drawn: Callable[[], str]) -> None:
        self.planes = planes
        self.names = names
        self.drawn = drawn
        self.out: list[Effect] = []
        self._owners: dict[str, Owner] = {}
        self._due: dict[str, float] = {}
        self._timers: list[tuple[float, str]] = []
        self._patient_until = float("-inf")

    def __len__(self) -> int:
        return len(self._owners)

    def __iter__(self) -> Iterator[Owner]:
        return iter(list(self._owners.values()))

    def find(self, name: str) -> Owner | None:
        """Return the owner of the call of this name."""
        return self._owners.get(name)

    def effects(self) -> list[Effect]:
        """Take the effects to carry out, in order."""
        taken = self.out.copy()
        self.out.clear()
        return taken

    # Inputs: the fronts

    def open(
        self,
        name: str,
        parties: tuple[Endpoint, Endpoint],
        policy: CallPolicy,
        budgets: MediaBudgets,
        now: float,
    ) -> Call:
        """Return a new call between these two; `enter` makes it known."""
        anchor = Anchor(name, parties, self.planes, policy.peers, self.out, self.drawn, budgets)
        return Call(anchor, policy, now)

    def enter(self, owner: Owner) -> None:
        """Add a call."""
        self._owners[owner.call.name] = owner

    def settle(self, owner: Owner, now: float, changed: bool = True) -> None:
        """After each input: forget a call that is over, else write its record and set its timer.

        What the plane tells of who is heard changes little, and it tells that again when it is met.
        """
        if changed:
            owner.remember()
        owner.on_settled(now)
        name = owner.call.name
        if owner.is_over:
            self._owners.pop(name, None)
            self._due.pop(name, None)
            if len(self._timers) > SPARE_TIMERS + 2 * len(self._owners):
                self._forget_timers()
        elif (at := owner.wake_at) is not None and at < self._due.get(name, float("inf")):
            self._due[name] = at
            heapq.heappush(self._timers, (at, name))

    # Inputs: the plane

    def bound(self, name: str, number: int, now: float) -> None:
        """The plane has made the bindings of a `Bind` effect."""
        owner = self.find(name)
        if owner is not None:
            owner.on_bound(owner.call.anchor.bound(number))
            self.settle(owner, now)

    def unbound(
        self, name: str, number: int, taken: Collection[TransportAddress], now: float
    ) -> None:
        """The plane could not make the bindings of a `Bind` effect.

        `taken` are addresses of it that another process holds; none where it failed otherwise.
        """
        owner = self.find(name)
        if owner is not None:
            if not owner.call.anchor.retry(number, taken, now):
                asked, lost = owner.call.anchor.abandon(number)
                owner.on_unbound(asked, lost, plane_is_gone=False)
            self.settle(owner, now)

    def makes_again(self, name: str, number: int) -> bool:
        """Return whether the bindings of an unanswered `Bind` are made again on the next plane.

        A call that had them before has them still.
        """
        owner = self.find(name)
        return owner is not None and owner.call.anchor.unanswered(number)

    def waits_for(self, name: str, number: int) -> bool:
        """Return whether a call still waits for the bindings of a `Bind`."""
        owner = self.find(name)
        return owner is not None and owner.call.anchor.waits_for(number)

    def unanswered(self, name: str, number: int, now: float) -> None:
        """The plane went away before it answered a `Bind` effect: tell its owner."""
        owner = self.find(name)
        if owner is not None:
            if not owner.call.anchor.unanswered(number):
                asked, lost = owner.call.anchor.abandon(number)
                owner.on_unbound(asked, lost, plane_is_gone=True)
            self.settle(owner, now)

    def on_event(self, event: Event, now: float, plane: PlaneId = LOCAL) -> None:
        """Apply a plane's event of a binding."""
        if isinstance(event, Drained):
            for pinhole in event.pinholes:
                self.planes[plane].freed(pinhole.bound)
            owner = self.find(event.name.partition(".")[0])
            if owner is not None and owner.call.negotiation.past.drained(event):
                owner.remember()
            return
        found = self.at(event.name, plane)
        if found is not None:
            owner, allocation, component = found
            if owner.call.on_event(allocation, component, event, now):
                owner.remember()
            self.settle(owner, now, changed=False)

    def plane_of(self, name: BindingName) -> PlaneId:
        """The plane that an order for this binding goes to; of a call that is over, any will do."""
        owner = self.find(name.partition(".")[0])
        return LOCAL if owner is None else owner.call.anchor.plane or LOCAL

    def at(
        self, name: BindingName, plane: PlaneId | None = None
    ) -> tuple[Owner, Allocation, int] | None:
        """Return the owner, allocation and component of a binding of this plane, or of any."""
        owner = self.find(name.partition(".")[0])
        if owner is None:
            return None
        for allocation in owner.call.allocations:
            if plane not in (None, allocation.plane):
                continue
            for component in COMPONENTS:
                if allocation.binding(component) == name:
                    return owner, allocation, component
        return None

    def pinhole(self, name: BindingName, side: Side) -> Pinhole | None:
        """Return one side of a binding; None if no call has it."""
        found = self.at(name)
        if found is None:
            return None
        _, allocation, component = found
        return allocation.pinholes[component, Leg(side)]

    # Inputs: time

    def poll_timeout(self) -> float | None:
        """Return when `expire` is to be called next; None if no call waits for a time."""
        return max(self._timers[0][0], self._patient_until) if self._timers else None

    def expire(self, now: float) -> None:
        """End calls that have reached their deadline.

        A late caller has stood still, and events of that time are still to come. Then nothing ends
        before they could come.
        """
        at = self.poll_timeout()
        if at is not None and now - at > LATE_S:
            self._patient_until = now + PATIENCE_S
        if now < self._patient_until:
            return
        while self._timers and self._timers[0][0] <= now:
            at, name = heapq.heappop(self._timers)
            owner = self.find(name)
            if owner is not None and self._due.get(name) == at:
                del self._due[name]
                owner.on_time(now)
                self.settle(owner, now)

    def _forget_timers(self) -> None:
        """Drop the timers of calls that are over: that of a call with media is a day ahead."""
        self._timers = [(at, name) for name, at in self._due.items()]
        heapq.heapify(self._timers)
