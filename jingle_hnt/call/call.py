"""The media of one call: its allocations, its deadlines, and the plane's events.

A front opens it (`calls.Calls`), gives it what the parties propose and answer (`negotiation`), and
decides when it ends. Events of the plane come through here.
"""

from collections.abc import Collection, Sequence

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.endpoint import Endpoint
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Life, Why
from jingle_hnt.call.negotiation import Negotiation
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.relay.binding import (
    Gate,
    Heard,
    Latched,
    PinholeEvent,
    PinholeSnapshot,
    Silent,
    StreamChanged,
)


class Call:
    """See the module's text. `name` is unique over restarts and begins the bindings' names."""

    def __init__(self, anchor: Anchor, policy: CallPolicy, now: float) -> None:
        self.name = anchor.name
        self.anchor = anchor
        self.policy = policy
        self.negotiation = Negotiation(anchor, policy)
        self.life = Life(started_at=now)

    @property
    def parties(self) -> tuple[Endpoint, Endpoint]:
        """Return its two endpoints."""
        return self.anchor.parties

    @property
    def allocations(self) -> list[Allocation]:
        """Return all of its allocations."""
        return self.negotiation.allocations

    @property
    def deadline(self) -> tuple[float, Why]:
        """Return when the call ends by itself, and why."""
        gone = any(party.gone for party in self.parties)
        return self.life.deadline(self.policy.times, self.negotiation.gates.is_held, gone)

    @property
    def wake_at(self) -> float:
        """Return the time of the next deadline or timer."""
        at, _ = self.deadline
        own = self.negotiation
        times = at, self._idle_at, own.gates.consent_ends_at, own.appended.waits_until
        return min(time for time in times if time is not None)

    @property
    def _idle_at(self) -> float | None:
        """Return when an appended candidate is released if no agent uses it before."""
        quiet_since = self.negotiation.appended.quiet_since()
        if quiet_since is None or self.life.accepted_at is None:
            return None
        return max(quiet_since, self.life.accepted_at) + self.policy.idle_s

    def pass_time(self, now: float) -> bool:
        """Do what is due by now, except the end; returns whether unused ports were released."""
        self.negotiation.appended.end_head_start(now)
        self.negotiation.gates.apply_consent(now)
        idle_at = self._idle_at
        if idle_at is None or now < idle_at:
            return False
        self.negotiation.appended.leave(self.policy.idle_s, now)
        return True

    def release(self) -> None:
        """Release everything that the call holds: it is over."""
        self.anchor.retire(self.allocations)

    def on_event(
        self, allocation: Allocation, component: int, event: PinholeEvent, now: float
    ) -> bool:
        """Apply an event of one of its pinholes; returns whether the journal needs it."""
        pinhole = allocation.pinholes[component, Leg(event.side)]
        heard, changed = self.life.heard, False
        match event:
            case Latched():
                self.anchor.latches.latched(allocation, component, event, now)
                changed = True
            case StreamChanged(stream=stream):
                pinhole.stream = None if pinhole.learned is None else stream
                changed = True
            case Silent(silent_s=silent_s):
                pinhole.lively, pinhole.quiet_since = False, now - silent_s
            case Heard():
                pinhole.lively, pinhole.quiet_since = pinhole.learned is not None, None
        self.note_life(now)
        opened = self.negotiation.appended.end_head_start(now)
        moved = self.negotiation.gates.apply_consent(now)
        return changed or opened or moved or self.life.heard != heard

    # Reconciliation with a plane (see `reconcile`)

    def rebind(self, lost: Sequence[Allocation], now: float) -> None:
        """Make bindings again that a new plane does not have."""
        self.anchor.rebind(lost)
        self.note_life(now)
        self.negotiation.gates.apply_consent(now)

    def let_go(self, released: Collection[Allocation], now: float) -> bool:
        """Forget allocations that were released after the record was written.

        Their contents were removed; returns whether the call has no other.
        """
        self.anchor.let_go(released)
        is_empty = self.negotiation.forget_released(released)
        self.note_life(now)
        return is_empty

    def compare(
        self, allocation: Allocation, component: int, seen: Sequence[PinholeSnapshot], now: float
    ) -> tuple[tuple[bool, ...], bool]:
        """Order the latches and the gate of a binding as they should be.

        Returns for each side whether the plane's learned source is current, and whether the journal
        needs a change.
        """
        pinholes = [allocation.pinholes[component, leg] for leg in Leg]
        before = [(p.generation, p.learned, p.stream) for p in pinholes]
        latches = self.anchor.latches
        sides = tuple(latches.compare(allocation, component, leg, seen[leg]) for leg in Leg)
        self.note_life(now)
        if tuple(pinhole.flow for pinhole in seen) != allocation.flows:
            self.anchor.out.append(Gate(allocation.binding(component), allocation.flows))
        return sides, before != [(p.generation, p.learned, p.stream) for p in pinholes]

    def note_life(self, now: float) -> None:
        """Record whether any of its media flows."""
        self.negotiation.appended.note_agents(now)
        pinholes = [p for a in self.allocations for p in a.pinholes.values()]
        if pinholes and not self.negotiation.appended.may_be_elsewhere:
            self.life.note(any(p.lively for p in pinholes), now)
