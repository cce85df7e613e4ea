"""Sessions and plane meet again after one of them was away.

Either side may have had a new life, or only the connection between them. What the plane says is
true of sockets and latches, what the registry says is true of calls:

*   bindings of a live call that the plane does not have are made anew, on the same ports and with
    what had been learned;
*   bindings of no call are released, and their ports kept until they have drained;
*   what happened on the live bindings in the meantime is told as if the plane had told it then.
"""

from collections.abc import Sequence

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import (
    SILENT_S,
    BindingSnapshot,
    Heard,
    Latched,
    PinholeSnapshot,
    Side,
    Silent,
)
from jingle_hnt.session.effects import Release
from jingle_hnt.session.registry import Registry

SIDES: tuple[Side, Side] = (0, 1)


def reconcile(registry: Registry, bindings: Sequence[BindingSnapshot], now: float) -> None:
    """Bring the registry and the plane's bindings together; effects follow in the registry."""
    alive = {b.name: b for b in bindings if not b.draining}
    known = _rebind_lost(registry, set(alive))
    orphans = [b for b in alive.values() if b.name not in known]
    if orphans:
        registry.order(Release(tuple(b.name for b in orphans)))
    _quarantine(registry, [b for b in bindings if b.draining or b in orphans])
    _free_vanished(registry, {p.bound for b in bindings for p in b.pinholes})
    for binding in alive.values():
        if binding.name in known:
            _catch_up(registry, binding, now)


def _rebind_lost(registry: Registry, alive: set[str]) -> set[str]:
    """Ask for the bindings that calls have lost; returns the names that calls have."""
    known: set[str] = set()
    for session in registry:
        bound = [a for a in session.negotiation.allocations if a.bound]
        known.update(name for a in bound for name in a.bindings)
        lost = [a for a in bound if not alive.issuperset(a.bindings)]
        if lost:
            session.anchor.rebind(lost)
    return known


def _quarantine(registry: Registry, bindings: Sequence[BindingSnapshot]) -> None:
    for binding in bindings:
        for pinhole in binding.pinholes:
            lease = registry.pool.claim(pinhole.bound)
            if lease is not None:
                registry.pool.retire(lease)


def _free_vanished(registry: Registry, open_sockets: set[TransportAddress]) -> None:
    for address in registry.pool.draining:
        if address not in open_sockets:
            registry.pool.freed(address)


def _catch_up(registry: Registry, binding: BindingSnapshot, now: float) -> None:
    for side in SIDES:
        seen, known = binding.pinholes[side], registry.pinhole(binding.name, side)
        if seen.learned is None or known is None:
            continue
        if seen.learned != known.learned:
            registry.told(_latched(binding.name, side, seen), now)
        silent_s = seen.heard_s or 0.0
        if silent_s < SILENT_S:
            registry.told(Heard(binding.name, side), now)
        else:
            registry.told(Silent(binding.name, side, silent_s), now)


def _latched(name: str, side: Side, seen: PinholeSnapshot) -> Latched:
    """The event that was missed; how long the latch took is not known any more."""
    assert seen.learned is not None
    return Latched(name, side, seen.generation, seen.learned, relatched=False, after_s=0.0)
