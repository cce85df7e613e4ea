"""Checks that were believed anywhere: sent again from elsewhere they are replays.

All components of a session have the same keys, so a check that one pinhole has believed would be
believed by another one, too. A latch remembers its own transactions only; an engine remembers those
of all of its latches.
"""

from dataclasses import dataclass, field

from jingle_hnt.model.address import TransportAddress

REMEMBERED = 1 << 16
"""Transactions; the one that was first makes room."""


@dataclass(slots=True)
class Transactions:
    """Who has made which request. The C engine's twin is in `plane/native/io/judge.c`."""

    _asked: dict[bytes, TransportAddress] = field(default_factory=dict)

    def is_repeated(self, transaction: bytes, source: TransportAddress) -> bool:
        """Whether somebody else has made this request before."""
        return self._asked.get(transaction, source) != source

    def remember(self, transaction: bytes, source: TransportAddress) -> None:
        """A request was believed."""
        if len(self._asked) == REMEMBERED and transaction not in self._asked:
            del self._asked[next(iter(self._asked))]
        self._asked[transaction] = source
