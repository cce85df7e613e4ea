"""The way out for stanzas: in order, and not before the plane has done what they depend on.

A party may send as soon as it has a stanza, and the first thing that an ICE agent sends then is a
check whose retransmission comes half a second later (RFC 8445 section 14.3). The plane knows the
credentials of that check by an order that takes another way than the stanza, and may be slower.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

LONGEST_S = 0.1
"""How long a stanza is kept back at most: a plane that is busy delays no call for longer."""

T = TypeVar("T")


class Outgoing(Generic[T]):
    """Calls `send` for each stanza, in the order in which they were given."""

    def __init__(self, send: Callable[[T], None]) -> None:
        self._send = send
        self._waiting: deque[tuple[Sequence[T], asyncio.Future[None] | None, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, stanzas: Sequence[T], after: asyncio.Future[None] | None = None) -> None:
        """Send these, once what came before is sent and `after` is done, however it ended."""
        at = asyncio.get_running_loop().time() + LONGEST_S
        self._waiting.append((stanzas, after, at))
        if after is not None:
            after.add_done_callback(lambda _: self._go_on())
        self._go_on()

    def flush(self) -> None:
        """Send all of them now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            stanzas, _, _ = self._waiting.popleft()
            for stanza in stanzas:
                self._send(stanza)

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            stanzas, after, at = self._waiting[0]
            if after is not None and not after.done() and loop.time() < at:
                if self._timer is None:
                    self._timer = loop.call_at(at, self._late)
                return
            self._waiting.popleft()
            for stanza in stanzas:
                self._send(stanza)

    def _late(self) -> None:
        self._timer = None
        self._go_on()
