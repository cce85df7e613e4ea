"""Leases of media ports: pairs, random, quarantined after use, reserved before promised.

Pairs that were given back lately are leased last: who still sends to them disturbs nobody.

The unit of a lease is a pair of ports of one relay interface, RTP on the even port and RTCP on the
next (RFC 3550 section 11). A pair is free, leased, quarantined (released, but its sockets still
drain a stale sender) or shunned (another process holds it). Leased and quarantined pairs are
charged to their owners.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import COMPONENTS
from jingle_hnt.relay.interfaces import Interface, facing

PlaneId = str

LOCAL: PlaneId = ""
"""The plane beside us, which the same supervisor keeps alive."""

Owner = tuple[str, str]
"""Who is charged for ports: a kind, such as ``user``, and a name."""

SHUN_S = 600.0
"""How long a pair that another process holds is left alone before it is tried again."""


WATCHED, WATCHED_IN = 8, 64
"""Pairs of an interface that are held open as listeners, at most, and out of how many one is."""


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """A pair of ports of a plane: `port` is even and takes component 1, the next component 2.

    Leases are the same where their bound ports are, whatever parties were told of them.
    """

    interface: Interface
    port: int
    plane: PlaneId = LOCAL

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lease):
            return False
        mine = self.port, self.interface.bound, self.plane
        return mine == (other.port, other.interface.bound, other.plane)

    def __hash__(self) -> int:
        return hash(self.port)

    def bound(self, component: int) -> TransportAddress:
        """Where the relay listens for this component (1 or 2)."""
        return TransportAddress(self.interface.bound, self.port + component - 1)

    def advertised(self, component: int) -> TransportAddress:
        """What parties are told for this component (1 or 2)."""
        return self.interface.told(self.port + component - 1)


@dataclass(frozen=True, slots=True)
class PortCounts:
    """Ports by state, counted singly."""

    free: int
    leased: int
    quarantined: int
    shunned: int


class PortPool:
    """All media ports of one plane.

    `first` and `last` bound the range, both inclusive; `choose(n)` returns a random number below n,
    so that who watches one call cannot guess the next call's ports (RFC 6056). Interfaces that bind
    the same address, and tell different parties different things of it, share its ports. `size` is
    how many ports there are in all, `used` how many each owner has, leased or quarantined.
    """

    def __init__(
        self,
        interfaces: Sequence[Interface],
        first: int,
        last: int,
        choose: Callable[[int], int],
        plane: PlaneId = LOCAL,
    ) -> None:
        even = range(first + first % 2, last, 2)
        self.plane = plane
        self._choose = choose
        self.interfaces = tuple(interfaces)
        self._free = {interface.bound: _Bag(even) for interface in self.interfaces}
        self.size = len(COMPONENTS) * len(even) * len(self._free)
        self.used: Counter[Owner] = Counter()
        self._owners: dict[Lease, tuple[Owner, ...]] = {}
        self._held: dict[Lease, set[int]] = {}
        self._retired: set[Lease] = set()
        self._watched: list[Lease] | None = None
        self._shunned: deque[tuple[float, Lease]] = deque()

    def readvertise(self, interfaces: Iterable[Interface]) -> None:
        """From now on lease with what these interfaces say; they are bound where those so far are.

        Pairs that are leased keep what their parties were told.
        """
        changed = tuple(interfaces)
        if {i.bound for i in changed} != self._free.keys():
            raise ValueError("other addresses can only be bound after a restart")
        self.interfaces = changed

    @property
    def scarcest(self) -> tuple[IPAddress, int]:
        """The bound address that has the fewest free ports, and how many, counted singly: a party
        of its IP version gets none of another's."""
        bound, bag = min(self._free.items(), key=lambda item: item[1].free)
        return bound, len(COMPONENTS) * bag.free

    def is_scarce(self, part: int) -> bool:
        """Whether less than one `part`-th of the pairs of an address are free."""
        each = self.size // (len(COMPONENTS) * len(self._free))
        return any(bag.free * part < each for bag in self._free.values())

    def lease_towards(
        self,
        version: int | None,
        addresses: Sequence[IPAddress],
        now: float,
        owners: tuple[Owner, ...] = (),
    ) -> Lease:
        """A random free pair of the interface that faces a party, which uses this IP version (4 or
        6) and has, or may have, these addresses. Raises NoPorts where none is left."""
        suited = facing(self.interfaces, version, addresses)
        return self.lease(max(suited, key=lambda i: self._free[i.bound].free), now, owners)

    def lease(self, interface: Interface, now: float, owners: tuple[Owner, ...] = ()) -> Lease:
        """A random free pair of this interface, charged to each of these owners until its sockets
        are closed. Raises NoPorts where none is left."""
        if self._shunned:
            self.reinstate(now)
        bag = self._free[interface.bound]
        if not bag:
            raise NoPorts(f"no free media ports on {interface.bound}; widen relay.ports")
        lease = Lease(interface, bag.take(self._choose(len(bag))), self.plane)
        self._held[lease] = {lease.bound(c).port for c in COMPONENTS}
        self.charge(lease, owners)
        return lease

    def charge(self, lease: Lease, owners: tuple[Owner, ...]) -> None:
        """Charge a pair that is leased to these owners, and to no other any more."""
        if lease in self._owners:
            self._discharge(lease)
        if owners and lease in self._held:
            self._owners[lease] = owners
            for owner in owners:
                self.used[owner] += len(COMPONENTS)

    def owners(self, lease: Lease) -> tuple[Owner, ...]:
        """Who is charged for a pair."""
        return self._owners.get(lease, ())

    def watch(self) -> tuple[Lease, ...]:
        """Pairs that no call ever gets, to hear who sends where nobody was told (`barring`).

        They are chosen at the first call: one in `WATCHED_IN` of each interface's, and at most
        `WATCHED` of them, so a small range has none.
        """
        if self._watched is None:
            self._watched = []
            for interface in self.interfaces:
                bag = self._free[interface.bound]
                for _ in range(min(WATCHED, len(bag) // WATCHED_IN)):
                    port = bag.take(self._choose(len(bag)))
                    self._watched.append(Lease(interface, port, self.plane))
        return tuple(self._watched)

    def some_free(self, count: int) -> list[tuple[IPAddress, int]]:
        """Some free pairs, by address and first port, chosen at random; they stay free."""
        bags = [(bound, bag) for bound, bag in self._free.items() if len(bag)]
        chosen = [bags[self._choose(len(bags))] for _ in range(count if bags else 0)]
        return [(bound, bag[self._choose(len(bag))]) for bound, bag in chosen]

    def abandon(self, lease: Lease) -> None:
        """Give back a pair that was never bound; one that drains is freed when it has."""
        if lease not in self._retired and self._held.pop(lease, None) is not None:
            self._discharge(lease)
            self._put(lease)

    def shun(self, lease: Lease, now: float) -> None:
        """Leave a pair alone for a while: another process holds one of its ports."""
        if self._held.pop(lease, None) is not None:
            self._discharge(lease)
            self._retired.discard(lease)
            self._shunned.append((now + SHUN_S, lease))

    def retire(self, lease: Lease) -> None:
        """The pair's bindings are being released; it stays away until both ports are freed."""
        if lease in self._held:
            self._retired.add(lease)

    def freed(self, address: TransportAddress) -> None:
        """The plane has closed the socket of a bound address."""
        lease = self.lease_of(address)
        ports = self._held.get(lease) if lease is not None else None
        if lease is None or ports is None:
            return
        ports.discard(address.port)
        if not ports:
            del self._held[lease]
            self._retired.discard(lease)
            self._discharge(lease)
            self._put(lease)

    def claim(
        self, address: TransportAddress, told: TransportAddress | None = None
    ) -> Lease | None:
        """Take up the pair that a record says is its session's.

        None for an address that is not in the pool, and for a pair that somebody else has: a lease
        has one owner. `told` is what the party was told of this address, where that is known.
        """
        lease = self.lease_of(address, told)
        if lease is None or not self._free[address.ip].discard(lease.port):
            return None
        self._held[lease] = {lease.bound(c).port for c in COMPONENTS}
        return lease

    def quarantine(self, address: TransportAddress) -> None:
        """Keep away from everybody a pair of which the plane has an address bound, for no call."""
        lease = self.lease_of(address)
        if lease is None or lease in self._held:
            return  # not ours, or a call's that is told so when it binds
        if self._free[address.ip].discard(lease.port):
            self._held[lease] = {lease.bound(c).port for c in COMPONENTS}
            self._retired.add(lease)

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
            free=pair * sum(bag.free for bag in self._free.values()),
            leased=pair * (len(self._held) - len(self._retired)),
            quarantined=pair * len(self._retired),
            shunned=pair * len(self._shunned),
        )

    def lease_of(
        self, address: TransportAddress, told: TransportAddress | None = None
    ) -> Lease | None:
        """The pair that this address is of, whoever has it; None where it is not in the pool."""
        bound = [i for i in self.interfaces if i.bound == address.ip]
        if not bound:
            return None
        interface = next((i for i in bound if i.told(address.port) == told), bound[0])
        return Lease(interface, address.port - address.port % 2, self.plane)

    def _discharge(self, lease: Lease) -> None:
        for owner in self._owners.pop(lease, ()):
            self.used[owner] -= len(COMPONENTS)
            if self.used[owner] <= 0:
                del self.used[owner]

    def _put(self, lease: Lease) -> None:
        self._free[lease.interface.bound].put(lease.port)

    def reinstate(self, now: float) -> None:
        """Pairs that were left alone for long enough are free until they are tried again."""
        while self._shunned and self._shunned[0][0] <= now:
            _, lease = self._shunned.popleft()
            self._put(lease)


class _Bag(list[int]):
    """Free ports of one address that may be taken, in no order, and `recent`: those that rest yet.

    What is put back rests until as many were put back after it as may be taken, so that whoever
    still sends to it sends to no other call. `free` counts all. Taking, putting and discarding cost
    the same at any size.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        super().__init__(ports)
        self._places = {port: place for place, port in enumerate(self)}
        self.recent: dict[int, None] = {}  # the first one was put back first
        self.free = len(self)

    def put(self, port: int) -> None:
        self.free += 1
        self.recent[port] = None
        if len(self.recent) > len(self):
            self._rested()

    def take(self, place: int) -> int:
        port, last = self[place], self.pop()
        if last != port:
            self[place] = last
            self._places[last] = place
        del self._places[port]
        self.free -= 1
        if len(self.recent) > len(self):
            self._rested()
        return port

    def discard(self, port: int) -> bool:
        place = self._places.get(port)
        if place is not None:
            self.take(place)
        elif port in self.recent:
            del self.recent[port]
            self.free -= 1
        else:
            return False
        return True

    def _rested(self) -> None:
        """The one that has rested longest may be taken."""
        port = next(iter(self.recent))
        del self.recent[port]
        self._places[port] = len(self)
        self.append(port)
