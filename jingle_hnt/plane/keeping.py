"""Which of an engine's sockets are held for the next life of the plane (see `process.fd_store`)."""

import os
import time
from collections.abc import Iterable, Sequence

import structlog

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.api import LocalEngine
from jingle_hnt.process.fd_store import DOOR, LINE, StoreClient, kind_of, name_of, name_of_socket
from jingle_hnt.relay.binding import BindingName, BindingSpec, Drained, Event, Latched

log = structlog.get_logger(__name__)

UNWANTED_S = 60.0
"""How long an inherited socket waits for the call that it belonged to."""

LET_GO_S = 0.5
"""How long it may take until who holds our sockets has closed those of a call that is over."""


class Keeping:
    """Follows an engine, and hands copies of its sockets over; nothing without `to`."""

    def __init__(self, engine: LocalEngine, to: StoreClient | None) -> None:
        self._engine = engine
        self._to = to
        self._inherited: set[str] = set()
        self._dropped: dict[str, float] = {}  # when, oldest first

    def inherit(self, descriptors: Iterable[int]) -> None:
        """Give the engine what an earlier life has left."""
        for descriptor in descriptors:
            try:
                self._inherited.add(name_of_socket(descriptor))
            except OSError:
                os.close(descriptor)
            else:
                self._engine.inherit(descriptor)
        if self._to is not None:
            self._to.held.update(self._inherited)
        if self._inherited:
            log.info("sockets of the previous plane are adopted", count=len(self._inherited))

    def bound(self, specs: Sequence[BindingSpec]) -> None:
        """These bindings were made, and armed as far as that is known."""
        for spec in specs:
            self._keep(spec.name, (DOOR, LINE))

    def failed(self, specs: Sequence[BindingSpec]) -> None:
        """These could not be made: nobody is to hold what was left of them."""
        self._drop(self._inherited & _names_of(specs))

    def told(self, events: Sequence[Event]) -> None:
        """A line was made, or ports are free again."""
        for event in events:
            match event:
                case Latched(name=name):
                    self._keep(name, (LINE,))
                case Drained(pinholes=pinholes):
                    for pinhole in pinholes:
                        self._drop(_names(pinhole.bound))
                case _:
                    pass

    def may_be_held(self, specs: Sequence[BindingSpec]) -> bool:
        """Whether one of these ports is taken, if it is, by a copy that is being closed."""
        self._forget_dropped()
        return not self._dropped.keys().isdisjoint(_names_of(specs))

    def disown(self) -> None:
        """Let go of what no call has asked for again."""
        self._engine.disown()
        self._drop(set(self._inherited))

    def close(self) -> None:
        """What was handed over stays there."""
        if self._to is not None:
            self._to.close()

    def _keep(self, name: BindingName, kinds: tuple[str, ...]) -> None:
        if self._to is None:
            return
        for descriptor in self._engine.sockets(name):
            own = name_of_socket(descriptor)
            self._inherited.discard(own)
            if kind_of(own) in kinds:
                self._to.keep(own, descriptor)
            else:
                os.close(descriptor)

    def _drop(self, names: set[str]) -> None:
        self._inherited -= names
        if self._to is None:
            return
        self._forget_dropped()
        for name in names & self._to.held:
            self._to.drop(name)
            self._dropped.pop(name, None)
            self._dropped[name] = time.monotonic()

    def _forget_dropped(self) -> None:
        earliest = time.monotonic() - LET_GO_S
        while self._dropped and next(iter(self._dropped.values())) < earliest:
            del self._dropped[next(iter(self._dropped))]


def _names(address: TransportAddress) -> set[str]:
    return {name_of(str(address.ip), address.port, kind) for kind in (DOOR, LINE)}


def _names_of(specs: Iterable[BindingSpec]) -> set[str]:
    return {name for spec in specs for address in spec.pinholes for name in _names(address)}
