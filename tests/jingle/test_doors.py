"""What the core makes of calls that come by addresses at the component."""

from dataclasses import replace

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.effects import Answer, Bounce, Pass, Replace, Request
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from tests.jingle.stage import ALICE, BOB, Stage, content

HNT = "hnt.example.org"
GUEST = JID.of("carol@guests.example/phone")
FOREIGNER = JID.of("dave@elsewhere.example/phone")


def offer(stage: Stage, via: str, sender: JID = ALICE, recipient: JID = BOB) -> Answer:
    jingle = Jingle(Action.SESSION_INITIATE, "a", contents=(content(),))
    stage.tokens += 1
    request = Request(stage.tokens, sender, recipient, jingle, via=via)
    stage.registry.receive(request, stage.now)
    stage.settle()
    return stage.answers[stage.tokens]


@pytest.mark.parametrize("via", ["", HNT])
def test_what_the_core_says_leaves_by_the_door_of_the_call(via: str) -> None:
    stage = Stage()
    assert isinstance(offer(stage, via), Replace)
    (session,) = stage.registry
    again = Stage()
    again.registry.restore(load(dump(session, stage.now), again.registry, again.now), again.now)
    for each in (stage, again):
        (session,) = each.registry
        session.terminate(Why.ADMINISTRATOR)
        (ended,) = [e for e in each.registry.calls.effects() if isinstance(e, Ended)]
        said = ended.farewells
        assert [(e.recipient, e.via) for e in said] == [(ALICE, via), (BOB, via)]


def test_guests_are_relayed_by_address_only() -> None:
    stage = Stage(guests=frozenset({GUEST.domain}))
    assert isinstance(offer(stage, HNT, GUEST, FOREIGNER), Replace)
    for via, caller in (("", GUEST), (HNT, FOREIGNER)):
        answer = offer(stage, via, replace(caller, resource="other"), FOREIGNER)
        assert isinstance(answer, Bounce)
        assert answer.error.condition is Condition.FORBIDDEN


def test_a_call_by_an_address_counts_against_its_callers_limit() -> None:
    stage = Stage()
    stage.registry.limits.blocked.add(str(BOB.bare))
    assert isinstance(offer(stage, HNT), Bounce)
    stage.registry.limits.blocked.clear()
    assert not isinstance(offer(stage, HNT), Bounce | Pass)
    assert stage.registry.limits.users[ALICE.bare] == 1
