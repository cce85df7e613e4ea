"""Contents of a call that were removed, and transports that were replaced: what they counted.

Gajim hangs up by removing every content before it ends the session; a camera is switched off in the
middle of a call. Their counters are part of the call's report.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.medium import Medium
from jingle_hnt.relay.binding import BindingName, BindingSnapshot, Drained

MOST_PAST = 16
"""Of one session; the oldest make room."""


@dataclass(frozen=True, slots=True)
class Past:
    """A content as it was with this allocation, until `ended_at`.

    `counted` are the last counters of its bindings, which come when their ports are closed.
    """

    medium: Medium
    allocation: Allocation
    ended_at: float
    counted: dict[BindingName, BindingSnapshot] = field(default_factory=dict)

    @property
    def uncounted(self) -> list[BindingName]:
        """Return the bindings whose last counters have not come."""
        return [name for name in self.allocation.bindings if name not in self.counted]


@dataclass(slots=True)
class PastContents:
    """The past contents of one session, the oldest first."""

    _past: list[Past] = field(default_factory=list)

    def __iter__(self) -> Iterator[Past]:
        return iter(self._past)

    def add(self, medium: Medium, allocation: Allocation, now: float) -> None:
        """Remember a content that had this allocation until now; only one that was agreed on."""
        if medium.agreed and allocation.was_bound:
            kept = replace(medium, allocation=allocation, replacements={})
            self._past = [*self._past, Past(kept, allocation, now)][-MOST_PAST:]

    def restore(self, past: Iterable[Past]) -> None:
        """Take the past contents of a previous instance."""
        self._past = [*self._past, *past][-MOST_PAST:]

    def drained(self, event: Drained) -> bool:
        """Take the last counters of a binding; returns whether it was one of these."""
        found = [past for past in self._past if event.name in past.allocation.bindings]
        for past in found:
            last = BindingSnapshot(event.name, event.pinholes, draining=True)
            past.counted[event.name] = last
        return bool(found)
