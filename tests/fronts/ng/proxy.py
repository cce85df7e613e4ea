"""A SIP proxy in front of the pure core: commands in, answers out, an obedient plane behind."""

from collections.abc import Sequence
from dataclasses import replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.effects import Effect, FrontEffect
from jingle_hnt.call.leg import Leg
from jingle_hnt.fronts.inputs import Options
from jingle_hnt.fronts.ng.bencode import Encodable, Value, decode, encode
from jingle_hnt.fronts.ng.calls import NgPolicy, RegistryCore, sip_policy
from jingle_hnt.fronts.ng.front import NgFront
from jingle_hnt.fronts.ng.listening import SIP, Listening
from jingle_hnt.fronts.ng.sdp import Media, read
from jingle_hnt.fronts.ng.service import NgService, NgSettings
from jingle_hnt.jingle.machine import Session
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import BindingName, BindingSnapshot, Flow
from jingle_hnt.relay.evidence import Evidence
from tests.fronts.ng import samples
from tests.jingle.stage import Stage


class StageDriver:
    """The driver of the signalling process, as far as this front knows it."""

    def __init__(self, stage: Stage, settings: NgSettings | None) -> None:
        self._stage, self._settings = stage, settings
        self.registry, self.calls = stage.registry, stage.registry.calls

    def options(self, kind: type[Options]) -> Options | None:
        return self._settings if isinstance(self._settings, kind) else None

    def now(self) -> float:
        return self._stage.now

    def carry_out(self) -> None:
        self._stage.settle()

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        return [b for b in self._stage.plane.snapshot() if names is None or b.name in names]


class Proxy(Stage):
    """`ask` gives a command to the front; the rest is the stage of the session core's tests."""

    def __init__(self, own: NgPolicy = NgPolicy(), **changes: object) -> None:  # noqa: B008
        self.own = own
        super().__init__(**changes)  # type: ignore[arg-type]
        self.take_up()

    def start(self) -> None:
        super().start()
        usual = self.registry.policy
        self.registry.follow(replace(usual, apart={SIP: sip_policy(usual, self.own)}))

    def take_up(self) -> None:
        """The front of a process that has just taken up its calls."""
        clock = lambda: self.now  # noqa: E731
        self.core = RegistryCore(self.registry, clock, self.settle)
        self.front = NgFront(self.core, self.own, self._snapshots, clock, lambda: 1e9 + self.now)
        self.core.on_end = self.front.ended
        self.front.take_up()

    def service(self, *listen: str) -> NgService:
        """The front as it runs in the signalling process, which listens there."""
        settings = NgSettings(tuple(map(Listening.of, listen)), (), self.own)
        return NgService(StageDriver(self, settings))

    def reborn(self, made: bool = False) -> None:
        super().reborn(made)
        self.take_up()

    async def _snapshots(self, names: Sequence[BindingName]) -> list[BindingSnapshot]:
        return [b for b in self.plane.snapshot() if b.name in names]

    def _carry_out(self, effect: Effect) -> None:
        if not (isinstance(effect, FrontEffect) and self.core.take(effect)):
            super()._carry_out(effect)

    async def ask(self, message: dict[str, Encodable]) -> dict[str, Value]:
        answer = decode(await self.front.carry_out(samples.unsorted(message)))
        assert isinstance(answer, dict)
        return answer

    async def sdp(self, message: dict[str, Encodable]) -> bytes:
        """The description that goes on in place of the one in this message."""
        answer = await self.ask(message)
        assert answer["result"] == b"ok", answer
        sdp = answer["sdp"]
        assert isinstance(sdp, bytes)
        return sdp

    async def refuses(self, message: dict[str, Encodable]) -> str:
        answer = await self.ask(message)
        assert answer["result"] == b"error", answer
        reason = answer["error-reason"]
        assert isinstance(reason, bytes)
        return reason.decode()

    async def connect(
        self, offer: bytes = samples.SIPP, answer: bytes = samples.BARESIP
    ) -> tuple[bytes, bytes]:
        return await self.sdp(samples.offer(offer)), await self.sdp(samples.answer(answer))

    @property
    def session(self) -> Session:
        (session,) = self.registry
        return session

    @property
    def allocations(self) -> list[Allocation]:
        return self.session.negotiation.allocations

    def evidence(self, leg: Leg, medium: int = 0) -> Evidence:
        """What this leg's latch rests on."""
        found = self.allocations[medium].pinholes[1, leg].evidence
        assert found is not None
        return found

    def sources(self, leg: Leg, medium: int = 0) -> list[str]:
        return [str(network) for network in self.evidence(leg, medium).sources]

    def is_held(self) -> bool:
        return self.session.negotiation.gates.is_held

    def flows(self, medium: int = 0) -> tuple[Flow, Flow]:
        return self.allocations[medium].flows

    def told(self, leg: Leg, medium: int = 0) -> TransportAddress:
        """Where the relay takes this leg's media."""
        return self.allocations[medium].leases[leg].advertised(1)


def media(sdp: bytes) -> list[Media]:
    return list(read(sdp).media)


def place(sdp: bytes, medium: int = 0) -> TransportAddress:
    """Where a description says that media is to be sent."""
    found = media(sdp)[medium].addresses()[1]
    return replace(found)


def encoded(message: dict[str, Encodable]) -> bytes:
    return encode(message)
