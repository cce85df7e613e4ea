"""How often something may be done: so many times a second, and some of them at once.

The C engine mirrors this in `plane/native/rules/pace.h`; the property tests of those who use it
hold the two together.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Allows `burst` times at once and `per_s` times a second. Times are monotonic seconds.

    `_spent` is what was used since all was allowed, as of `_at`.
    """

    per_s: float
    burst: float
    _spent: float = 0.0
    _at: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether it may be done once now; nothing is used by asking."""
        self._spent = max(0.0, self._spent - self.per_s * (now - self._at))
        self._at = now
        return self._spent + 1.0 <= self.burst

    def spend(self) -> None:
        """It was done once, at the time of the last question."""
        self._spent += 1.0
