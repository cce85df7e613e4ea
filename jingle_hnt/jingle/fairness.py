"""A fair queue over users, in front of the session core.

Every request costs time, and one user sends as many as its server lets it. So each user has a line
of its own, and the lines are served in turn: a user who sends much delays nobody else. A line is
bounded. A request that does not fit is refused at once, which costs less than serving it.
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
        """Put an item at the end of a line; returns False, and puts nothing, if the line is full.

        Requests that end a call have as much room again: nobody is kept from hanging up.
        """
        waiting = self._lines.setdefault(line, deque())
        if len(waiting) >= self._longest * (1 + ends):
            return False
        waiting.append((item, now))
        return True

    def take(self) -> tuple[T, float]:
        """Return the next item and since when it has waited. There must be one."""
        line, waiting = self._lines.popitem(last=False)
        taken = waiting.popleft()
        if waiting:
            self._lines[line] = waiting
        return taken
