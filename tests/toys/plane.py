"""A plane that only remembers what it was told."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

from jingle_hnt.relay.binding import (
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Event,
    Gate,
)
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.ports import PlaneId, PortPool

ADDRESS = ip_address("203.0.113.77")


class ToyPlane:
    """Another host's plane; `made` is what it was asked for, `told` the orders, by name."""

    engine, instance = "toy", "one"
    made: ClassVar[list[BindingSpec]] = []
    told: ClassVar[list[Arm | Gate]] = []

    @classmethod
    def ports(cls, plane: PlaneId, choose: Callable[[int], int]) -> PortPool:
        return PortPool([Interface(ADDRESS, ADDRESS)], 4000, 4999, choose, plane)

    @classmethod
    async def connect(
        cls, path: Path, on_event: Callable[[Event], None], on_lost: Callable[[], None]
    ) -> "ToyPlane":
        return cls()

    async def serve(self) -> None:
        """Nobody else orders."""

    async def bind(self, specs: Sequence[BindingSpec], orders: Sequence[Arm | Gate] = ()) -> None:
        self.made.extend(spec for spec in specs if not spec.name.startswith("watch."))
        self.told.extend(orders)

    async def arm(self, orders: Sequence[Arm]) -> None:
        self.told.extend(orders)

    async def gate(self, orders: Sequence[Gate]) -> None:
        self.told.extend(orders)

    async def release(self, names: Sequence[BindingName], linger_s: float) -> None:
        """Forget them."""
        self.made[:] = [spec for spec in self.made if spec.name not in names]

    async def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        return []

    def hold_events(self) -> None:
        """There are none."""

    def tell_events(self) -> None:
        """There are none."""

    async def close(self) -> None:
        """It goes on."""
