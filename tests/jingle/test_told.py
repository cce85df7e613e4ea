"""What a refusal tells the user to do is done, and then the request is taken."""

from collections.abc import Callable

import pytest

from jingle_hnt.call.policy import GateMode, IceMode
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Answer, Bounce, Opened, Replace, Request
from jingle_hnt.jingle.policy import ChannelPolicy, LimitPolicy
from jingle_hnt.jingle.refusals import NO_PLANE
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from tests.jingle.stage import ADDRESSES, ALICE, BOB, CAMERA, Stage, content
from tests.jingle.test_channels import ask
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice
from tests.jingle.test_terminate import at

CLARA = JID.of("clara@elsewhere.example/x")


def offer(stage: Stage, sid: str, caller: JID = ALICE) -> Answer | None:
    return stage.says(caller, Action.SESSION_INITIATE, content(), to=BOB, sid=sid)


def told(answer: object) -> str:
    assert isinstance(answer, Bounce)
    return answer.error.text


def ends_one(stage: Stage) -> None:
    stage.says(ALICE, Action.SESSION_TERMINATE, sid="a")


def waits(stage: Stage) -> None:
    stage.passes(61.0)


def another_ends(stage: Stage) -> None:
    """What happens until later."""
    ends_one(stage)


@pytest.mark.parametrize(
    ("limits", "text", "does"),
    [
        (LimitPolicy(per_user=1), "as one user may have; end one, or try again later", ends_one),
        (LimitPolicy(per_minute=1), "faster than one user may; try again in a minute", waits),
        (
            LimitPolicy(half_open=1),
            "as many unanswered calls as it may have; try again later",
            another_ends,
        ),
        (
            LimitPolicy(per_domain=1),
            "your domain has as many calls as it may have; try again later",
            another_ends,
        ),
        (
            LimitPolicy(calls=1),
            "the relay has as many calls as it may have; try again later",
            another_ends,
        ),
    ],
)
def test_a_limit_lets_the_next_call_through(
    limits: LimitPolicy, text: str, does: Callable[[Stage], None]
) -> None:
    stage = Stage(limits=limits)
    offer(stage, "a")
    assert text in told(offer(stage, "b"))
    does(stage)
    assert isinstance(offer(stage, "c"), Replace)


def test_who_wants_less_than_the_budget_has_it() -> None:
    stage = Stage(budgets=BudgetPolicy(contents=1))
    both = (content(), content(CAMERA))
    refused = stage.says(ALICE, Action.SESSION_INITIATE, *both, sid="a")
    assert "(budget contents); use less, or try again later" in told(refused)
    assert isinstance(offer(stage, "b"), Replace)


def test_a_relay_without_ports_has_some_when_a_call_has_ended() -> None:
    stage = Stage(ports=(2000, 2003))
    offer(stage, "a")
    assert "no room for this now; try again later" in told(offer(stage, "b"))
    ends_one(stage)
    stage.drain()
    stage.passes(61.0)
    assert isinstance(offer(stage, "c"), Replace)


def test_a_plane_that_is_away_is_back_in_a_moment() -> None:
    stage = Stage()
    stage.held = True
    offer(stage, "a")
    (bind,) = stage.binds
    stage.binds.clear()
    stage.registry.calls.unanswered(bind.session, bind.number, stage.now)
    stage.settle()
    assert told(stage.answers[1]) == NO_PLANE.text
    assert "is being started again; try again in a moment" in NO_PLANE.text
    stage.held = False
    assert isinstance(offer(stage, "b"), Replace)


def test_a_channel_more_is_there_later() -> None:
    stage = Stage(relay_nodes=ChannelPolicy(per_user=1))
    assert isinstance(ask(stage), Opened)
    assert "or asked for too many; try again later" in told(ask(stage))
    stage.passes(61.0)
    assert isinstance(ask(stage), Opened)


def hiding() -> Stage:
    return Stage(ice=IceMode.TERMINATE, gate=GateMode.TWO_STAGE)


def test_addresses_are_hidden_of_what_can_be_rewritten() -> None:
    stage = hiding()
    twice = Jingle(Action.SESSION_INITIATE, "a", contents=(content(),), is_whole=False)
    stage.registry.receive(Request(1, ALICE, BOB, twice), stage.now)
    stage.tokens = 1
    stage.settle()
    assert "write one transport in each content, and each content once" in told(stage.answers[1])
    assert isinstance(offer(stage, "b"), Replace)


def test_who_was_offered_ice_writes_ice() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.says(ALICE, Action.SESSION_INITIATE, at(ice(OF_ALICE), ADDRESSES[ALICE]))
    refused = stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert "has another transport: write the one it was offered" in told(refused)
    accepted = stage.says(BOB, Action.SESSION_ACCEPT, at(ice(OF_BOB), ADDRESSES[BOB]))
    assert isinstance(accepted, Replace)
