"""The back end of the admin service: its process, and the archive of reports."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from jingle_hnt.admin import snapshots
from jingle_hnt.jingle.effects import Inject
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.jid import JID
from jingle_hnt.model.servers import ComponentServices, ModuleState, Services
from jingle_hnt.relay.binding import BindingName, BindingSnapshot


class Archive(Protocol):
    """The archive of reports; see `store.history.History`."""

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
    """The process that the admin service belongs to."""

    @property
    def registry(self) -> Registry: ...
    @property
    def links(self) -> Mapping[str, str]:
        """Return for each component why its XMPP server is not connected; empty if it is."""

    @property
    def modules_down(self) -> Mapping[str, str]:
        """Return for each domain why its calls are not relayed though its server is connected."""

    @property
    def rivalries(self) -> Mapping[str, str]:
        """Return the advice for each component as which another process connects too."""

    @property
    def replacements(self) -> int:
        """Return how often another process has taken our place at an XMPP server."""

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
        """Return what on this host prevents the next call, each with its remedy."""

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
        """Return each option that `alter` takes, with the value for new calls."""

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
        """Return the plane's bindings; None if it does not answer."""

    @property
    def component_services(self) -> tuple[ComponentServices, ...]:
        """Return the services of each component besides answering server modules."""

    async def modules(self) -> dict[str, ModuleState]:
        """The server module of each domain whose server is connected."""

    async def services(self) -> dict[str, Services]:
        """The STUN and TURN servers that each domain names to its users (XEP-0215)."""
