"""Effects of the media of a call: values that the driver carries out in order.

No effect waits. Its result comes later, as an input (see `calls.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, ContentKey, OwnTransport
from jingle_hnt.relay.binding import Arm, BindingName, BindingSpec, Gate
from jingle_hnt.relay.ports import LOCAL, PlaneId

Substitution = Mapping[ContentKey, tuple[Candidate, ...]]
"""For each content whose transport is changed: the candidates that replace all of its own, or that
are added to them where the transport is ICE."""

OwnTransports = Mapping[ContentKey, OwnTransport]
"""For each content where ICE ends at the relay: the transport that stands for its own."""

NONE_OWN: OwnTransports = {}
"""ICE ends nowhere."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Have a plane make these bindings, all or none; answered by `Calls.bound` or `Calls.unbound`.

    `orders` are carried out with it: a party may send as soon as it has the stanza that waits for
    these bindings, and its first packet shall find its latch armed. `number` tells the binds of
    one session apart.
    """

    session: str
    number: int
    specs: tuple[BindingSpec, ...]
    orders: tuple[Arm | Gate, ...] = ()
    plane: PlaneId = LOCAL

    def addresses(self, named: str | None = None) -> tuple[TransportAddress, ...]:
        """Return the addresses to bind: all, or those that `named` has (``host:port``)."""
        addresses = (address for spec in self.specs for address in spec.pinholes)
        return tuple(a for a in addresses if named is None or named == str(a))


@dataclass(frozen=True, slots=True)
class Release:
    """Stop these bindings of a plane and free their ports once they are idle."""

    names: tuple[BindingName, ...]
    plane: PlaneId = LOCAL


@dataclass(frozen=True, slots=True)
class Remember:
    """The session of this name changed in a way that must survive a restart."""

    session: str


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A request would have exceeded a budget and was refused, or goes on without the relay.

    `owner` has used the budget up: a user, a domain, or a session by its name.
    """

    budget: str
    owner: str


class FrontEffect:
    """An effect for the front of the call, such as an answer or a message."""

    __slots__ = ()


CallEffect = Bind | Arm | Gate | Release | Remember | Exceeded
"""What has to be done whichever front a call came in by."""

Effect = CallEffect | FrontEffect

T_contra = TypeVar("T_contra", contravariant=True)


class Out(Protocol[T_contra]):
    """A sink for effects, in order. A list is one."""

    def append(self, effect: T_contra, /) -> None:
        """Add something to be done."""

    def extend(self, effects: Iterable[T_contra], /) -> None:
        """Add several things."""
