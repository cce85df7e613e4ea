"""Finds what on this host prevents the next call."""

from collections.abc import Callable, Iterator, Sequence

from jingle_hnt.process import host_ports
from jingle_hnt.relay.ports import PortPool

LOOK_S = 5.0
"""For how long it is believed what was found of the host."""


class HostFaults:
    """Looks at the host where somebody asks, at most once in `LOOK_S`."""

    def __init__(self, pool: PortPool, ports: tuple[int, int], clock: Callable[[], float]) -> None:
        self._pool = pool
        self._ports = ports
        self._clock = clock
        self._looked_at = float("-inf")
        self._found: tuple[str, ...] = ()

    def now(self) -> Sequence[str]:
        """Each fault, and what to do about it."""
        now = self._clock()
        if now >= self._looked_at + LOOK_S:
            self._looked_at, self._found = now, tuple(self._look())
        return self._found

    def _look(self) -> Iterator[str]:
        for address in host_ports.absent(i.bound for i in self._pool.interfaces):
            yield (
                f"relay address {address} is on no interface of this host; give it back to one, or"
                " write another in relay.interfaces and restart"
            )
        if host_ports.are_held(self._pool.some_free(host_ports.HELD_OF)):
            first, last = self._ports
            yield (
                f"another process holds the ports of {first}-{last} that were tried: end it"
                " (`ss -unlp` names it), or write another range in relay.ports and restart"
            )
