"""Counters of calls, latches and traffic since the start of the process, for metrics.

Counted where it happens; nothing in it grows with the number of calls but what the live ones need.
"""

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from jingle_hnt.relay.binding import BindingName, BindingSnapshot, Counters, Drained

SETUP_BOUNDS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
LATCH_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

KINDS = {1: "rtp", 2: "rtcp"}
"""Components as labels."""

FIELDS = tuple(f.name for f in fields(Counters))


class Histogram:
    """Counts observations up to each bound (seconds); the last count is of what is above all."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as the exposition format wants them."""
        total, made = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            made.append((bound, float(total)))
        return made


ENDED_KEPT = 1024
"""Names of bindings that have just ended."""


class Traffic:
    """Packets, bytes and drops by component, never going back while bindings come and go."""

    def __init__(self) -> None:
        self._gone: Counter[tuple[str, int]] = Counter()
        self._live: dict[BindingName, Counter[tuple[str, int]]] = {}
        self._ended: OrderedDict[BindingName, None] = OrderedDict()

    def seen(self, bindings: Iterable[BindingSnapshot], every: bool = False) -> None:
        """These are the plane's counters as they stand, of all its bindings where `every`.

        What was asked before an end may be read after it: those are counted already.
        """
        fresh = {b.name: _counts(b) for b in bindings if b.name not in self._ended}
        for name in [name for name in self._live if every and name not in fresh]:
            self._gone.update(self._live.pop(name))
        self._live.update(fresh)

    def drained(self, event: Drained) -> None:
        """A binding is gone; these were its last counters."""
        self._live.pop(event.name, None)
        self._gone.update(_counts(event))
        self._ended[event.name] = None
        if len(self._ended) > ENDED_KEPT:
            self._ended.popitem(last=False)

    def plane_is_new(self) -> None:
        """Another plane counts from zero: what the last one was seen to count stays."""
        for counts in self._live.values():
            self._gone.update(counts)
        self._live.clear()
        self._ended.clear()

    def total(self) -> Counter[tuple[str, int]]:
        """By field of `Counters` and component (1 or 2)."""
        total = self._gone.copy()
        for counts in self._live.values():
            total.update(counts)
        return total


UNHEARD_CALLS = 3
"""So many relayed calls in a row in which nobody was heard are no fault of their parties."""


@dataclass(slots=True)
class CallCounters:
    """Everything that is counted; the keys are the values of the enums that they are named by."""

    accepted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    exceeded: Counter[str] = field(default_factory=Counter)
    one_way: int = 0
    unheard: int = 0
    unheard_in_a_row: int = 0
    latches: Counter[tuple[str, str]] = field(default_factory=Counter)
    rivalries: int = 0
    barred: int = 0
    paths: Counter[tuple[str, str]] = field(default_factory=Counter)
    check_failures: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    planes: int = 0
    setup: Histogram = field(default_factory=lambda: Histogram(SETUP_BOUNDS_S))
    latch: Histogram = field(default_factory=lambda: Histogram(LATCH_BOUNDS_S))
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def nobody_lately(self) -> bool:
        """Return whether nobody was heard in the last few relayed calls that had time for it."""
        return self.unheard_in_a_row >= UNHEARD_CALLS


def _counts(binding: BindingSnapshot | Drained) -> Counter[tuple[str, int]]:
    component = 2 if binding.name.endswith(".2") else 1
    return Counter(
        {
            (name, component): sum(getattr(p.counters, name) for p in binding.pinholes)
            for name in FIELDS
        }
    )
