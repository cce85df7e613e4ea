"""Limits: who may make how many calls, and what becomes of the one too many."""

import pytest

from jingle_hnt.call.calls import SPARE_TIMERS
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import Condition
from jingle_hnt.jingle import registry
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Bounce, Gone, Pass, Replace
from jingle_hnt.jingle.policy import Fallback, LimitPolicy
from jingle_hnt.model.content import ICE_UDP, Content, ContentKey, Creator, Ice
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Reason
from tests.jingle.stage import ALICE, BOB, MALLORY, Stage, content
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice


def offer(stage: Stage, sid: str, caller: JID = ALICE, callee: JID = BOB) -> object:
    return stage.says(caller, Action.SESSION_INITIATE, content(), to=callee, sid=sid)


def is_refused(answer: object, condition: Condition = Condition.RESOURCE_CONSTRAINT) -> bool:
    return isinstance(answer, Bounce) and answer.error.condition is condition


@pytest.mark.parametrize(
    ("limits", "room_for"),
    [
        (LimitPolicy(per_user=2), 2),
        (LimitPolicy(per_user=0, per_domain=3), 3),
        (LimitPolicy(per_user=0, calls=4), 4),
        (LimitPolicy(per_user=0, per_minute=5), 5),
        (LimitPolicy(per_user=0, half_open=6), 6),
    ],
)
def test_the_call_over_a_limit_is_refused_at_once(limits: LimitPolicy, room_for: int) -> None:
    stage = Stage(limits=limits)
    for number in range(room_for):
        assert isinstance(offer(stage, f"s{number}"), Replace)
    leased = stage.pool.counts.leased
    refused = offer(stage, "over")
    assert is_refused(refused)
    assert isinstance(refused, Bounce)
    assert refused.error.type == "wait"
    assert stage.pool.counts.leased == leased


def test_a_call_that_ends_makes_room() -> None:
    stage = Stage(limits=LimitPolicy(per_user=1, per_domain=1, calls=1))
    offer(stage, "a")
    assert is_refused(offer(stage, "b"))
    stage.says(ALICE, Action.SESSION_TERMINATE, sid="a")
    assert isinstance(offer(stage, "c"), Replace)


def test_an_offer_that_is_answered_or_gives_up_makes_room_for_another() -> None:
    stage = Stage(limits=LimitPolicy(half_open=1))
    for sid, caller_stays in (("a", True), ("b", False)):
        assert isinstance(offer(stage, sid), Replace)
        assert is_refused(offer(stage, "over"))
        if caller_stays:
            stage.says(BOB, Action.SESSION_ACCEPT, content(), to=ALICE, sid=sid)
        else:
            stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid)
    assert isinstance(offer(stage, "c"), Replace)
    stage.passes(121.0)
    assert isinstance(offer(stage, "d"), Replace)
    assert stage.registry.limits.half_open == {"example.org": 1}


def test_who_floods_from_one_domain_takes_nothing_from_another() -> None:
    stage = Stage(limits=LimitPolicy(per_user=0, half_open=1))
    dora = JID.of("dora@elsewhere.example/phone")
    offer(stage, "a", dora, BOB)
    assert is_refused(offer(stage, "b", dora, BOB))
    assert isinstance(offer(stage, "c", ALICE, BOB), Replace)


def test_the_limit_of_all_calls_counts_those_of_every_domain() -> None:
    stage = Stage(limits=LimitPolicy(calls=2))
    offer(stage, "a", JID.of("dora@elsewhere.example/phone"), BOB)
    offer(stage, "b", JID.of("dora@nowhere.example/phone"), BOB)
    assert is_refused(offer(stage, "c"))


def test_the_minute_passes() -> None:
    stage = Stage(limits=LimitPolicy(per_user=0, per_minute=1))
    offer(stage, "a")
    assert is_refused(offer(stage, "b"))
    stage.passes(61.0)
    assert isinstance(offer(stage, "c"), Replace)


def test_ringing_somebody_does_not_use_up_their_calls() -> None:
    stage = Stage(limits=LimitPolicy(per_user=1))
    offer(stage, "a", MALLORY, BOB)
    assert isinstance(offer(stage, "b", BOB, ALICE), Replace)


@pytest.mark.parametrize("who", ["mallory@example.org", "example.org"])
def test_calls_from_and_to_the_blocked_are_refused(who: str) -> None:
    stage = Stage()
    stage.registry.limits.blocked.add(who)
    assert is_refused(offer(stage, "a", MALLORY, BOB), Condition.FORBIDDEN)
    assert is_refused(offer(stage, "b", BOB, MALLORY), Condition.FORBIDDEN)


def test_draining_gives_new_calls_the_configured_answer_and_lets_live_ones_go_on() -> None:
    stage = Stage()
    stage.call(sid="live")
    stage.registry.draining = True
    assert isinstance(offer(stage, "a"), Pass)
    refusing = Stage(draining=Fallback.REFUSE)
    refusing.registry.draining = True
    assert is_refused(offer(refusing, "a"))
    assert len(stage.registry) == 1
    assert isinstance(stage.says(ALICE, Action.SESSION_TERMINATE, sid="live"), Pass)


def test_calls_that_are_over_leave_no_timers_and_the_others_keep_theirs() -> None:
    limits = LimitPolicy(per_user=0, per_minute=0)
    stage = Stage(ports=(2000, 9999), limits=limits, budgets=BudgetPolicy(ports_per_user=0))
    stage.says(ALICE, Action.SESSION_INITIATE, content(), sid="rings")
    for number in range(200):
        stage.call(sid=f"call-{number}")
        stage.says(ALICE, Action.SESSION_TERMINATE, sid=f"call-{number}", reason=Reason("success"))
    assert len(stage.registry.calls._timers) <= SPARE_TIMERS + 2
    stage.ended.clear()
    stage.passes(121.0)
    assert not stage.ended, "it still rings"
    stage.passes(86400.0)
    assert [ended.why for ended in stage.ended] == [Why.SETUP_TIMEOUT]
    assert not stage.injected


CHANNEL = Content(ContentKey(Creator.INITIATOR, "data"), transport=Ice(ICE_UDP, "u", "p" * 22))
"""A data channel (XEP-0343)."""


def test_no_limit_of_calls_is_for_sessions_without_media() -> None:
    stage = Stage(limits=LimitPolicy(per_user=1, per_minute=1))
    for number in range(registry.FOLLOWED_OF_USER + 5):
        answer = stage.says(ALICE, Action.SESSION_INITIATE, CHANNEL, sid=f"d{number}")
        assert not isinstance(answer, Bounce)
    assert len(stage.registry) == registry.FOLLOWED_OF_USER
    stage.says(ALICE, Action.SESSION_TERMINATE, sid="d0")
    stage.says(ALICE, Action.SESSION_INITIATE, CHANNEL, sid="more")
    assert len(stage.registry) == registry.FOLLOWED_OF_USER


def test_a_blocked_user_opens_no_data_channel_by_us() -> None:
    stage = Stage()
    stage.registry.limits.blocked = {str(ALICE.bare)}
    answer = stage.says(ALICE, Action.SESSION_INITIATE, CHANNEL)
    assert is_refused(answer, Condition.FORBIDDEN)


def test_a_call_in_which_we_have_no_part_is_forgotten_when_its_party_has_left() -> None:
    stage = Stage(ice=IceMode.PASS)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB))
    assert len(stage.registry) == 1
    stage.registry.gone(Gone(BOB), stage.now)
    stage.settle()
    assert len(stage.registry) == 0
    assert [ended.farewells for ended in stage.ended] == [()]
