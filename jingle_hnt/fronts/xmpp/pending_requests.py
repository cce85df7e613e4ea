"""The stanzas that wait for our answer: each is answered once, and in time."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from xml.etree.ElementTree import Element

from jingle_hnt.jingle.effects import Token
from jingle_hnt.model.jid import JID

MOST_HELD = 10_000


@dataclass(frozen=True, slots=True)
class Crossing:
    """The way of a stanza by an address of ours: who sent it, to which address, and who that is."""

    sender: JID
    address: JID
    recipient: JID


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A question: its IQ's id and sender, and the <jingle/> in question.

    The sender is a server module, who asks for a channel, or a party that sent the <jingle/> to an
    address of ours; `crossing` says where it goes on to then.
    """

    id: str
    host: str
    jingle: Element
    expires_at: float
    crossing: Crossing | None = None


class PendingRequests:
    """Bounded: what the module no longer waits for goes first, then nothing more is taken.

    `tokens` are fresh names; where several share them, no two name a stanza alike.
    """

    def __init__(self, capacity: int = MOST_HELD, tokens: Iterator[Token] | None = None) -> None:
        self._capacity = capacity
        self._held: OrderedDict[Token, PendingRequest] = OrderedDict()
        self._tokens = tokens or count(1)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, token: Token) -> bool:
        return token in self._held

    def hold(self, held: PendingRequest, now: float) -> Token | None:
        """A token to answer with, never used before; None where too many wait already."""
        self._drop_expired(now)
        if len(self._held) >= self._capacity:
            return None
        token = next(self._tokens)
        self._held[token] = held
        return token

    def take(self, token: Token, now: float) -> PendingRequest | None:
        """The stanza of this token, once, and only while the module still waits for the answer."""
        held = self._held.pop(token, None)
        return held if held is not None and now < held.expires_at else None

    def clear(self) -> None:
        """Forget all: the stream is gone, and the module has decided by itself."""
        self._held.clear()

    def _drop_expired(self, now: float) -> None:
        while self._held:
            token, held = next(iter(self._held.items()))
            if now < held.expires_at:
                return
            del self._held[token]
