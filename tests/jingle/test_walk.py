"""Row X6 of docs/threats.md: three that say anything in any state, for very long.

`test_interleavings.py` finds what is rare and makes it small; this one goes far, and counts.
"""

import random
from collections import Counter

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import IceMode, Times
from jingle_hnt.jingle.effects import Gone, Moved, Refusal
from jingle_hnt.jingle.policy import LimitPolicy
from jingle_hnt.jingle.table import State
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    ICE,
    ICE_UDP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    Senders,
    Transport,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from tests.jingle.model import Key, Model
from tests.jingle.stage import ALICE, BOB, CAMERA, MALLORY, RELAY6, VOICE, Stage, candidates
from tests.threats import doses
from tests.threats.doses import Measured

STEPS = 1_000_000
WALK = 1000
"""Steps after which everything must come to an end, and another relay begins."""
ACTIONS = (*Action, *[Action.SESSION_INITIATE] * 3, *[Action.SESSION_ACCEPT] * 2)
USERS = (ALICE, BOB, MALLORY)
SIDS = "ab"
THIRD = "third"
EVENTS = ("binds",) * 8 + ("drains", "latches", "hears", "refuses", "moves", "waits", "fails")


def transports() -> list[Transport | None]:
    """What parties offer, right or wrong."""
    ips = ("198.51.100.1", "192.0.2.1", "2001:db8:1::5")
    agents = tuple(Candidate(c, 0, TransportAddress.of(ip, 5000)) for c in (1, 2) for ip in ips)
    raw = [
        candidates(ip, 5000, generation, components)
        for ip in ips
        for generation in (0, 1, 2)
        for components in ((1, 2), (1,), ())
    ]
    ice = [
        Ice(namespace, ufrag, "pwd", told, frozenset({1, 2}), generation)
        for namespace in (ICE, ICE_UDP)
        for ufrag in ("ufrag", "other", "")
        for told in (agents, agents[:1], ())
        for generation in (None, 1)
    ]
    return [None, *raw, *ice]


TRANSPORTS = transports()
KEYS = (VOICE, CAMERA, ContentKey(Creator.RESPONDER, "screen"))


class Walk:
    """A relay, and the model of it, among three users."""

    def __init__(self, chance: random.Random, seen: Counter[tuple[State, Action, str]]) -> None:
        self.chance = chance
        self.seen = seen
        self.stage = Stage(
            ports=(2000, 2059),
            times=Times(setup_s=20, first_media_s=10),
            ice=chance.choice(list(IceMode)),
            raw_udp=chance.choice(((), ("alice@*",), ("bob@*",))),
            limits=LimitPolicy(per_user=0, per_minute=0),
        )
        self.stage.held = True
        self.model = Model()
        self.over: set[Key] = set()

    def step(self) -> None:
        """Somebody says something, or something happens."""
        if self.chance.random() < 0.7:
            self.says()
        else:
            getattr(self, self.chance.choice(EVENTS))()
        known = set(self.model.states)
        self.model.agrees_with(self.stage)
        self.over = (self.over | known) - set(self.model.states)
        self.stage.assert_ports_and_bindings_agree()

    def says(self) -> None:
        sender, recipient = self.chance.sample(USERS, 2)
        action, sid = self.chance.choice(ACTIONS), self.chance.choice(SIDS)
        self._count(sender, recipient, action, sid)
        keys = self.chance.sample(KEYS, self.chance.choice((1, 1, 2, 3)))
        contents = [self._content(key) for key in keys]
        if action is Action.SESSION_ACCEPT and self.chance.random() < 0.7:
            contents = self._answer(sender, recipient, sid)
        mine = {(sender, recipient, sid), (recipient, sender, sid)}
        strange = action is not Action.SESSION_INITIATE and not mine & set(self.model.states)
        before = self.stage.picture() if strange else None
        info = self.chance.choice((None, *Info)) if action is Action.SESSION_INFO else None
        id_ = self.chance.choice(("", "x1", "x2"))
        self.stage.says(sender, action, *contents, to=recipient, sid=sid, info=info, id_=id_)
        if strange:
            assert self.stage.picture() == before
        known = set(self.model.states)
        self.model.request(self.stage, sender, recipient, action, sid)
        self.over = (self.over | known) - set(self.model.states)

    def _content(self, key: ContentKey) -> Content:
        senders = self.chance.choice((None, None, *Senders))
        return Content(key, senders, self.chance.choice(TRANSPORTS), "audio")

    def _answer(self, sender: JID, recipient: JID, sid: str) -> list[Content]:
        """What an accept has to hold."""
        for session in self.stage.registry:
            if (*(party.jid for party in session.parties), session.sid) == (recipient, sender, sid):
                keys = session.negotiation.media.unagreed(Leg.INITIATOR)
                return [Content(key, None, candidates("192.0.2.20", 6000)) for key in keys]
        return []

    def _count(self, sender: JID, recipient: JID, action: Action, sid: str) -> None:
        """Which sessions this may be meant for, in what state, by whom."""
        ended = dict.fromkeys(self.over, State.ENDED)
        for (initiator, responder, known), state in (ended | self.model.states).items():
            if known != sid:
                continue
            if {sender, recipient} == {initiator, responder}:
                who = Leg.INITIATOR if sender == initiator else Leg.RESPONDER
                self.seen[state, action, who.name] += 1
            elif sender not in (initiator, responder):
                self.seen[state, action, THIRD] += 1

    # What else happens

    def binds(self) -> None:
        self.stage.bind_all()

    def fails(self) -> None:
        self.stage.fail_all(port_taken=self.chance.random() < 0.5)

    def drains(self) -> None:
        self.stage.drain()

    def latches(self) -> None:
        if self.stage.plane.armed:
            name, side = self.chance.choice(list(self.stage.plane.armed))
            self.stage.latch(name, side, self.chance.choice(("198.51.100.1", "198.51.100.77")))

    def hears(self) -> None:
        if self.stage.plane.armed:
            name, side = self.chance.choice(list(self.stage.plane.armed))
            self.chance.choice((self.stage.heard, self.stage.silent))(name, side)

    def refuses(self) -> None:
        sender, recipient = self.chance.sample(USERS, 2)
        action, sid = self.chance.choice(list(Action)), self.chance.choice(SIDS)
        unknown, id_ = self.chance.random() < 0.1, self.chance.choice(("", "x1", "x2"))
        refusal = Refusal(sender, recipient, sid, action, unknown, id_)
        self.stage.registry.refused(refusal, self.stage.now)
        self.stage.settle()

    def moves(self) -> None:
        party = self.chance.choice(USERS)
        if self.chance.random() < 0.5:
            self.stage.registry.gone(Gone(party), self.stage.now)
        else:
            self.stage.registry.moved(Moved(party, RELAY6), self.stage.now)
        self.stage.settle()

    def waits(self) -> None:
        self.stage.passes(self.chance.choice((0.1, 0.1, 5.0, 5.0, 30.0, 200.0)))


@pytest.mark.timeout(1800)
@pytest.mark.rule("J1", "J5")
def test_every_action_in_every_state_by_everybody(record_property: Measured) -> None:
    chance = random.Random(6)
    seen: Counter[tuple[State, Action, str]] = Counter()
    steps, calls = 0, 0
    while steps < doses.count(STEPS):
        walk = Walk(chance, seen)
        for _ in range(WALK):
            walk.step()
        steps += WALK
        walk.stage.run_out()
        calls += len(walk.stage.ended)
    roles = [*(leg.name for leg in Leg), THIRD]
    assert set(seen) == {(s, a, who) for s in State for a in Action for who in roles}
    assert calls > 0
    record_property("steps", steps)
    record_property("combinations", len(seen))
    record_property("calls", calls)
