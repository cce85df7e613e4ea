"""Requests that were sent on and wait for their answer, which only their recipient can give.

RFC 6120 section 8.2.3: an IQ is answered. So who asked is told in the end, whatever happens.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from jingle_hnt.fronts.xmpp.pending_requests import Crossing
from jingle_hnt.jingle.effects import Refusal
from jingle_hnt.model.jid import JID

ANSWER_S = 60.0
MOST_WAITING = 10_000
MOST_OF_ONE = 100
"""Of one user (bare JID)."""


@dataclass(frozen=True, slots=True)
class ForwardedStanza:
    """A stanza that went on: its way, its sender's own id for it, and what an error would mean.

    `kind` is ``iq`` or ``message``; of a message only an error would come back.
    """

    crossing: Crossing
    id: str
    refusal: Refusal | None = None
    kind: str = "iq"


class PendingReplies:
    """Stanzas that wait, by whom they were sent to and the id that they were sent with.

    `on_overdue` is called for each that was not answered within `answer_s` seconds.
    """

    def __init__(
        self, on_overdue: Callable[[ForwardedStanza], None], answer_s: float | None = None
    ) -> None:
        self._on_overdue = on_overdue
        self._answer_s = ANSWER_S if answer_s is None else answer_s
        self._waiting: dict[tuple[str, str], tuple[ForwardedStanza, asyncio.TimerHandle]] = {}
        self._of_user: Counter[JID] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, whom: str, id_: str, asked: ForwardedStanza) -> bool:
        """Wait for an answer; False where too many wait, of all or of this sender's."""
        user = asked.crossing.sender.bare
        if len(self._waiting) >= MOST_WAITING or self._of_user[user] >= MOST_OF_ONE:
            return False
        timer = asyncio.get_running_loop().call_later(self._answer_s, self._overdue, whom, id_)
        self._waiting[whom, id_] = asked, timer
        self._of_user[user] += 1
        return True

    def take(self, whom: str, id_: str) -> ForwardedStanza | None:
        """Return the request of this answer; None if nobody waits for it."""
        asked, timer = self._waiting.pop((whom, id_), (None, None))
        if asked is None or timer is None:
            return None
        timer.cancel()
        user = asked.crossing.sender.bare
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]
        return asked

    def clear(self) -> None:
        """No answer will come any more, and none could be passed on."""
        for key in list(self._waiting):
            self.take(*key)

    def _overdue(self, whom: str, id_: str) -> None:
        asked = self.take(whom, id_)
        if asked is not None:
            self._on_overdue(asked)
