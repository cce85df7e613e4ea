"""Leases of media ports: pairs, random, quarantined after use, reserved before promised.

The unit of a lease is a pair of ports of one relay interface, RTP on the even port and RTCP on the
next (RFC 3550 section 11). A pair is free, leased, quarantined (released, but its sockets still
drain a stale sender) or shunned (another process holds it).
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import COMPONENTS

SHUN_S = 600.0
"""How long a pair that another process holds is left alone before it is tried again."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of the relay: where sockets are bound, and what parties are told instead."""

    bound: IPAddress
    advertised: IPAddress

    @property
    def version(self) -> int:
        return self.bound.version


@dataclass(frozen=True, slots=True)
class Lease:
    """A pair of ports: `port` is even and takes component 1, the next takes component 2."""

    interface: Interface
    port: int

    def bound(self, component: int) -> TransportAddress:
        """Where the relay listens for this component (1 or 2)."""
        return TransportAddress(self.interface.bound, self.port + component - 1)

    def advertised(self, component: int) -> TransportAddress:
        """What parties are told for this component (1 or 2)."""
        return TransportAddress(self.interface.advertised, self.port + component - 1)


@dataclass(frozen=True, slots=True)
class PortCounts:
    """Ports by state, counted singly."""

    free: int
    leased: int
    quarantined: int
    shunned: int


class PortPool:
    """All media ports of the relay.

    `first` and `last` bound the range, both inclusive; `choose(n)` returns a random number below n,
    so that who watches one call cannot guess the next call's ports (RFC 6056).
    """

    def __init__(
        self, interfaces: Sequence[Interface], first: int, last: int, choose: Callable[[int], int]
    ) -> None:
        even = range(first + first % 2, last, 2)
        self._choose = choose
        self.interfaces = tuple(interfaces)
        self._free = {i: _Bag(Lease(i, port) for port in even) for i in self.interfaces}
        self._by_ip = {i.bound: i for i in self.interfaces}
        self._held: dict[Lease, set[int]] = {}
        self._retired: set[Lease] = set()
        self._shunned: deque[tuple[float, Lease]] = deque()

    def interface(self, version: int | None) -> Interface:
        """The interface of this IP version; the first one where there is none or no preference."""
        return next((i for i in self.interfaces if i.version == version), self.interfaces[0])

    def lease(self, interface: Interface, now: float) -> Lease:
        """A random free pair of this interface. Raises NoPorts where none is left."""
        self._reinstate(now)
        bag = self._free[interface]
        if not bag:
            raise NoPorts(f"no free media ports on {interface.bound}; widen relay.ports")
        lease = bag.take(self._choose(len(bag)))
        self._held[lease] = {lease.bound(c).port for c in COMPONENTS}
        return lease

    def abandon(self, lease: Lease) -> None:
        """Give back a pair that was never bound."""
        if self._held.pop(lease, None) is not None:
            self._free[lease.interface].put(lease)

    def shun(self, lease: Lease, now: float) -> None:
        """Leave a pair alone for a while: another process holds one of its ports."""
        if self._held.pop(lease, None) is not None:
            self._shunned.append((now + SHUN_S, lease))

    def retire(self, lease: Lease) -> None:
        """The pair's bindings are being released; it stays away until both ports are freed."""
        if lease in self._held:
            self._retired.add(lease)

    def freed(self, address: TransportAddress) -> None:
        """The plane has closed the socket of a bound address."""
        lease = self._lease_of(address)
        ports = self._held.get(lease) if lease is not None else None
        if lease is None or ports is None:
            return
        ports.discard(address.port)
        if not ports:
            del self._held[lease]
            self._retired.discard(lease)
            self._free[lease.interface].put(lease)

    def claim(self, address: TransportAddress) -> Lease | None:
        """Take up a pair that the plane already has bound; None for an address not in the pool."""
        lease = self._lease_of(address)
        if lease is None:
            return None
        if lease not in self._held:
            if not self._free[lease.interface].discard(lease):
                return None
            self._held[lease] = {lease.bound(c).port for c in COMPONENTS}
        return lease

    @property
    def draining(self) -> list[TransportAddress]:
        """The bound addresses whose sockets the plane has not yet closed after their release."""
        return [
            TransportAddress(lease.interface.bound, port)
            for lease in self._retired
            for port in sorted(self._held[lease])
        ]

    @property
    def counts(self) -> PortCounts:
        pair = len(COMPONENTS)
        return PortCounts(
            free=pair * sum(map(len, self._free.values())),
            leased=pair * (len(self._held) - len(self._retired)),
            quarantined=pair * len(self._retired),
            shunned=pair * len(self._shunned),
        )

    def _lease_of(self, address: TransportAddress) -> Lease | None:
        interface = self._by_ip.get(address.ip)
        return None if interface is None else Lease(interface, address.port - address.port % 2)

    def _reinstate(self, now: float) -> None:
        while self._shunned and self._shunned[0][0] <= now:
            _, lease = self._shunned.popleft()
            self._free[lease.interface].put(lease)


class _Bag:
    """Leases in no order; taking the n-th, putting and discarding cost the same at any size."""

    def __init__(self, leases: Iterable[Lease]) -> None:
        self._leases = list(leases)
        self._places = {lease: place for place, lease in enumerate(self._leases)}

    def __len__(self) -> int:
        return len(self._leases)

    def put(self, lease: Lease) -> None:
        self._places[lease] = len(self._leases)
        self._leases.append(lease)

    def take(self, place: int) -> Lease:
        lease, last = self._leases[place], self._leases.pop()
        if last is not lease:
            self._leases[place] = last
            self._places[last] = place
        del self._places[lease]
        return lease

    def discard(self, lease: Lease) -> bool:
        place = self._places.get(lease)
        if place is None:
            return False
        self.take(place)
        return True
