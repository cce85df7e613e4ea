"""The simplest thing that says which requests are legal and where they lead, to compare with.

It knows the table of XEP-0166 as text, who is a party, and nothing of media, ports or time.
"""

from dataclasses import dataclass, field

from jingle_hnt.call.leg import Leg
from jingle_hnt.jingle.effects import Bounce
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.table import EITHER, State
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import Stage

WHO = {"-": frozenset[Leg](), "R": frozenset({Leg.RESPONDER}), "both": EITHER}

XEP_0166 = """
                    pending     active      ended
session-initiate    -           -           -
session-accept      R:active    R           -
session-terminate   both:ended  both:ended  both
session-info        both        both        -
content-add         both        both        -
content-accept      both        both        -
content-reject      both        both        -
content-modify      both        both        -
content-remove      both        both        -
description-info    both        both        -
security-info       both        both        -
transport-info      both        both        -
transport-replace   both        both        -
transport-accept    both        both        -
transport-reject    both        both        -
"""
"""Who may send what in which state, and where it leads if not to the same (XEP-0166 section 6).

An accept may be said twice, and what is out of order passes: its receiver says that it is.
"""

Key = tuple[JID, JID, str]


def rows() -> dict[tuple[State, Action], tuple[frozenset[Leg], State]]:
    """The table as values: who may, and where it leads."""
    head, *lines = XEP_0166.strip().splitlines()
    states = [State(name) for name in head.split()]
    found = {}
    for line in lines:
        name, *cells = line.split()
        for state, cell in zip(states, cells, strict=True):
            who, _, to = cell.partition(":")
            found[state, Action(name)] = WHO[who], State(to or state)
    return found


ROWS = rows()


@dataclass
class Model:
    """The sessions that go on, by initiator, responder and sid."""

    states: dict[Key, State] = field(default_factory=dict)
    ended: int = 0

    def request(self, stage: Stage, sender: JID, recipient: JID, action: Action, sid: str) -> None:
        """The last stanza of the stage was this one, of a party to the other."""
        answer = stage.answers.get(stage.tokens)
        found = self._meant(sender, recipient, action, sid)
        if found is None:
            self._begins(stage, (sender, recipient, sid), action)
            return
        key, leg = found
        who, to = ROWS[self.states[key], action]
        if answer is not None and leg not in who:
            assert not isinstance(answer, Bounce), (key, leg, action, answer)
        if leg not in who or isinstance(answer, Bounce):
            return
        if answer is None and to is not State.ENDED:
            to = states(stage).get(key, to)
            assert to in (self.states[key], State.ACTIVE)
        self.states[key] = to

    def agrees_with(self, stage: Stage) -> None:
        """What has ended is over, and all else is as it is there."""
        for ended in stage.ended[self.ended :]:
            assert ended.account is not None
            self.states.pop(key_of(ended.account), None)
        self.ended = len(stage.ended)
        assert self.states == states(stage)

    def lost(self, stage: Stage) -> None:
        """The process was started anew: a call whose offer has not left yet is not ours."""
        known = states(stage)
        self.states = {key: state for key, state in self.states.items() if key in known}

    def _meant(
        self, sender: JID, recipient: JID, action: Action, sid: str
    ) -> tuple[Key, Leg] | None:
        """The session of a request; of two with one sid that in which it is legal."""
        mine, theirs = (sender, recipient, sid), (recipient, sender, sid)
        if action is Action.SESSION_INITIATE:
            return (mine, Leg.INITIATOR) if mine in self.states else None
        both = [(mine, Leg.INITIATOR), (theirs, Leg.RESPONDER)]
        known = [(key, leg) for key, leg in both if key in self.states]
        legal = [(key, leg) for key, leg in known if leg in ROWS[self.states[key], action][0]]
        return next(iter([*legal, *known]), None)

    def _begins(self, stage: Stage, key: Key, action: Action) -> None:
        """Nothing but an offer makes a session; whether this one does is the policy's to say."""
        if key in states(stage):
            assert action is Action.SESSION_INITIATE
            self.states[key] = State.PENDING


def states(stage: Stage) -> dict[Key, State]:
    """What the registry says goes on."""
    return {key_of(s): s.state for s in stage.registry if s.state is not State.ENDED}


def key_of(session: Session) -> Key:
    initiator, responder = session.parties
    return initiator.jid, responder.jid, session.sid
