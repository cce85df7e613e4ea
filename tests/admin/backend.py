"""The process that a admin service belongs to, without one: its calls are those of a stage."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jingle_hnt.admin.service import AdminService
from jingle_hnt.admin.snapshots import ReloadSnapshot
from jingle_hnt.fronts.xmpp.jids import normalised
from jingle_hnt.jingle.effects import Inject
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Reason
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services
from jingle_hnt.relay.binding import (
    BindingName,
    BindingSnapshot,
    Counters,
    Flow,
    PinholeSnapshot,
    Quality,
)
from jingle_hnt.relay.latch import LatchState
from tests.jingle.stage import ALICE, Stage


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Backend:
    """A process around a stage; `heard` are the packets that each side is said to have sent;
    `silent` begins the names of bindings at which nothing came. While `answers` is not set, the
    plane keeps who asks waiting."""

    stage: Stage
    heard: tuple[int, int] = (500, 500)
    silent: tuple[str, ...] = ()
    away: bool = False
    level: str = "info"
    links: dict[str, str] = field(default_factory=lambda: {"hnt.example.org": ""})
    modules_down: dict[str, str] = field(default_factory=dict)
    journal_healthy: bool = True
    kept_draining: bool = False
    engine: str | None = "reference"
    offered: dict[str, Services] = field(default_factory=dict)
    plane_fault: str = ""
    rivalries: dict[str, str] = field(default_factory=dict)
    replacements: int = 0
    host_faults: tuple[str, ...] = ()
    faults: dict[str, ModuleState] = field(default_factory=dict)
    offers: ComponentServices = field(
        default_factory=lambda: ComponentServices("hnt.example.org", ("example.org",))
    )
    options: dict[str, object] = field(default_factory=lambda: {"gate.policy": "two-stage"})
    injected: list[Inject] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    announced: list[tuple[JID, str]] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=_open)
    later: list[Callable[[], None]] = field(default_factory=list)
    asked: list[Sequence[BindingName] | None] = field(default_factory=list)

    def normalised(self, jid: str) -> str:
        return normalised(jid)

    @property
    def registry(self) -> Registry:
        return self.stage.registry

    @property
    def component_services(self) -> tuple[ComponentServices, ...]:
        return (self.offers,)

    async def modules(self) -> dict[str, ModuleState]:
        return self.faults

    async def services(self) -> dict[str, Services]:
        return self.offered

    def now(self) -> float:
        return self.stage.now

    def soon(self, call: Callable[[], None]) -> None:
        self.later.append(call)

    def keep_draining(self, draining: bool) -> None:
        self.kept_draining = draining

    def reported(self, session: str) -> None:
        self.reports.append(session)

    def settle(self) -> None:
        self.stage.settle()

    def reload(self) -> ReloadSnapshot:
        raise ValueError("nothing is changed: no")

    def policy(self) -> dict[str, object]:
        return dict(self.options)

    def alter(self, option: str, value: str) -> None:
        if option not in self.options:
            raise ValueError("nothing is changed: no such option")
        self.options[option] = value

    def set_log_level(self, level: str) -> None:
        self.level = level

    def inject(self, farewells: Iterable[Inject]) -> None:
        self.injected += farewells

    def announce(self, to: Iterable[JID], text: str) -> None:
        self.announced += [(jid, text) for jid in to]

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        self.asked.append(names)
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.away:
            return None
        held = self.stage.plane.bindings | self.stage.plane.draining
        return [self.binding(name) for name in held if names is None or name in names]

    def binding(self, name: BindingName) -> BindingSnapshot:
        heard = (0, 0) if name.startswith(self.silent or ("?",)) else self.heard
        first, second = (self._pinhole(count) for count in heard)
        return BindingSnapshot(name, (first, second), draining=False)

    def _pinhole(self, count: int) -> PinholeSnapshot:
        bound = next(iter(self.stage.pool.interfaces)).told(2000)
        counters = Counters(received_packets=count, received_bytes=160 * count)
        seen = PinholeSnapshot(
            bound, LatchState.LATCHED, 0, None, None, None, None, Flow.OPEN, counters
        )
        return replace(seen, quality=Quality(packets=count))


async def ask(service: AdminService, command: str, **fields: object) -> Any:
    (found,) = [c for c in service.commands if c.command.name == command]
    return await found.run(fields)


async def hang_up(backend: Backend, service: AdminService) -> None:
    backend.stage.passes(8.0)
    backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid="x", reason=Reason("success"))
    (ended,) = backend.stage.ended
    await service.call_closing.close(ended)
