"""The interface between fronts and the signalling process.

A front reads what its side says, opens a call for it, and gives the call's negotiation what the
parties propose and answer (`call.negotiation`). After each input it settles the call, and the
driver carries out the effects. What the plane and time do to a call reaches its front by the
`call.calls.Owner` that it has entered.

A front whose calls can be told as Jingle sessions may give requests to the driver's registry
instead. It gets the answers by `Front.carry_out`, and journal, history, limits and commands know
its calls as they know those of XMPP.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from jingle_hnt.call.budgets import MediaBudgets
from jingle_hnt.call.call import Call
from jingle_hnt.call.calls import Owner
from jingle_hnt.call.effects import Effect, FrontEffect
from jingle_hnt.call.endpoint import Endpoint
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.relay.binding import BindingName, BindingSnapshot
from jingle_hnt.relay.planes import Planes

if TYPE_CHECKING:  # a front whose calls are no sessions needs none of it
    from jingle_hnt.jingle.registry import Registry

Options = TypeVar("Options")


class CallInputs(Protocol):
    """The calls, as a front sees them; `call.calls.Calls` is one."""

    planes: Planes
    out: list[Effect]
    names: Callable[[], str]

    def open(
        self,
        name: str,
        parties: tuple[Endpoint, Endpoint],
        policy: CallPolicy,
        budgets: MediaBudgets,
        now: float,
    ) -> Call:
        """Return a new call between these two, with a fresh name; `enter` makes it known."""

    def enter(self, owner: Owner) -> None:
        """Know a call from now on; what happens to it is told to `owner`."""

    def settle(self, owner: Owner, now: float, changed: bool = True) -> None:
        """After each input: forget a call that is over, else set its timer; `changed` says that it
        is to be written down."""


class Driver(Protocol):
    """The process that a front runs in."""

    @property
    def calls(self) -> CallInputs:
        """Return the calls."""

    @property
    def registry(self) -> "Registry":
        """All sessions, for a front that has its calls told as such."""

    def now(self) -> float:
        """The time of all inputs: monotonic seconds."""

    def carry_out(self) -> None:
        """Carry out the effects of an input that has just been given."""

    def options(self, kind: type[Options]) -> Options | None:
        """What the operator has set for a front, by the class of it; None where it is off."""

    async def bindings(
        self, names: Sequence[BindingName] | None = None
    ) -> list[BindingSnapshot] | None:
        """What the planes hold of these bindings, or of all; None where no plane answers."""


class Front(Protocol):
    """A way by which calls come in. It is made with a `Driver`; see `table.py`."""

    async def run(self) -> None:
        """Serve until cancelled."""

    def carry_out(self, effect: FrontEffect) -> bool:
        """Do what an effect asks; False where others have to do it, or have to do it too."""

    def follow(self) -> None:
        """The configuration was read again; new calls follow it (`Driver.options`)."""
