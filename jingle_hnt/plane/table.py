"""The planes that carry calls: the local one, and a line for each other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingName, BindingSnapshot, BindingSpec, Event, Gate
from jingle_hnt.relay.ports import LOCAL, PlaneId, PortPool


class PlaneConnection(Protocol):
    """What is asked of a plane, wherever it runs; see `client.PlaneClient` for each.

    Every method raises PlaneGone once the connection is lost. That sockets are handed over from one
    life of a plane to the next is none of this: only a plane of this host can (`api.HandOver`).
    """

    engine: str
    instance: str

    @classmethod
    async def connect(
        cls, path: Path, on_event: Callable[[Event], None], on_lost: Callable[[], None]
    ) -> "PlaneConnection":
        """Connect; `path` is where the local plane listens."""

    @classmethod
    def ports(cls, plane: PlaneId, choose: Callable[[int], int]) -> PortPool:
        """The ports of a plane elsewhere; `choose(n)` is a random number below n."""

    async def serve(self) -> None:
        """Be the only client that orders something."""

    async def bind(self, specs: Sequence[BindingSpec], orders: Sequence[Arm | Gate] = ()) -> None:
        """Make these bindings, all or none, and carry out the orders with them."""

    async def arm(self, orders: Sequence[Arm]) -> None:
        """Arm these latches."""

    async def gate(self, orders: Sequence[Gate]) -> None:
        """Set what may flow."""

    async def release(self, names: Sequence[BindingName], linger_s: float) -> None:
        """Stop these bindings; their ports are free after a quarantine of `linger_s` seconds."""

    async def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        """The bindings of these names, or all."""

    def hold_events(self) -> None:
        """Tell of no events until `tell_events`."""

    def tell_events(self) -> None:
        """Tell of events again, first of those since the last snapshot."""

    async def close(self) -> None:
        """Close the connection; the plane goes on forwarding."""


PLANES: dict[PlaneId, type[PlaneConnection]] = {
    # A plane is a module that connects to it, and one line here.
    LOCAL: PlaneClient,
}


def pools(local: PortPool, choose: Callable[[int], int]) -> dict[PlaneId, PortPool]:
    """The ports of each plane: of the local one as the configuration says, of another as its
    connection does (`ports`)."""
    others = (plane for plane in PLANES if plane != LOCAL)
    return {LOCAL: local} | {plane: PLANES[plane].ports(plane, choose) for plane in others}
