"""What comes to nothing is undone: refused by the other party, by the plane, or by us."""

from collections.abc import Callable

import pytest

from jingle_hnt.call.anchor import BIND_ATTEMPTS
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.effects import Bounce, Pass, Refusal, Replace
from jingle_hnt.jingle.policy import Fallback
from jingle_hnt.model.content import Content, ContentKey, Creator
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import ALICE, BOB, CAMERA, VOICE, Plane, Stage, candidates, content
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice

FIRST = {"s1.1.1", "s1.1.2"}


def refuses(stage: Stage, action: Action, unknown: bool = False, id_: str = "") -> None:
    """Bob answers Alice's request with an error."""
    stage.registry.refused(Refusal(ALICE, BOB, "a", action, unknown, id_), stage.now)
    stage.settle()


def moved(port: int, generation: int = 0) -> Content:
    return Content(VOICE, transport=candidates("192.0.2.10", port, generation))


# The other party


@pytest.mark.rule("J20")
def test_who_does_not_know_the_session_ends_it() -> None:
    stage = Stage()
    stage.call()
    refuses(stage, Action.SESSION_INFO)
    assert stage.ended == []
    refuses(stage, Action.SESSION_INFO, unknown=True)
    assert [end.why for end in stage.ended] == [Why.UNKNOWN_SESSION]
    assert stage.injected == []
    stage.assert_nothing_left()


@pytest.mark.rule("J20")
def test_a_refused_content_is_released_and_the_others_go_on() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    refuses(stage, Action.CONTENT_ADD)
    assert set(stage.plane.bindings) == FIRST


def test_a_content_that_is_refused_while_the_call_rings_leaves_the_offer_alone() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    refuses(stage, Action.CONTENT_ADD)
    assert set(stage.plane.bindings) == FIRST
    assert isinstance(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()), Replace)


@pytest.mark.rule("J20")
def test_of_several_additions_only_the_refused_one_is_undone() -> None:
    stage = Stage()
    stage.call()
    screen = ContentKey(Creator.INITIATOR, "screen")
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA), id_="x1")
    stage.says(ALICE, Action.CONTENT_ADD, content(screen), id_="x2")
    refuses(stage, Action.CONTENT_ADD, id_="x1")
    assert set(stage.plane.bindings) == {*FIRST, "s1.3.1", "s1.3.2"}
    assert isinstance(stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(CAMERA)), Pass)
    assert isinstance(stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(screen)), Replace)


@pytest.mark.rule("J20")
def test_an_error_for_a_replacement_that_was_itself_replaced_changes_nothing() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9000), id_="x1")
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9100), id_="x2")
    refuses(stage, Action.TRANSPORT_REPLACE, id_="x1")
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs())
    assert set(stage.plane.bindings) == {"s1.3.1", "s1.3.2"}


@pytest.mark.rule("J20")
def test_a_refused_replacement_is_released_and_the_transport_in_use_stays() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9000))
    refuses(stage, Action.TRANSPORT_REPLACE)
    assert set(stage.plane.bindings) == FIRST
    assert isinstance(stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs()), Pass)


@pytest.mark.rule("J9", "J20")
def test_of_two_requests_that_cross_the_one_that_ties_break_against_is_undone() -> None:
    """The second kind of tie-break: both change the session at once (XEP-0166 section 7.2.16)."""
    stage = Stage()
    stage.call()
    screen = ContentKey(Creator.RESPONDER, "screen")
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    stage.says(BOB, Action.CONTENT_ADD, content(screen))
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9000))
    stage.says(BOB, Action.TRANSPORT_REPLACE, moved(9100))
    for action in (Action.CONTENT_ADD, Action.TRANSPORT_REPLACE):
        stage.registry.refused(Refusal(BOB, ALICE, "a", action), stage.now)
    stage.settle()
    assert set(stage.plane.bindings) == FIRST | {f"s1.{n}.{c}" for n in (2, 4) for c in (1, 2)}
    stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(CAMERA))
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs())
    assert set(stage.plane.bindings) == {f"s1.{n}.{c}" for n in (2, 4) for c in (1, 2)}


# The plane


@pytest.mark.parametrize(
    ("action", "offer"),
    [(Action.TRANSPORT_REPLACE, moved(9000)), (Action.CONTENT_ADD, content(CAMERA))],
)
def test_what_the_plane_cannot_bind_is_refused_and_the_call_goes_on(
    action: Action, offer: Content
) -> None:
    stage = Stage()
    stage.call()
    stage.held = True
    stage.says(ALICE, action, offer)
    stage.fail_all(port_taken=False)
    answer = stage.answers[stage.tokens]
    assert isinstance(answer, Bounce)
    assert answer.error.condition is Condition.RESOURCE_CONSTRAINT
    assert set(stage.plane.bindings) == FIRST
    assert stage.pool.counts.leased == 4
    assert len(stage.registry) == 1


def test_ports_of_others_are_not_looked_for_without_end() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    for _ in range(BIND_ATTEMPTS):
        assert stage.answers == {}
        stage.fail_all(port_taken=True)
    assert isinstance(stage.answers[1], Bounce)
    stage.assert_nothing_left()


def test_a_good_pair_is_not_lost_with_a_bad_one() -> None:
    stage = Stage(ports=(2000, 2005))
    free = stage.pool.counts.free
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.fail_all(port_taken=True)
    assert stage.answers == {}
    stage.fail_all(port_taken=True)
    assert isinstance(stage.answers[1], Bounce)
    counts = stage.pool.counts
    assert (counts.free, counts.leased, counts.shunned) == (free - 4, 0, 4)


def test_a_call_that_a_new_plane_cannot_take_up_ends_for_both() -> None:
    stage = Stage()
    stage.call()
    stage.held, stage.plane = True, Plane()
    reconcile(stage.registry.calls, [], stage.now)
    stage.settle()
    stage.fail_all(port_taken=False)
    assert [end.why for end in stage.ended] == [Why.PORTS_LOST]
    assert {inject.recipient for inject in stage.injected} == {ALICE, BOB}
    stage.assert_nothing_left()


# The rules


def accepts_again(stage: Stage) -> object:
    return stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs())


def adds_what_is_there(stage: Stage) -> object:
    return stage.says(ALICE, Action.CONTENT_ADD, content())


def names_what_is_not_there(stage: Stage) -> object:
    stage.says(BOB, Action.CONTENT_MODIFY, content(CAMERA))
    return stage.says(BOB, Action.CONTENT_REMOVE, content(CAMERA))


def answers_its_own(stage: Stage) -> object:
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    return stage.says(ALICE, Action.CONTENT_ACCEPT, content(CAMERA))


@pytest.mark.rule("J8")
@pytest.mark.parametrize(
    "says", [accepts_again, adds_what_is_there, names_what_is_not_there, answers_its_own]
)
def test_a_request_that_makes_no_sense_passes_and_changes_nothing(
    says: Callable[[Stage], object],
) -> None:
    stage = Stage()
    stage.call()
    before = {name: stage.plane.flows[name] for name in FIRST}, dict(stage.plane.armed)
    assert not isinstance(says(stage), Bounce), "its receiver judges it"
    assert {name: stage.plane.flows[name] for name in FIRST} == before[0]
    assert {key: arm for key, arm in stage.plane.armed.items() if key in before[1]} == before[1]
    stage.says(ALICE, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


def test_a_second_replacement_takes_the_place_of_the_first() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9000))
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(9100))
    assert set(stage.plane.bindings) == {*FIRST, "s1.3.1", "s1.3.2"}
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs())
    assert set(stage.plane.bindings) == {"s1.3.1", "s1.3.2"}


@pytest.mark.parametrize("exhausted", Fallback)
@pytest.mark.parametrize("action", [Action.SESSION_ACCEPT, Action.CONTENT_ACCEPT])
def test_nobody_is_told_of_ports_that_were_not_to_be_had(
    exhausted: Fallback, action: Action
) -> None:
    """What it waited for had passed, and was answered. With our candidates in the answer its
    receiver would send to the next call that has these ports."""
    stage = Stage(exhausted=exhausted)
    key, proposes = VOICE, Action.SESSION_INITIATE
    if action is Action.CONTENT_ACCEPT:
        stage.call()
        key, proposes = CAMERA, Action.CONTENT_ADD
    stage.held = True
    stage.says(ALICE, proposes, content(key))
    assert stage.says(BOB, action, stage.bobs(key)) is None
    stage.fail_all(port_taken=False)
    assert stage.answers[stage.tokens] == Pass(stage.tokens)


def test_where_addresses_are_hidden_they_stay_so_without_ports() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    assert stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB)) is None
    stage.fail_all(port_taken=False)
    answer = stage.answers[stage.tokens]
    assert isinstance(answer, Replace)
    assert answer.substitution == {}
    assert answer.transports[VOICE].candidates == ()
    assert answer.transports[VOICE].ufrag not in OF_BOB
