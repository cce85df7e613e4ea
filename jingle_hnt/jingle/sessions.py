"""Finds the session of a request.

A session is named by initiator, responder and sid together. The caller chooses the sid, so two
pairs may choose the same one, and a third party that learns it must not change the session
(XEP-0166 sections 7.1 and 11).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from jingle_hnt.call.leg import Leg
from jingle_hnt.jingle.aliases import is_answer_to
from jingle_hnt.jingle.effects import Request
from jingle_hnt.jingle.machine import Session
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action

TOMBSTONE_S = 60.0
"""How long an ended session is remembered, so that what comes late still hides what is hidden."""

TOMBSTONES = 10_000
"""Ended sessions remembered at most; the oldest make room."""


@dataclass(frozen=True, slots=True)
class Key:
    """The identity of a session: both full JIDs and the sid."""

    initiator: JID
    responder: JID
    sid: str

    def __str__(self) -> str:
        """All of it in one value; XML has no NUL (section 2.2 of its specification)."""
        return f"{self.initiator}\0{self.responder}\0{self.sid}"


class Sessions:
    """All sessions, by their key, their name, their parties, their sid, and other names of a pair.

    Those that have ended a moment ago are remembered by their key.
    """

    def __init__(self) -> None:
        self.by_key: dict[Key, Session] = {}
        self._keys: dict[str, Key] = {}
        self._of_party: dict[JID, set[str]] = {}
        self._of_sid: dict[str, set[str]] = {}
        self._aliases: dict[Key, tuple[str, Leg]] = {}
        # By `str(Key)`: ten thousand keys would be three times as many objects for the garbage
        # collector to look at, and strings are none.
        self._tombstones: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self.by_key)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self.by_key.values()))

    def named(self, name: str) -> Session | None:
        """Return the session of this name."""
        key = self._keys.get(name)
        return None if key is None else self.by_key[key]

    def of_party(self, jid: JID) -> list[Session]:
        """Return the sessions of this full JID."""
        found = (self.named(name) for name in sorted(self._of_party.get(jid, ())))
        return [session for session in found if session is not None]

    def add(self, key: Key, session: Session) -> None:
        """Add a session."""
        self.by_key[key] = session
        self._keys[session.name] = key
        self._of_sid.setdefault(key.sid, set()).add(session.name)
        if session.alias is not None:
            self._know_alias(session, *session.alias)
        for party in session.parties:
            self._of_party.setdefault(party.jid, set()).add(session.name)

    def remove(self, session: Session, now: float) -> Key:
        """Forget a session that is over, except for its key, which is returned."""
        key = self._keys.pop(session.name)
        del self.by_key[key]
        self._of_sid[key.sid].discard(session.name)
        if not self._of_sid[key.sid]:
            del self._of_sid[key.sid]
        if session.alias is not None:
            one, other = session.alias
            self._aliases.pop(Key(one, other, key.sid), None)
            self._aliases.pop(Key(other, one, key.sid), None)
        for party in session.parties:
            names = self._of_party.get(party.jid, set())
            names.discard(session.name)
            if not names:
                self._of_party.pop(party.jid, None)
        self._tombstones.pop(str(key), None)
        if not session.is_unrelayed:
            self._tombstones[str(key)] = now + TOMBSTONE_S
        self._forget_ended(now)
        return key

    def find(
        self, sender: JID, recipient: JID, sid: str, action: Action | None = None
    ) -> tuple[Leg, Session] | None:
        """Return the session of a request, and the sender's leg in it.

        Both parties may have called each other with the same sid. The session that goes on is meant
        then, before one that has ended and is still waited for; of two that in which the action is
        legal; the sender's own where it is legal in both. A request without a sid means the only
        session of the two; one of a pair that we do not know may be another name of one.
        """
        mine = self.by_key.get(Key(sender, recipient, sid))
        theirs = self.by_key.get(Key(recipient, sender, sid))
        both = ((Leg.INITIATOR, mine), (Leg.RESPONDER, theirs))
        found = min(
            ((leg, session) for leg, session in both if session is not None),
            key=lambda found: (found[1].has_ended, not found[1].allows(action, found[0])),
            default=None,
        )
        if found is not None:
            return found
        return self._alone(sender, recipient) if not sid else self._alias(sender, recipient, sid)

    def follow_alias(self, request: Request, users: Collection[str]) -> None:
        """Record the pair of names that answers an offer made under another pair.

        `users` are domains whose addresses are those of users, and no rooms.
        """
        jingle = request.jingle
        if jingle.action is not Action.SESSION_ACCEPT or not jingle.sid:
            return
        sender, recipient = request.sender, request.recipient
        named = (self.named(name) for name in self._of_sid.get(jingle.sid, ()))
        offers = [
            s
            for s in named
            if s is not None and is_answer_to(s.jids, s.state, sender, recipient, users)
        ]
        if len(offers) == 1:
            (session,) = offers
            session.alias = (sender, recipient)
            self._know_alias(session, sender, recipient)

    def has_ended(self, one: JID, other: JID, sid: str, now: float) -> bool:
        """Return whether these two had a session of this sid a moment ago, and have it no more."""
        self._forget_ended(now)
        return any(
            str(Key(*pair, sid)) in self._tombstones for pair in ((one, other), (other, one))
        )

    def _forget_ended(self, now: float) -> None:
        """Forget the keys of sessions that have ended long ago."""
        while self._tombstones:
            key, until = next(iter(self._tombstones.items()))
            if until > now and len(self._tombstones) <= TOMBSTONES:
                break
            del self._tombstones[key]

    def _alone(self, sender: JID, recipient: JID) -> tuple[Leg, Session] | None:
        """Return the only session of these two, if there is just one."""
        names = self._of_party.get(sender, set()) & self._of_party.get(recipient, set())
        sessions = [s for name in names if (s := self.named(name)) is not None and not s.has_ended]
        return (leg_of(sessions[0], sender), sessions[0]) if len(sessions) == 1 else None

    def _alias(self, sender: JID, recipient: JID, sid: str) -> tuple[Leg, Session] | None:
        """Return the session that this pair has under other names (see `aliases.py`)."""
        name, leg = self._aliases.get(Key(sender, recipient, sid), ("", Leg.INITIATOR))
        session = self.named(name)
        return None if session is None else (leg, session)

    def _know_alias(self, session: Session, answerer: JID, caller: JID) -> None:
        self._aliases[Key(answerer, caller, session.sid)] = (session.name, Leg.RESPONDER)
        self._aliases[Key(caller, answerer, session.sid)] = (session.name, Leg.INITIATOR)


def leg_of(session: Session, jid: JID) -> Leg:
    """Return the leg of a full JID in its session."""
    return Leg.INITIATOR if session.parties[Leg.INITIATOR].jid == jid else Leg.RESPONDER
