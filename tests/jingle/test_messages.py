"""Calls that are begun and ended by Jingle messages (XEP-0353)."""

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.jingle.effects import Passed, Withdrawn
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import ALICE, BOB, MALLORY, Stage, content


def withdraw(stage: Stage, jid: JID, sid: str = "a", retract: bool = False) -> None:
    stage.registry.withdrawn(Withdrawn(jid, sid, retract), stage.now)
    stage.settle()


@pytest.mark.rule("J17")
@pytest.mark.parametrize("party", [ALICE, BOB])
def test_a_finish_of_either_party_ends_the_call_without_a_word_of_ours(party: JID) -> None:
    stage = Stage()
    stage.call()
    withdraw(stage, party)
    assert [end.why for end in stage.ended] == [Why.TERMINATED]
    assert stage.injected == []
    stage.assert_nothing_left()


@pytest.mark.rule("J17")
def test_an_offer_is_retracted_by_who_made_it_and_only_while_it_is_one() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    withdraw(stage, BOB, retract=True)
    assert stage.ended == []
    withdraw(stage, ALICE, retract=True)
    stage.assert_nothing_left()
    stage = Stage()
    stage.call()
    withdraw(stage, ALICE, retract=True)
    assert stage.ended == []


@pytest.mark.rule("J5", "J17")
def test_who_is_no_party_and_an_ambiguous_sid_end_nothing() -> None:
    stage = Stage()
    stage.call()
    for stranger in (MALLORY, JID.of("alice@example.org/other")):
        withdraw(stage, stranger)
    withdraw(stage, ALICE, sid="b")
    stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE)
    withdraw(stage, ALICE)
    assert stage.ended == []
    assert len(stage.registry) == 2


def test_a_terminate_that_nobody_showed_us_ends_the_call_and_nothing_else_does() -> None:
    stage = Stage()
    stage.call()
    for action, sid in ((Action.SESSION_INFO, "a"), (Action.SESSION_TERMINATE, "b")):
        stage.registry.passed(Passed(ALICE, BOB, sid, action, None), stage.now)
    stage.settle()
    assert stage.ended == []
    stage.registry.passed(Passed(BOB, ALICE, "a", Action.SESSION_TERMINATE, None), stage.now)
    stage.settle()
    assert [end.why for end in stage.ended] == [Why.TERMINATED]
    assert stage.injected == []
    stage.assert_nothing_left()
