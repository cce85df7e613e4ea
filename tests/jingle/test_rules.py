"""Who may call whom: what rules say of a pair, and where they speak."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.errors import Condition
from jingle_hnt.jingle.effects import Bounce, Pass, Replace
from jingle_hnt.jingle.policy import Fallback, LimitPolicy
from jingle_hnt.jingle.refusals import NO_SUCH_USER, Kind
from jingle_hnt.jingle.rules import STRANGERS, CallRule, CallVerdict, Pair, RulesPolicy, Ruling
from jingle_hnt.model.content import Content, OtherTransport
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import ALICE, BOB, MALLORY, VOICE, Stage, content

OURS = frozenset({"example.org", "example.net"})
DORA = JID.of("dora@elsewhere.example/x")
ALLOW, REFUSE = CallVerdict.ALLOW, CallVerdict.REFUSE

jids = st.builds(
    JID,
    st.sampled_from(["alice", "bob", "eve", ""]),
    st.sampled_from([*sorted(OURS), "elsewhere.example"]),
    st.sampled_from(["", "phone"]),
)
contacts = st.sampled_from([True, False, None])
pairs = st.builds(Pair, jids, jids, contacts)
patterns = st.sampled_from(["alice@example.org", "*@example.org", "elsewhere.example", "*", "b*"])
conditions = st.tuples(
    st.lists(patterns, max_size=2).map(tuple),
    st.lists(patterns, max_size=2).map(tuple),
    contacts,
    contacts,
)
rules = st.builds(
    lambda verdict, name, four: CallRule(verdict, name, *four),
    st.sampled_from(CallVerdict),
    st.sampled_from(["one", "two", "three"]),
    conditions,
)
policies = st.builds(
    RulesPolicy, st.lists(rules, max_size=4).map(tuple), st.sampled_from(CallVerdict)
)


@given(policies, pairs)
def test_the_first_rule_that_fits_holds_and_then_the_one_about_strangers(
    policy: RulesPolicy, pair: Pair
) -> None:
    expected = Ruling()
    if pair.caller.bare != pair.callee.bare:
        found = [rule for rule in policy.rules if rule.fits(pair, OURS)]
        if found:
            expected = Ruling(found[0].verdict, found[0].name)
        elif pair.contact is False and policy.strangers is REFUSE:
            expected = Ruling(REFUSE, STRANGERS)
    assert policy.ruling(pair, OURS) == expected


@given(policies, jids, jids)
def test_what_is_not_known_of_a_pair_is_held_against_nobody(
    policy: RulesPolicy, caller: JID, callee: JID
) -> None:
    """As if the rules that ask for contacts were not there."""
    kept = tuple(rule for rule in policy.rules if rule.contact is None)
    unknown = Pair(caller, callee, None)
    assert policy.ruling(unknown, OURS) == RulesPolicy(kept).ruling(unknown, OURS)


@given(pairs)
def test_without_rules_nothing_is_refused_and_nothing_is_asked(pair: Pair) -> None:
    assert RulesPolicy().ruling(pair, OURS) == Ruling()
    assert not RulesPolicy().asks_about_rings


@given(policies, pairs)
def test_a_rule_without_conditions_ends_the_list(policy: RulesPolicy, pair: Pair) -> None:
    closed = RulesPolicy((*policy.rules, CallRule(REFUSE, "else")), policy.strangers)
    ruling = closed.ruling(pair, OURS)
    assert ruling.by != STRANGERS
    assert (ruling == Ruling()) == (pair.caller.bare == pair.callee.bare)


@pytest.mark.parametrize(
    ("caller", "callee", "other_server"),
    [
        (ALICE, BOB, False),
        (ALICE, JID.of("bob@example.net"), False),
        (ALICE, DORA, True),
        (DORA, ALICE, True),
    ],
)
def test_a_pair_of_ours_has_nobody_of_another_server(
    caller: JID, callee: JID, other_server: bool
) -> None:
    for wanted in (True, False):
        rule = CallRule(REFUSE, "", other_server=wanted)
        assert rule.fits(Pair(caller, callee), OURS) == (wanted is other_server)


# Where they speak


def refuses(answer: object) -> bool:
    return isinstance(answer, Bounce) and answer.error == NO_SUCH_USER


def offers(stage: Stage, contact: bool | None, sid: str = "a", of: Content | None = None) -> object:
    said = of or content()
    return stage.says(MALLORY, Action.SESSION_INITIATE, said, to=BOB, sid=sid, contact=contact)


def only(stage: Stage) -> tuple[Kind, str]:
    ((kind, which),) = [(one.obstacle.kind, one.obstacle.which) for one in stage.refused]
    return kind, which


STRICT = RulesPolicy(strangers=REFUSE)


@pytest.mark.parametrize("contact", [True, None])
def test_a_contact_rings_and_calls(contact: bool | None) -> None:
    stage = Stage(calls=STRICT)
    assert isinstance(stage.rings(MALLORY, BOB, contact=contact), Pass)
    assert isinstance(offers(stage, contact), Replace)
    assert stage.refused == []


def test_a_stranger_neither_rings_nor_calls_nor_sends_files() -> None:
    file = Content(VOICE, None, OtherTransport("urn:xmpp:jingle:transports:s5b:1"), None)
    for play in (
        lambda stage: stage.rings(MALLORY, BOB.bare, contact=False),
        lambda stage: offers(stage, False),
        lambda stage: offers(stage, False, of=file),
    ):
        stage = Stage(calls=STRICT)
        assert refuses(play(stage))
        assert only(stage) == (Kind.RULE, STRANGERS)
        assert stage.pool.counts.leased == 0
        (refused,) = stage.refused
        assert (refused.caller, refused.callee.bare) == (MALLORY, BOB.bare)


def test_a_rule_refuses_also_while_calls_pass_by_the_relay() -> None:
    stage = Stage(calls=STRICT, draining=Fallback.PASS)
    stage.registry.draining = True
    assert refuses(offers(stage, False))
    assert isinstance(stage.rings(MALLORY, BOB, contact=True), Pass)


def test_a_rule_is_for_what_begins_a_session_and_for_nothing_in_it() -> None:
    stage = Stage(calls=RulesPolicy((CallRule(REFUSE, "no", callers=("mallory@*",)),)))
    stage.call()
    for action in (Action.SESSION_INFO, Action.TRANSPORT_INFO, Action.SESSION_TERMINATE):
        assert not isinstance(stage.says(MALLORY, action, to=BOB), Bounce)


@pytest.mark.parametrize("who", ["mallory@example.org", "bob@example.org", "example.org"])
def test_a_block_keeps_a_phone_from_ringing(who: str) -> None:
    stage = Stage()
    stage.registry.limits.blocked = {who}
    answer = stage.rings(MALLORY, BOB.bare)
    assert isinstance(answer, Bounce)
    assert answer.error.condition is Condition.FORBIDDEN
    assert only(stage) == (Kind.BLOCK, who)


@pytest.mark.parametrize(("draining", "answer"), [(Fallback.REFUSE, Bounce), (Fallback.PASS, Pass)])
def test_a_drain_keeps_a_phone_from_ringing_if_it_refuses(
    draining: Fallback, answer: type[object]
) -> None:
    stage = Stage(draining=draining)
    stage.registry.draining = True
    assert isinstance(stage.rings(MALLORY, BOB), answer)


def test_only_so_many_phones_ring_in_a_minute() -> None:
    stage = Stage(limits=LimitPolicy(per_minute=2))
    heard = [isinstance(stage.rings(MALLORY, BOB, f"s{n}"), Pass) for n in range(30)]
    assert heard.count(True) == 2
    assert {one.obstacle.which for one in stage.refused} == {"limits.per_minute"}
    stage.now += 60
    assert isinstance(stage.rings(MALLORY, BOB, "later"), Pass)


def test_a_call_that_was_announced_counts_once() -> None:
    stage = Stage(limits=LimitPolicy(per_minute=2))
    for sid in ("s1", "s2"):
        assert isinstance(stage.rings(MALLORY, BOB, sid), Pass)
        assert isinstance(offers(stage, None, sid), Replace)
    assert isinstance(stage.rings(MALLORY, BOB, "s3"), Bounce)
    assert isinstance(offers(stage, None, "s4"), Bounce)


def test_one_ring_is_good_for_one_offer() -> None:
    stage = Stage(limits=LimitPolicy(per_minute=2))
    stage.rings(MALLORY, BOB, "s")
    answers = [
        stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=callee, sid="s")
        for callee in (BOB, ALICE, DORA)
    ]
    assert [isinstance(answer, Replace) for answer in answers] == [True, True, False]


def test_rings_of_many_calls_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jingle_hnt.jingle.limits.ANNOUNCED", 10)
    stage = Stage(limits=LimitPolicy(per_minute=0))
    answers: Iterable[object] = [stage.rings(MALLORY, BOB, f"s{n}") for n in range(50)]
    assert all(isinstance(answer, Pass) for answer in answers)
    assert len(stage.registry.limits._announced) == 10


def test_nobody_of_ours_nothing_of_ours() -> None:
    stage = Stage(calls=STRICT)
    stage.registry.limits.blocked = {"elsewhere.example"}
    assert isinstance(stage.rings(DORA, JID.of("eric@elsewhere.example"), contact=False), Pass)
    assert isinstance(stage.rings(ALICE, ALICE.bare, contact=False), Pass)
