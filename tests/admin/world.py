"""A call over the real rules of signalling and media, without a socket and a clock: a stage whose
plane is the reference engine's own pinholes. What `explain` says of it is what it says of a call.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import diagnose
from jingle_hnt.call.life import Why
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.pinhole import ReferenceBinding, ReferencePinhole
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.binding import Arm, BindingName, BindingSpec, Gate, Side
from jingle_hnt.relay.policing import NO_LIMITS, Bucket, MediaLimits
from tests.jingle.stage import Plane, Stage
from tests.plane.packets import rtp

PACKET_S = 0.02


class Wire:
    """Stands for a socket. What the host's firewall takes is refused."""

    def __init__(self, sent: list[tuple[bytes, str]], walls: set[str]) -> None:
        self._sent, self._walls = sent, walls

    def sendto(self, datagram: bytes, address: tuple[str, int]) -> None:
        if address[0] in self._walls:
            raise PermissionError
        self._sent.append((datagram, f"{address[0]}:{address[1]}"))

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        raise BlockingIOError


class Media(ReferenceEngine):
    """The reference engine with wires for sockets, and no thread."""

    def __init__(self, limits: MediaLimits, clock: Callable[[], float]) -> None:
        super().__init__(limits, clock)
        self.close()
        self.sent: list[tuple[bytes, str]] = []
        self.walls: set[str] = set()

    def bind(self, specs: Iterable[BindingSpec]) -> None:
        for spec in specs:
            binding = ReferenceBinding(spec.name)
            wire = cast("Any", Wire(self.sent, self.walls))
            sides: tuple[Side, Side] = (0, 1)
            binding.pinholes = tuple(
                ReferencePinhole(side, spec.pinholes[side], wire, binding, Bucket(self._limits))
                for side in sides
            )
            self._bindings[spec.name] = binding

    def release(self, name: BindingName, linger_s: float) -> None:
        pass  # what it has counted is asked for once more

    def hears(self, name: BindingName, side: Side, source: str, datagram: bytes) -> None:
        address = TransportAddress.of(*_split(source))
        self._judge(self._bindings[name].pinholes[side], address, datagram, self._clock())

    def ticks(self) -> None:
        self._tick(self._clock())

    def _happened(self, event: Any) -> None:
        self._events.append(event)

    def told(self) -> list[Any]:
        taken = list(self._events)
        self._events.clear()
        return taken


class _Ordered(Plane):
    """Hands the orders on to the media; a restart of ours is not played here."""

    def __init__(self, media: Media) -> None:
        super().__init__()
        self.media = media

    def bind(self, specs: Iterable[BindingSpec]) -> None:
        specs = list(specs)
        super().bind(specs)
        self.media.bind(specs)

    def arm(self, order: Arm) -> None:
        super().arm(order)
        self.media.arm(order)

    def gate(self, order: Gate) -> None:
        super().gate(order)
        self.media.gate(order)


class World(Stage):
    """A stage with media. `limits` are the plane's, the rest is the stage's."""

    def __init__(self, limits: MediaLimits = NO_LIMITS, **options: Any) -> None:
        super().__init__(**options)
        self.media = Media(limits, lambda: self.now)
        self.plane = _Ordered(self.media)
        self.why: Why | None = None

    def sends(
        self,
        side: Side,
        source: str,
        count: int = 50,
        make: Callable[[int], bytes] = rtp,
        *,
        first: int = 0,
        pace_s: float = PACKET_S,
        component: int = 1,
        name: str = "s1.1",
    ) -> None:
        """Packets come to the port that this side was told, one after the other."""
        for number in range(first, first + count):
            self.now += pace_s
            self.media.hears(f"{name}.{component}", side, source, make(number))
            self.apply_events()

    def talk(self, one: str | None, other: str | None, seconds: float = 8.0) -> None:
        """Both speak at the same time; None is silent."""
        for number in range(int(seconds / PACKET_S)):
            self.now += PACKET_S
            for side, source in ((0, one), (1, other)):
                if source is not None:
                    at = cast("Side", side)
                    self.media.hears("s1.1.1", at, source, rtp(number, 1 + side))
            self.apply_events()
        self.media.ticks()
        self.apply_events()

    def apply_events(self) -> None:
        """Give the plane's events to the calls."""
        told = self.media.told()
        for event in told:
            self.registry.calls.on_event(event, self.now)
        if told:
            self.settle()

    def case(self, **about: Any) -> Case:
        """The one call as `explain` sees it, now or as it was at its end."""
        held = {b.name: b for b in self.media.snapshot()}
        ended = self.ended[-1] if self.ended else None
        session = next(iter(self.registry)) if ended is None else ended.account
        assert session is not None
        call = snapshots.call(session, held, self.now)
        return Case(call, None if ended is None else ended.why, **about)

    def causes(self, **about: Any) -> dict[str, str]:
        """The causes that `explain` finds, each with its advice."""
        return {found.cause: found.advice for found in diagnose(self.case(**about))}


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
