"""Anchors the media of one call on the relay: leases of ports, and bindings of them in the plane.

The call decides *when*; this decides *where*, and `latches` on what evidence. Orders for bindings
that the plane has not yet made are kept back and given when it has.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.budgets import MediaBudgets
from jingle_hnt.call.effects import Bind, Effect, Out, Release
from jingle_hnt.call.endpoint import Endpoint
from jingle_hnt.call.latches import Latches
from jingle_hnt.call.leg import Leg
from jingle_hnt.errors import BudgetExceeded, NoPorts
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import COMPONENTS, Candidate
from jingle_hnt.relay.binding import Arm, BindingSpec, Gate
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.policy import PeerPolicy
from jingle_hnt.relay.ports import Lease, PlaneId, PortPool

BIND_ATTEMPTS = 8
"""How often other ports are tried while foreign processes hold the leased ones."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A `Bind` that the plane has not answered, and the `orders` that went with it.

    `asked` is the number under which the call waits for it, whatever ports were tried since.
    """

    allocations: Sequence[Allocation]
    orders: frozenset[Arm | Gate]
    asked: int
    attempts: int = 1


class Anchor:
    """The relay's part in one call. `out` takes the effects, in order; `drawn` draws secrets.

    With `one_interface` set, both legs get ports of the same address. `plane` carries all of the
    call; it is None until something is leased.
    """

    def __init__(
        self,
        name: str,
        parties: tuple[Endpoint, Endpoint],
        planes: Planes,
        peers: PeerPolicy,
        out: Out[Effect],
        drawn: Callable[[], str],
        budgets: MediaBudgets,
    ) -> None:
        self.name = name
        self.drawn = drawn
        self.parties = parties
        self.budgets = budgets
        self._planes = planes
        self.plane: PlaneId | None = None
        self.latches = Latches(parties, peers, out)
        self.out = out
        self.made = 0
        self.exceeded: Counter[str] = Counter()
        self.one_interface = False
        self._pending: dict[int, Pending] = {}

    @property
    def _pool(self) -> PortPool:
        """The ports of the call's plane; it is chosen at the first lease."""
        if self.plane is None:
            self.plane = self._planes.choose()
        return self._planes[self.plane]

    def allocate(
        self,
        leg: Leg,
        candidates: Sequence[Candidate],
        now: float,
        payer: Leg | None = None,
    ) -> Allocation:
        """Lease ports for a content of this leg's, which signals these candidates.

        They are charged to the user of `payer`, or of this leg.

        Each leg gets an address of the family that it can use: that of its candidates, else that of
        its XMPP connection, else the other leg's (RFC 7362 section 4); and of the interface that
        faces the network where it is. Of several families that it can use it gets the one whose
        sources can be proven best. Raises NoPorts, and PortsExceeded of the payer's budget.
        """
        payer = leg if payer is None else payer
        account = self.parties[payer].account
        self.budgets.demand_ports(account)
        owners = self.budgets.owners(account)
        signalled = [c.address.ip for c in candidates]
        near = self._best_version(leg, [ip.version for ip in signalled])
        far = self._best_version(leg.other, []) or near
        first = self._pool.lease_towards(
            near, self.parties[leg].addresses or signalled, now, owners
        )
        try:
            if self.one_interface:
                second = self._pool.lease(first.interface, now, owners)
            else:
                second = self._pool.lease_towards(
                    far, self.parties[leg.other].addresses, now, owners
                )
        except NoPorts:
            self._pool.abandon(first)
            raise
        self.made += 1
        leases = (first, second) if leg is Leg.INITIATOR else (second, first)
        return Allocation(f"{self.name}.{self.made}", leases, payer=payer)

    def note_exceeded(self, error: Exception) -> None:
        """Count a refusal by a budget, whether the session ends or goes on without the content."""
        if isinstance(error, BudgetExceeded):
            self.exceeded[error.budget] += 1

    def charge(self, allocations: Iterable[Allocation]) -> None:
        """Charge the leases of a session from the journal to the user who asked for them."""
        for allocation in allocations:
            owners = self.budgets.owners(self.parties[allocation.payer].account)
            for lease in allocation.leases:
                self._pool.charge(lease, owners)

    def bind(
        self, allocations: Sequence[Allocation], asked: int | None = None, attempts: int = 1
    ) -> int:
        """Ask the plane for these bindings, all or none; returns the number of the request.

        `asked` is that of the request which this one repeats with other ports.
        """
        number = self.made
        specs = tuple(
            BindingSpec(a.binding(c), (a.leases[0].bound(c), a.leases[1].bound(c)))
            for a in allocations
            for c in COMPONENTS
        )
        orders = tuple(order for a in allocations for order in a.orders())
        first = number if asked is None else asked
        self._pending[number] = Pending(allocations, frozenset(orders), first, attempts)
        self.out.append(Bind(self.name, number, specs, orders, self._pool.plane))
        return number

    @property
    def is_waiting(self) -> bool:
        """Return whether the plane has yet to answer a `Bind`."""
        return bool(self._pending)

    def bound(self, number: int) -> int:
        """The plane has made the bindings: give it the orders that came up meanwhile.

        Unwanted bindings are released instead. Returns the number of the call's request.
        """
        pending = self._pending.pop(number, None)
        if pending is None:
            return number
        for allocation in pending.allocations:
            allocation.bound = allocation.was_bound = True
            if not allocation.unwanted:
                self.out.extend(o for o in allocation.orders() if o not in pending.orders)
        self.retire(a for a in pending.allocations if a.unwanted)
        return pending.asked

    def retry(self, number: int, taken: Collection[TransportAddress], now: float) -> bool:
        """Ask again with other ports, because another process has taken these.

        Returns False if no ports are left, after enough attempts, or if parties were told these.
        """
        pending = self._pending.get(number)
        if pending is None or not taken or pending.attempts >= BIND_ATTEMPTS:
            return False
        if any(allocation.was_bound for allocation in pending.allocations):
            return False
        try:
            for allocation in pending.allocations:
                first, second = allocation.leases
                first = self._unless_taken(first, taken, now)
                allocation.leases = first, second
                allocation.leases = first, self._unless_taken(second, taken, now)
        except NoPorts:
            return False
        del self._pending[number]
        self.made += 1
        self.bind(pending.allocations, pending.asked, pending.attempts + 1)
        return True

    def abandon(self, number: int) -> tuple[int, Sequence[Allocation]]:
        """Free the leases of bindings that the plane could not make.

        Returns the number of the call's request, and the lost allocations.
        """
        pending = self._pending.pop(number, None)
        if pending is None:
            return number, ()
        self.abandon_all(pending.allocations)
        return pending.asked, pending.allocations

    def abandon_all(self, allocations: Iterable[Allocation]) -> None:
        """Give back leases that were never bound."""
        for allocation in allocations:
            for lease in allocation.leases:
                self._pool.abandon(lease)

    def retire(self, allocations: Iterable[Allocation]) -> None:
        """Release bindings; those still being made are released when they are."""
        ready = []
        for allocation in allocations:
            allocation.unwanted = True
            if allocation.bound:
                ready.append(allocation)
        for allocation in ready:
            allocation.bound = allocation.was_bound = False
            for lease in allocation.leases:
                self._pool.retire(lease)
        if ready:
            self.out.append(Release(tuple(n for a in ready for n in a.bindings), self._pool.plane))

    def rebind(self, allocations: Sequence[Allocation]) -> None:
        """Make the same bindings again on a new plane, learned sources included.

        The plane reports silence, and reports that a source is heard only after silence. So a
        learned source counts as heard until the plane reports its silence.
        """
        for allocation in allocations:
            allocation.bound = False
            for pinhole in allocation.pinholes.values():
                if pinhole.learned is not None:
                    pinhole.lively, pinhole.quiet_since = True, None
        self.made += 1
        self.bind(allocations)

    def waits_for(self, number: int) -> bool:
        """Return whether a request to bind is not answered yet."""
        return number in self._pending

    def made_meanwhile(self, alive: Collection[str]) -> list[int]:
        """Return the requests to bind that a plane has carried out and not answered."""
        return [
            number
            for number, pending in self._pending.items()
            if pending.allocations
            and all(name in alive for a in pending.allocations for name in a.bindings)
        ]

    def unanswered(self, number: int) -> bool:
        """The plane went away before it answered; tells whether nobody needs to be told.

        What it was to make again is made by the next one, when it is met.
        """
        pending = self._pending.get(number)
        if pending is None or not all(a.was_bound for a in pending.allocations):
            return False
        del self._pending[number]
        for allocation in pending.allocations:
            allocation.bound = True
        self.retire([a for a in pending.allocations if a.unwanted])
        return True

    def let_go(self, allocations: Collection[Allocation]) -> None:
        """Forget allocations that the plane has released; their ports are draining."""
        for allocation in allocations:
            allocation.bound = allocation.was_bound = False
            for lease in allocation.leases:
                self._pool.retire(lease)

    def _best_version(self, leg: Leg, offered: Sequence[int]) -> int | None:
        """Return the IP version to advertise to this leg; None if any will do."""
        party = self.parties[leg]
        ours = {interface.bound.version for interface in self._pool.interfaces}
        known = [ip.version for ip in (party.ip, *party.seen) if ip is not None]
        usable = [version for version in offered if version in ours] or offered
        wanted = [version for version in known if version in usable or not usable]
        return next(iter((*wanted, *usable)), None)

    def _unless_taken(self, lease: Lease, taken: Collection[TransportAddress], now: float) -> Lease:
        """Return this lease, or another in its place if its ports are taken."""
        if not any(lease.bound(component) in taken for component in COMPONENTS):
            return lease
        owners = self._pool.owners(lease)
        self._pool.shun(lease, now)
        return self._pool.lease(lease.interface, now, owners)
