"""Reconciles calls and a plane after either was away.

Either process may have restarted, or only their connection. The plane is right about sockets and
latches, the registry about calls. Everything is compared:

*   bindings of a live call that the plane does not have are made anew, on the same ports and with
    what had been learned;
*   bindings of a live call that the plane is draining were released by us after the record was
    written: that content is over, and so is a call that has no other. The same holds for bindings
    that this plane had when the record was written, and does not have any more;
*   bindings that it was asked for, and made without an answer, are a call's from now on;
*   bindings of no call are released, and their ports kept until they have drained;
*   of a latch the later order is in force: it is given where the plane does not have it. What the
    plane has learned is taken over, also that it has learned nothing;
*   a gate is set as the call wants it;
*   what happened on the live bindings in the meantime is told as if the plane had told it then.
"""

from collections.abc import Collection, Iterable, Sequence

from jingle_hnt.call.calls import Calls, Owner
from jingle_hnt.call.effects import Release
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import (
    SILENT_S,
    BindingName,
    BindingSnapshot,
    Heard,
    Latched,
    PinholeSnapshot,
    Side,
    Silent,
)
from jingle_hnt.relay.ports import LOCAL, PlaneId, PortPool

SIDES: tuple[Side, Side] = (0, 1)


def reconcile(
    calls: Calls,
    bindings: Sequence[BindingSnapshot],
    now: float,
    written_on: Collection[str] = (),
    plane: PlaneId = LOCAL,
) -> None:
    """Bring the registry and the plane's bindings together; effects follow in the calls.

    `written_on` are the names of the sessions that were written down while this very plane served
    them: what of theirs it does not have has been released.
    """
    alive = {b.name: b for b in bindings if not b.draining}
    draining = {b.name for b in bindings if b.draining}
    _count_on(calls, [b.name for b in bindings])
    here = [owner for owner in calls if owner.call.anchor.plane == plane]
    for owner in here:
        for number in owner.call.anchor.made_meanwhile(alive):
            calls.bound(owner.call.name, number, now)
    _let_go(here, set(alive), draining, written_on, now)
    known = _rebind_lost(here, set(alive), now)
    orphans = [b for b in alive.values() if b.name not in known]
    if orphans:
        calls.out.append(Release(tuple(b.name for b in orphans), plane))
    pool = calls.planes[plane]
    _quarantine(pool, [b for b in bindings if b.draining or b in orphans])
    _free_vanished(pool, {p.bound for b in bindings for p in b.pinholes})
    for binding in alive.values():
        if binding.name in known:
            _catch_up(calls, binding, now, plane)
    for owner in here:
        calls.settle(owner, now, changed=False)


def _count_on(calls: Calls, names: Collection[BindingName]) -> None:
    """Give no name twice, even one given after the record was written."""
    for name in names:
        of, _, rest = name.partition(".")
        owner, number = calls.find(of), rest.partition(".")[0]
        if owner is not None and number.isdecimal():
            owner.call.anchor.made = max(owner.call.anchor.made, int(number))


def _let_go(
    calls: Iterable[Owner],
    alive: set[BindingName],
    draining: set[BindingName],
    written_on: Collection[str],
    now: float,
) -> None:
    """Forget the allocations in records that were released since."""
    for owner in calls:
        call = owner.call
        gone = [
            a
            for a in call.allocations
            if a.bound
            and alive.isdisjoint(a.bindings)
            and (call.name in written_on or not draining.isdisjoint(a.bindings))
        ]
        if not gone:
            continue
        if call.let_go(gone, now):
            owner.on_emptied()
        owner.remember()


def _rebind_lost(calls: Iterable[Owner], alive: set[BindingName], now: float) -> set[BindingName]:
    """Ask for the bindings that calls have lost; returns the names that calls have."""
    known: set[BindingName] = set()
    for owner in calls:
        bound = [a for a in owner.call.allocations if a.bound]
        known.update(name for a in bound for name in a.bindings)
        lost = [a for a in bound if not alive.issuperset(a.bindings)]
        if lost:
            owner.call.rebind(lost, now)
            owner.remember()
    return known


def _quarantine(pool: PortPool, bindings: Sequence[BindingSnapshot]) -> None:
    for binding in bindings:
        for pinhole in binding.pinholes:
            pool.quarantine(pinhole.bound)


def _free_vanished(pool: PortPool, open_sockets: set[TransportAddress]) -> None:
    for address in pool.draining:
        if address not in open_sockets:
            pool.freed(address)


def _catch_up(calls: Calls, binding: BindingSnapshot, now: float, plane: PlaneId) -> None:
    found = calls.at(binding.name, plane)
    if found is None:
        return
    owner, allocation, component = found
    sides, changed = owner.call.compare(allocation, component, binding.pinholes, now)
    if changed:
        owner.remember()
    for side, is_up in zip(SIDES, sides, strict=True):
        seen, known = binding.pinholes[side], calls.pinhole(binding.name, side)
        if not is_up or seen.learned is None or known is None:
            continue
        if seen.learned != known.learned:
            calls.on_event(_latched(binding.name, side, seen), now, plane)
        silent_s = seen.heard_s or 0.0
        if silent_s < SILENT_S:
            calls.on_event(Heard(binding.name, side), now, plane)
        else:
            calls.on_event(Silent(binding.name, side, silent_s), now, plane)


def _latched(name: str, side: Side, seen: PinholeSnapshot) -> Latched:
    """Return the missed event; the time to latch is not known any more."""
    assert seen.learned is not None
    return Latched(name, side, seen.generation, seen.learned, False, 0.0, seen.stream)
