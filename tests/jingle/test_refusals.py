"""A call that could not be made leaves word of who, whom, and which obstacle."""

import pytest

from jingle_hnt.call.policy import GateMode, IceMode
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.effects import Bounce, Pass, Passed, Request
from jingle_hnt.jingle.policy import Fallback, LimitPolicy
from jingle_hnt.jingle.refusals import Kind
from jingle_hnt.model.content import Content, OtherTransport
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from tests.jingle.stage import ALICE, BOB, MALLORY, PUBLIC, RELAY, VOICE, Stage, content

DORA, ERIC = JID.of("dora@elsewhere.example/x"), JID.of("eric@elsewhere.example/y")
PROOF = PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, unknown_source=UnknownSource.REFUSE)


def offer(stage: Stage, caller: JID = ALICE, callee: JID = BOB, sid: str = "x") -> object:
    return stage.says(caller, Action.SESSION_INITIATE, content(), to=callee, sid=sid, known=False)


def only(stage: Stage) -> tuple[Kind, str]:
    (refused,) = stage.refused
    assert (refused.caller, refused.sid) in ((ALICE, "x"), (DORA, "x"))
    return refused.obstacle.kind, refused.obstacle.which


@pytest.mark.parametrize(
    ("limits", "which"),
    [
        (LimitPolicy(per_user=1), "limits.per_user"),
        (LimitPolicy(per_domain=1), "limits.per_domain"),
        (LimitPolicy(calls=1), "limits.calls"),
        (LimitPolicy(per_minute=1), "limits.per_minute"),
        (LimitPolicy(half_open=1), "limits.half_open"),
    ],
)
def test_a_limit_is_named(limits: LimitPolicy, which: str) -> None:
    stage = Stage(limits=limits)
    offer(stage, sid="before")
    assert stage.refused == []
    assert isinstance(offer(stage), Bounce)
    assert only(stage) == (Kind.LIMIT, which)


@pytest.mark.parametrize("who", ["bob@example.org", "example.org"])
def test_a_block_is_named_by_its_entry(who: str) -> None:
    stage = Stage()
    stage.registry.limits.blocked = {who}
    assert isinstance(offer(stage), Bounce)
    assert only(stage) == (Kind.BLOCK, who)


@pytest.mark.parametrize(("draining", "answer"), [(Fallback.REFUSE, Bounce), (Fallback.PASS, Pass)])
def test_a_drain_is_told_whether_the_call_goes_on_or_not(
    draining: Fallback, answer: type[object]
) -> None:
    stage = Stage(draining=draining)
    stage.registry.draining = True
    assert isinstance(offer(stage), answer)
    assert only(stage) == (Kind.DRAIN, "relay.draining")
    assert (stage.refused[0].obstacle.error is None) == (draining is Fallback.PASS)


@pytest.mark.parametrize("exhausted", list(Fallback))
def test_ports_that_are_gone_are_no_call(exhausted: Fallback) -> None:
    """Neither refused nor passed on is it one for the history of calls."""
    stage = Stage(ports=(2000, 2003), exhausted=exhausted)
    offer(stage, sid="before")
    offer(stage)
    assert only(stage) == (Kind.PORTS, "")
    (ended,) = stage.ended
    assert ended.obstacle is not None
    assert (ended.obstacle.error is None) == (exhausted is Fallback.PASS)


def test_ports_that_the_plane_cannot_bind_are_no_call() -> None:
    stage = Stage()
    stage.held = True
    offer(stage)
    stage.fail_all(port_taken=False)
    assert only(stage) == (Kind.PORTS, "")


@pytest.mark.parametrize(
    ("budgets", "which"),
    [
        (BudgetPolicy(ports_per_user=4), "ports-user"),
        (BudgetPolicy(name_bytes=4), "name-bytes"),
        (BudgetPolicy(contents=0, ports_per_domain=4), "ports-domain"),
    ],
)
def test_a_budget_is_named(budgets: BudgetPolicy, which: str) -> None:
    stage = Stage(budgets=budgets)
    if which != "name-bytes":
        offer(stage, sid="before")
    assert isinstance(offer(stage), Bounce)
    assert only(stage) == (Kind.BUDGET, which)


def test_who_cannot_be_proven_and_who_is_of_no_domain_of_ours() -> None:
    stage = Stage(peers=PROOF)
    assert isinstance(offer(stage), Bounce)
    assert only(stage) == (Kind.UNPROVEN, "")
    stage = Stage()
    assert isinstance(offer(stage, DORA, ERIC), Bounce)
    assert only(stage) == (Kind.NOT_LOCAL, "xmpp.domains")


@pytest.mark.parametrize(("caller", "owner"), [(ALICE, "alice@example.org"), (DORA, DORA.domain)])
def test_another_server_answers_for_its_users_together(caller: JID, owner: str) -> None:
    stage = Stage()
    stage.registry.limits.blocked = {"bob@example.org"}
    offer(stage, caller)
    assert stage.refused[0].owner == owner


def test_an_offer_that_waited_or_that_nobody_showed_us() -> None:
    stage = Stage()
    jingle = Jingle(Action.SESSION_INITIATE, "x", contents=(content(),))
    for token, wait in enumerate((stage.registry.late, None)):
        request = Request(token, ALICE, BOB, jingle)
        if wait is None:
            stage.registry.crowded(request)
        else:
            wait(request, 0.0)
    passed = Passed(ALICE, BOB, "x", Action.SESSION_INITIATE, jingle, age_s=90.0)
    stage.registry.passed(passed, 0.0)
    stage.settle()
    assert [refused.age_s for refused in stage.refused] == [0.0, 0.0, 90.0]
    kinds = [refused.obstacle.kind for refused in stage.refused]
    assert kinds == [Kind.LATE, Kind.BUDGET, Kind.AWAY]
    assert [refused.obstacle.error is None for refused in stage.refused] == [True, False, True]


def test_nothing_is_said_of_a_data_channel_that_passes_by_or_of_later_requests() -> None:
    stage = Stage()
    jingle = Jingle(
        Action.SESSION_INITIATE, "x", contents=(Content(VOICE, None, OtherTransport("urn:x")),)
    )
    stage.registry.passed(Passed(ALICE, BOB, "x", Action.SESSION_INITIATE, jingle), 0.0)
    stage.call(sid="y")
    stage.registry.late(Request(100, ALICE, BOB, Jingle(Action.TRANSPORT_INFO, "x")), 0.0)
    stage.settle()
    assert stage.refused == []


def test_what_cannot_be_hidden_is_named() -> None:
    stage = Stage(ice=IceMode.TERMINATE, gate=GateMode.TWO_STAGE)
    broken = Jingle(Action.SESSION_INITIATE, "x", contents=(content(),), is_whole=False)
    stage.registry.receive(Request(1, ALICE, BOB, broken), 0.0)
    stage.tokens = 1
    stage.settle()
    assert only(stage) == (Kind.HIDDEN, "")
    assert MALLORY not in {refused.callee for refused in stage.refused}
