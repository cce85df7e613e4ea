"""Rows X5 and X7 of docs/threats.md: what crosses on its way, in any order of the plane's answers.

Both parties keep to the tie-break of XEP-0166 section 7.2.16: of two offers the one with the higher
sid is refused, of two changes of a session the responder's.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Bounce, Refusal
from jingle_hnt.jingle.policy import LimitPolicy
from jingle_hnt.jingle.table import State
from jingle_hnt.model.content import ContentKey, Creator
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from tests.jingle.stage import ALICE, BOB, CAMERA, VOICE, Stage, candidates, content
from tests.threats import doses
from tests.threats.doses import Measured

CROSSINGS = 10_000
PAIRS = 100_000
AT_ONCE = 50
RELEASED_S = 1.0
"""How soon after its refusal a request's ports are to be released."""
SCREEN = ContentKey(Creator.RESPONDER, "screen")
BEHIND = (Action.SESSION_INITIATE, *[Action.TRANSPORT_INFO] * 2, Action.SESSION_INFO)
ANSWERS = {
    Action.SESSION_INITIATE: Action.SESSION_ACCEPT,
    Action.CONTENT_ADD: Action.CONTENT_ACCEPT,
    Action.TRANSPORT_REPLACE: Action.TRANSPORT_ACCEPT,
}


@dataclass(frozen=True)
class Message:
    """A request on its way; `rank` is its sender's claim to win a tie-break, the lower the better.

    `token` is the relay's name for it, once it is there.
    """

    sender: JID
    action: Action
    sid: str
    key: ContentKey = VOICE
    rank: tuple[str, str] = ("", "")
    id: str = ""
    token: int = 0


class Crossing:
    """Alice and Bob on two wires, whose every hop takes as long as chance wants."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.stage = Stage(ports=(2000, 2039))
        self.stage.held = True
        self.towards_us: dict[JID, deque[Message]] = {ALICE: deque(), BOB: deque()}
        self.from_us: dict[JID, deque[Message]] = {ALICE: deque(), BOB: deque()}
        self.claims: dict[JID, Message] = {}
        self.notices: list[Refusal] = []
        self.refused = 0
        self.released_s = 0.0

    def both_send(self, action: Action, sids: dict[JID, str], initiator: JID) -> None:
        """Their requests cross; ranks as the XEP has them."""
        for party, sid in sids.items():
            rank = ("" if party == initiator else "1", "")
            if action is Action.SESSION_INITIATE:
                rank = (sid, str(party))
            key = VOICE
            if action is Action.CONTENT_ADD:
                key = CAMERA if party == initiator else SCREEN
            claim = Message(party, action, sid, key, rank, f"{action}{party}")
            self.claims[party] = claim
            self.towards_us[party].append(claim)
            if action is Action.SESSION_INITIATE:
                trickles = (Action.TRANSPORT_INFO, Action.SESSION_INFO)
                more = self.chance.choices(trickles, k=self.chance.randrange(3))
                self.towards_us[party].extend(Message(party, each, sid) for each in more)

    def runs(self) -> None:
        """Until nothing is on its way any more."""
        while moves := self._moves():
            self.chance.choice(moves)()
            if self.chance.random() < 0.3:
                self.stage.passes(self.chance.uniform(0.01, 0.5))
            self.stage.assert_ports_and_bindings_agree()

    def _moves(self) -> list[Callable[[], None]]:
        """What may happen next; each wire keeps its order."""
        answered = self.stage.answers
        moves = [partial(self.arrives, sender) for sender, q in self.towards_us.items() if q]
        for sender, queue in self.from_us.items():
            if queue and queue[0].token in answered:
                moves.append(partial(self.delivers, sender))
        if self.notices:
            moves.append(partial(self.told))
        if self.stage.binds:
            moves.append(partial(self.stage.bind_all))
        return list(moves)

    def arrives(self, sender: JID) -> None:
        sent = self.towards_us[sender].popleft()
        port = 5000 if sender == ALICE else 6000
        ours = content(sent.key, candidates("192.0.2.10", port))
        contents = () if sent.action is Action.SESSION_INFO else (ours,)
        info = Info.RINGING if sent.action is Action.SESSION_INFO else None
        self.stage.says(sender, sent.action, *contents, sid=sent.sid, info=info, id_=sent.id)
        self.from_us[sender].append(replace(sent, token=self.stage.tokens))

    def told(self) -> None:
        """The server module tells of a refusal; who was refused gives up."""
        refusal = self.notices.pop(0)
        self.claims.pop(refusal.sender, None)
        before, at = len(self.stage.plane.bindings), self.stage.now
        self.stage.registry.refused(refusal, at)
        self.stage.settle()
        while len(self.stage.plane.bindings) == before and self.stage.now - at <= RELEASED_S:
            self.stage.passes(0.05)
        assert len(self.stage.plane.bindings) == before - 2
        self.refused += 1
        self.released_s = max(self.released_s, self.stage.now - at)

    def delivers(self, sender: JID) -> None:
        got = self.from_us[sender].popleft()
        party = BOB if sender == ALICE else ALICE
        if isinstance(self.stage.answers[got.token], Bounce) or got.action not in ANSWERS:
            return
        mine = self.claims.get(party)
        if mine is not None and mine.rank < got.rank:
            id_ = self.chance.choice((got.id, ""))
            self.notices.append(Refusal(sender, party, got.sid, got.action, id=id_))
            return
        self.claims.pop(party, None)
        self.towards_us[party].append(Message(party, ANSWERS[got.action], got.sid, got.key))


@pytest.mark.timeout(1800)
@pytest.mark.rule("J9", "J20")
def test_of_two_offers_that_cross_one_survives(record_property: Measured) -> None:
    """Row X5: with sids that differ or not, and then with changes of the session that cross."""
    chance = random.Random(5)
    crossings, survivors, refused, slowest = doses.count(CROSSINGS), 0, 0, 0.0
    for _ in range(crossings):
        play = Crossing(chance)
        stage, sids = play.stage, {party: chance.choice("abc") for party in (ALICE, BOB)}
        winner, loser = sorted(sids, key=lambda party: (sids[party], str(party)))
        play.both_send(Action.SESSION_INITIATE, sids, winner)
        play.runs()
        (session,) = stage.registry
        assert session.state is State.ACTIVE
        assert [party.jid for party in session.parties] == [winner, loser]
        stage.drain()
        assert stage.pool.counts.leased == 4
        action = chance.choice((Action.CONTENT_ADD, Action.TRANSPORT_REPLACE))
        play.both_send(action, dict.fromkeys(sids, sids[winner]), winner)
        play.runs()
        added = {CAMERA} if action is Action.CONTENT_ADD else set()
        assert {k for k, m in session.negotiation.media.items() if m.agreed} == {VOICE} | added
        stage.drain()
        assert stage.pool.counts.leased == 4 + 4 * len(added)
        survivors += [end.why for end in stage.ended] == [Why.REFUSED]
        stage.says(chance.choice((ALICE, BOB)), Action.SESSION_TERMINATE, sid=sids[winner])
        stage.assert_nothing_left()
        refused += play.refused
        slowest = max(slowest, play.released_s)
    assert survivors == crossings
    assert refused == 2 * crossings
    assert slowest <= RELEASED_S
    record_property("crossings", crossings)
    record_property("survivors", survivors)
    record_property("refused", refused)
    record_property("released_s", round(slowest, 4))


@pytest.mark.timeout(1800)
def test_no_stanza_overtakes_another_of_its_session(record_property: Measured) -> None:
    """Row X7: candidates right behind the offer, while the plane binds for many calls at once."""
    stage = Stage(
        ports=(2000, 2999),
        limits=LimitPolicy(per_user=0, per_minute=0),
        budgets=BudgetPolicy(ports_per_user=0, user_stanzas_per_s=0),
    )
    stage.held = True
    chance, offer = random.Random(7), content()
    pairs, waited, reordered = 0, 0, 0
    while pairs < doses.count(PAIRS):
        sids = [f"s{pairs + number}" for number in range(AT_ONCE)]
        asked: dict[str, list[int]] = {sid: [] for sid in sids}
        crowd = [sid for sid in sids for _ in BEHIND]
        chance.shuffle(crowd)
        for sid in crowd:
            action = BEHIND[len(asked[sid])]
            contents = () if action is Action.SESSION_INFO else (offer,)
            answer = stage.says(ALICE, action, *contents, sid=sid)
            asked[sid].append(stage.tokens)
            waited += answer is None
            if chance.random() < 0.03:
                binds_some(stage, chance)
        while stage.binds:
            binds_some(stage, chance)
        place = {token: number for number, token in enumerate(stage.order)}
        for tokens in asked.values():
            places = [place[token] for token in tokens]
            reordered += sum(later < earlier for earlier, later in pairwise(places))
        assert len(place) == len(crowd)
        pairs += AT_ONCE
        for sid in sids:
            stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid)
        stage.assert_nothing_left()
        stage.order.clear()
        stage.answers.clear()
    assert reordered == 0
    assert waited > pairs
    record_property("pairs", pairs)
    record_property("waited", waited)
    record_property("reordered", reordered)


def binds_some(stage: Stage, chance: random.Random) -> None:
    """The plane answers some of its requests, the last ones first perhaps."""
    chance.shuffle(stage.binds)
    later = stage.binds[5:]
    del stage.binds[5:]
    stage.bind_all()
    stage.binds += later
