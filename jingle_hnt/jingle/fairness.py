"""A fair queue over users, in front of the session core.

Every request costs time, and one user makes as many as its server lets it. So each user waits in a
line of its own, and they are served in turn: whoever sends much waits for itself. A line has an
end; what does not fit is refused at once, which costs less than to serve it.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

LONGEST_LINE = 64
"""Requests of one user that may wait."""

LATE = 0.5
"""The part of its server's patience after which a request is answered without the core."""


class FairQueue(Generic[T]):
    """Lines by name; the one that was served longest ago is next."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._lines: OrderedDict[str, deque[tuple[T, float]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def has(self, line: str) -> bool:
        """Return whether anything waits in this line."""
        return line in self._lines

    def put(self, line: str, item: T, now: float, *, ends: bool = False) -> bool:
        """Wait at the end of a line; False, and nothing waits, where it is full.

        For what ends a call there is as much room again: nobody is kept from hanging up.
        """
        waiting = self._lines.setdefault(line, deque())
        if len(waiting) >= self._longest * (1 + ends):
            return False
        waiting.append((item, now))
        return True

    def take(self) -> tuple[T, float]:
        """The next to be served, and since when it has waited. There must be one."""
        line, waiting = self._lines.popitem(last=False)
        taken = waiting.popleft()
        if waiting:
            self._lines[line] = waiting
        return taken
