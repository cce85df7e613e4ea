"""Commands that came already: a proxy sends one again when its answer is late or lost.

Each message begins with a cookie. The same cookie of the same sender means the same command: it is
answered with what it was answered before, and not carried out twice.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

KEPT_S = 10.0
"""How long an answer is kept (rtpengine's time); Kamailio asks again for 5 s."""

MOST_KEPT, MOST_BYTES = 20_000, 16 << 20
"""Answers, and bytes in them, that are kept; the oldest make room."""

LONGEST_COOKIE = 64
"""Bytes of a cookie; Kamailio's have about 20."""

Peer = TypeVar("Peer", bound=Hashable)


class BadCookie(ValueError):
    """A datagram begins with no cookie; there is nothing to answer it by."""


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Cookie and message. Raises BadCookie."""
    cookie, space, _ = datagram[: LONGEST_COOKIE + 1].partition(b" ")
    if not space or not cookie or not cookie.isascii():
        raise BadCookie("a message begins with a cookie of 1 to 64 bytes and a space")
    return cookie, datagram[len(cookie) + 1 :]


@dataclass(slots=True)
class _Entry:
    at: float
    answer: bytes | None = None


class Cookies(Generic[Peer]):
    """The commands of the last `KEPT_S` seconds, by sender and cookie."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[Peer, bytes], _Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def is_new(self, peer: Peer, cookie: bytes, now: float) -> bool:
        """Whether this command was not heard before. It is known from now on."""
        self._forget(now)
        key = (peer, cookie)
        if key in self._entries:
            return False
        self._entries[key] = _Entry(now)
        return True

    def answer(self, peer: Peer, cookie: bytes) -> bytes | None:
        """What this command was answered; None where the answer is still to come."""
        entry = self._entries.get((peer, cookie))
        return None if entry is None else entry.answer

    def keep(self, peer: Peer, cookie: bytes, answer: bytes) -> None:
        """The answer of a command, for when it comes again."""
        entry = self._entries.get((peer, cookie))
        if entry is None:
            return
        self._bytes += len(answer) - len(entry.answer or b"")
        entry.answer = answer
        self._make_room()

    def _forget(self, now: float) -> None:
        while self._entries:
            _, oldest = next(iter(self._entries.items()))
            if now - oldest.at < KEPT_S and len(self._entries) < MOST_KEPT:
                return
            self._pop()

    def _make_room(self) -> None:
        while self._bytes > MOST_BYTES:
            self._pop()

    def _pop(self) -> None:
        _, entry = self._entries.popitem(last=False)
        self._bytes -= len(entry.answer or b"")
