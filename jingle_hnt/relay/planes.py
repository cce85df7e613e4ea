"""The planes that carry calls, each with ports of its own; which call is on which.

A plane forwards from its own addresses, and nobody else knows its sockets. So all that a call holds
is on one plane, chosen at its first lease: the one that has most room among those that are there.
"""

from collections.abc import Iterator, Mapping

from jingle_hnt.model.address import IPAddress
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.ports import LOCAL, Owner, PlaneId, PortCounts, PortPool


class Planes:
    """The pools of ports by plane. `away` are planes that do not answer: no call begins on one.

    The first one carries what a record of before names no plane for.
    """

    def __init__(self, pools: Mapping[PlaneId, PortPool]) -> None:
        self.away: set[PlaneId] = set()
        self._pools = dict(pools)

    @classmethod
    def of(cls, pool: PortPool) -> "Planes":
        """The local plane alone."""
        return cls({LOCAL: pool})

    def __getitem__(self, plane: PlaneId) -> PortPool:
        """The ports of a plane. Raises ValueError where there is none of this id."""
        if plane not in self._pools:
            raise ValueError(f"there is no plane {plane!r} any more")
        return self._pools[plane]

    def __iter__(self) -> Iterator[PlaneId]:
        return iter(self._pools)

    def choose(self) -> PlaneId:
        """The plane for a new call."""
        there = [plane for plane in self._pools if plane not in self.away] or list(self._pools)
        if len(there) == 1:
            return there[0]
        return max(there, key=lambda plane: self._pools[plane].counts.free)

    @property
    def size(self) -> int:
        """How many ports there are in all."""
        return sum(pool.size for pool in self._pools.values())

    def used(self, owner: Owner) -> int:
        """How many ports an owner has, leased or quarantined."""
        return sum(pool.used[owner] for pool in self._pools.values())

    def owners(self) -> dict[Owner, int]:
        """All owners, and how many ports each has."""
        found: dict[Owner, int] = {}
        for pool in self._pools.values():
            for owner, ports in pool.used.items():
                found[owner] = found.get(owner, 0) + ports
        return found

    def is_scarce(self, part: int) -> bool:
        """Whether less than one `part`-th of the pairs of an address of each plane are free."""
        return all(pool.is_scarce(part) for pool in self._pools.values())

    @property
    def scarcest(self) -> tuple[IPAddress, int]:
        """The bound address that has the fewest free ports, and how many, counted singly; of the
        plane that has most."""
        return max((pool.scarcest for pool in self._pools.values()), key=lambda each: each[1])

    def reinstate(self, now: float) -> None:
        """Pairs that were left alone for long enough are free until they are tried again."""
        for pool in self._pools.values():
            pool.reinstate(now)

    @property
    def counts(self) -> PortCounts:
        """Ports by state, of all planes."""
        each = [pool.counts for pool in self._pools.values()]
        return PortCounts(
            free=sum(c.free for c in each),
            leased=sum(c.leased for c in each),
            quarantined=sum(c.quarantined for c in each),
            shunned=sum(c.shunned for c in each),
        )

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The relay's addresses, of all planes."""
        return tuple(i for pool in self._pools.values() for i in pool.interfaces)
