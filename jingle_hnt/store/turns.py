"""Turns of calls to be written to the journal.

A party can change its call as often as it likes, and each change costs a record on a disk that all
calls share. Fast changes are written together, a moment later.
"""

from collections.abc import Mapping

from jingle_hnt.relay.pace import Pace

AT_ONCE = 16.0
"""Records of one call that may be written at once: a call is set up by several changes."""


class Turns:
    """At most `per_s` records of a call are written in a second; 0 means no limit."""

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self.put_off = 0
        self._paces: dict[str, Pace] = {}

    def due(self, changed: Mapping[str, bool], now: float) -> list[str]:
        """Return which of these calls to write now. Calls that are over (False) always are."""
        return [name for name, live in changed.items() if not live or self._takes(name, now)]

    def forget(self, name: str) -> None:
        """Forget a call that is over."""
        self._paces.pop(name, None)

    def _takes(self, name: str, now: float) -> bool:
        if not self.per_s:
            return True
        pace = self._paces.setdefault(name, Pace(self.per_s, AT_ONCE))
        if not pace.allows(now):
            self.put_off += 1
            return False
        pace.spend()
        return True
