"""Whom the admin service asks: the process that it belongs to, and the archive of reports."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from jingle_hnt.admin import snapshots
from jingle_hnt.jingle.effects import Inject
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services
from jingle_hnt.relay.binding import BindingName, BindingSnapshot


class Archive(Protocol):
    """Where reports are kept; see `store.history.History`."""

    healthy: bool

    def add(self, name: str, sid: str, report: str) -> None: ...
    def find(self, call: str) -> dict[str, Any] | None: ...
    def latest(
        self, count: int, party: str = "", since: float = ..., until: float = ...
    ) -> list[dict[str, Any]]: ...
    def refuse(self, calls: Sequence[tuple[str, str, dict[str, Any]]], alike_s: float) -> None: ...
    def refused(
        self, count: int, text: str = "", since: float = ..., until: float = ...
    ) -> list[dict[str, Any]]: ...
    def block(self, who: str) -> None: ...
    def unblock(self, who: str) -> None: ...
    def blocked(self) -> set[str]: ...


class Backend(Protocol):
    """What the admin service needs of the process that it belongs to."""

    @property
    def registry(self) -> Registry: ...
    @property
    def links(self) -> Mapping[str, str]:
        """Of each component, why its XMPP server is not connected; empty where it is."""

    @property
    def modules_down(self) -> Mapping[str, str]:
        """Of each domain whose calls pass us by though its server is connected, why."""

    @property
    def rivalries(self) -> Mapping[str, str]:
        """Of each component as which another process connects too, what to do about it."""

    @property
    def replacements(self) -> int:
        """How often another process has taken our place at an XMPP server."""

    @property
    def journal_healthy(self) -> bool: ...
    @property
    def engine(self) -> str | None:
        """The engine of the plane; None while it is not connected."""

    @property
    def plane_fault(self) -> str:
        """Why the plane is not connected, where more is known than that; else empty."""

    @property
    def host_faults(self) -> Sequence[str]:
        """What of this host is in the way of the next call, and what to do about it."""

    def now(self) -> float: ...
    def normalised(self, jid: str) -> str:
        """An address that was typed, as servers write it. Raises ValueError for what is none."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call this in a second."""

    def reported(self, session: str) -> None:
        """The report of a call that is over is in the archive."""

    def settle(self) -> None:
        """Carry out what a command has ordered."""

    def reload(self) -> snapshots.ReloadSnapshot:
        """Read the configuration again. Raises ValueError for one that cannot be used."""

    def policy(self) -> dict[str, object]:
        """What new calls follow: each option that `alter` takes, and its value."""

    def alter(self, option: str, value: str) -> None:
        """Set an option until the next reload or start. Raises ValueError."""

    def keep_draining(self, draining: bool) -> None:
        """Have the next life of the process drain as well, or take calls again."""

    def set_log_level(self, level: str) -> None: ...
    def inject(self, farewells: Iterable[Inject]) -> None:
        """Send these requests in the parties' names."""

    def announce(self, to: Iterable[JID], text: str) -> None:
        """Send these users a message in the component's own name."""

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        """What the plane holds; None where it does not answer."""

    @property
    def component_services(self) -> tuple[ComponentServices, ...]:
        """What each component does besides answering server modules."""

    async def modules(self) -> dict[str, ModuleState]:
        """The server module of each domain whose server is connected."""

    async def services(self) -> dict[str, Services]:
        """The STUN and TURN servers that each domain names to its users (XEP-0215)."""
