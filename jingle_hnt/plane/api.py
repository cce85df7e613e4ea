"""The seam of the forwarding plane: what may be asked of an engine.

Two engines stand behind this seam, the native one and the pure Python reference, and one test class
holds both to it. The control protocol (`protocol.py`) carries the same orders between processes.
The words of the seam are those of `relay/binding.py`, so that the pure rooms can speak them too.
"""

import errno
from collections.abc import Sequence
from typing import Protocol

from jingle_hnt.errors import AddressUnavailable, DescriptorsExhausted, PlaneError, PortTaken
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import (
    NOMINAL_PACKETS_PER_S,
    SILENT_S,
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Counters,
    Drained,
    Event,
    Flow,
    Gate,
    Heard,
    Latched,
    PinholeSnapshot,
    Rivalry,
    Side,
    Silent,
    StreamChanged,
)
from jingle_hnt.relay.lingering import LINGER_CAP_S, WATCH_S

__all__ = [
    "LINGER_CAP_S",
    "NOMINAL_PACKETS_PER_S",
    "SILENT_S",
    "WATCH_S",
    "Arm",
    "BindingName",
    "BindingSnapshot",
    "BindingSpec",
    "Counters",
    "Drained",
    "Engine",
    "Event",
    "Flow",
    "Gate",
    "Heard",
    "Latched",
    "PinholeSnapshot",
    "Rivalry",
    "Side",
    "Silent",
    "StreamChanged",
    "bind_error",
]


_BIND_ERRORS: dict[int, type[PlaneError]] = {
    errno.EADDRINUSE: PortTaken,
    errno.EADDRNOTAVAIL: AddressUnavailable,
    errno.EMFILE: DescriptorsExhausted,
    errno.ENFILE: DescriptorsExhausted,
    errno.ENOBUFS: DescriptorsExhausted,
    errno.ENOMEM: DescriptorsExhausted,
    errno.ENOSPC: DescriptorsExhausted,  # fs.epoll.max_user_watches
}


def bind_error(address: TransportAddress, error: OSError) -> PlaneError:
    """What an engine raises where the kernel did not let it bind this address."""
    kind = _BIND_ERRORS.get(error.errno or 0, PlaneError)
    return kind(f"{address} cannot be bound: {error.strerror}", str(address))


class Engine(Protocol):
    """A forwarding plane. Calls never block on the network; media moves on threads of its own.

    After using an engine you must call `close`; every socket is closed then.
    """

    name: str
    """``native`` or ``reference``."""

    def bind(self, specs: Sequence[BindingSpec]) -> None:
        """Open the sockets of all bindings, or of none.

        New bindings are shut and closed. Raises PortTaken, AddressUnavailable,
        DescriptorsExhausted or DuplicateBinding; nothing is left open then.
        """

    def arm(self, order: Arm) -> bool:
        """Arm a latch; False where its generation is not greater than the last one.

        Raises UnknownBinding.
        """

    def gate(self, order: Gate) -> None:
        """Set what may flow. Raises UnknownBinding."""

    def release(self, name: BindingName, linger_s: float) -> None:
        """Stop forwarding at once; free the ports when they were idle for `linger_s` seconds.

        What its party was silent before counts, all but `WATCH_S`. Ports that a stale sender keeps
        busy are freed after `LINGER_CAP_S` all the same. With `linger_s` 0 they are free on return.
        A Drained event follows either way. Raises UnknownBinding.
        """

    def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        """The bindings of these names as they stand (unknown ones left out), or all of them."""

    def events(self) -> list[Event]:
        """Take what happened since the last call, oldest first."""

    def fileno(self) -> int:
        """A descriptor that is readable while events wait."""

    def close(self) -> None:
        """Close every socket and stop every thread. Safe to call twice."""


class HandOver(Protocol):
    """What an engine of this host offers besides: its sockets outlive it.

    A plane elsewhere has none of it: nobody here can hold its sockets.
    """

    def sockets(self, name: BindingName) -> list[int]:
        """Copies of a binding's sockets, for somebody to hold while no plane runs; the caller's.

        None of an unknown binding, nor of the reference engine.
        """

    def inherit(self, descriptor: int) -> None:
        """Take over a socket that an earlier life of the plane had, with what waits in it.

        The binding of its address uses it: what an earlier life had connected to the source that
        the binding resumes is read from where that life has stopped.
        """

    def disown(self) -> None:
        """Close what was inherited and no binding has used."""


class LocalEngine(Engine, HandOver, Protocol):
    """A forwarding plane of this host."""
