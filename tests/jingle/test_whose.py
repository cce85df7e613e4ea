"""Whose session a request means: parties, sids, both calling at once, and what has ended."""

import random

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import Condition, JingleCondition
from jingle_hnt.jingle import sessions
from jingle_hnt.jingle.effects import ChannelRequest, Pass, Refusal, Replace
from jingle_hnt.jingle.policy import ChannelPolicy, LimitPolicy
from jingle_hnt.jingle.sessions import TOMBSTONE_S
from jingle_hnt.jingle.table import State
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from tests.jingle.stage import (
    ALICE,
    BOB,
    CAMERA,
    MALLORY,
    VOICE,
    Stage,
    content,
    refusal_of,
)
from tests.jingle.test_ice import OF_ALICE, ice
from tests.threats import doses
from tests.threats.doses import Measured

UNLIMITED = LimitPolicy(per_user=0, per_minute=0)
TRIES = 10_000
OUT_OF_ORDER = (Condition.UNEXPECTED_REQUEST, JingleCondition.OUT_OF_ORDER)
UNKNOWN = (Condition.ITEM_NOT_FOUND, JingleCondition.UNKNOWN_SESSION)


@pytest.mark.timeout(600)
@pytest.mark.rule("J5")
def test_calls_between_strangers_are_not_relayed(record_property: Measured) -> None:
    """Row S7: whatever the two domains look like, and by whatever way the offer comes."""
    stage = Stage(guests=frozenset({"guest.example"}), relay_nodes=ChannelPolicy())
    chance = random.Random(7)
    domains = ["evil1.example", "evil2.example", "example.org.evil1.example", "sub.example.org"]
    domains += ["guest.example", "notexample.org", "hnt.example.org", "example.or"]
    tries, forbidden, leased = doses.count(TRIES), 0, 0
    for number in range(tries):
        one, other = (JID.of(f"u{number}@{chance.choice(domains)}/{n}") for n in "ab")
        guest = "guest.example" in (one.domain, other.domain)
        via = "" if guest else chance.choice(("", "", "hnt.example.org"))
        if chance.random() < 0.1:
            stage.tokens += 1
            stage.registry.channel(ChannelRequest(stage.tokens, one), stage.now)
            stage.settle()
        else:
            sid = str(number)
            stage.says(one, Action.SESSION_INITIATE, content(), to=other, sid=sid, via=via)
        forbidden += refusal_of(stage.answers[stage.tokens])[0] is Condition.FORBIDDEN
        leased = max(leased, stage.pool.counts.leased)
    assert (forbidden, leased, len(stage.registry)) == (tries, 0, 0)
    record_property("tries", tries)
    record_property("forbidden", forbidden)
    record_property("ports", leased)


@pytest.mark.rule("J2")
def test_after_the_end_everything_passes_and_changes_nothing() -> None:
    stage = Stage()
    stage.call()
    assert isinstance(stage.says(ALICE, Action.SESSION_TERMINATE), Pass)
    assert isinstance(stage.says(BOB, Action.SESSION_TERMINATE), Pass)
    for party in (ALICE, BOB):
        assert isinstance(stage.says(party, Action.SESSION_INFO, info=Info.HOLD), Pass)
    assert [e.why for e in stage.ended] == [Why.TERMINATED]
    stage.assert_nothing_left()


@pytest.mark.timeout(600)
@pytest.mark.rule("J1", "J2")
def test_an_offer_again_takes_no_ports_in_any_state(record_property: Measured) -> None:
    """Row X4: as it came, changed or larger; while ports are bound, and in the call.

    After its end it is another call, that counts against the limits as any other.
    """
    stage = Stage(limits=UNLIMITED)
    chance = random.Random(4)
    offers = [[content()], [content(CAMERA)], [content(), content(CAMERA)]]
    tries, passed, late, most = doses.count(TRIES), 0, 0, 0
    states: dict[str, State] = {}
    for number in range(tries):
        sid = chance.choice(list(states)) if len(states) == 20 else f"s{number}"
        new, advances = sid not in states, chance.random() < 0.3
        stage.held = new
        if new:
            stage.says(ALICE, Action.SESSION_INITIATE, content(), sid=sid)
            states[sid] = State.PENDING
        elif advances and states[sid] is State.PENDING:
            stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), sid=sid)
            states[sid] = State.ACTIVE
        elif advances and states[sid] is State.ACTIVE:
            stage.says(chance.choice((ALICE, BOB)), Action.SESSION_TERMINATE, sid=sid)
            del states[sid]
            late += 1
            told = stage.says(chance.choice((ALICE, BOB)), Action.TRANSPORT_INFO, sid=sid)
            assert isinstance(told, Pass)
            stage.drain()
            passed += 1
            continue
        before = stage.picture()
        answer = stage.says(ALICE, Action.SESSION_INITIATE, *chance.choice(offers), sid=sid)
        again = stage.tokens
        if not new:
            assert stage.picture() == before
        stage.bind_all()
        passed += isinstance(answer or stage.answers[again], Pass)
        live = len(states)
        assert len(stage.registry) == live
        assert stage.pool.counts.leased == len(stage.plane.bindings) * 2 == 4 * live
        most = max(most, live)
        stage.drain()
    assert passed == tries
    record_property("tries", tries)
    record_property("passed", passed)
    record_property("after_end", late)
    record_property("live_calls", most)


def test_a_sid_may_be_used_again_at_once() -> None:
    """It is another call then, and needs the relay as much as the first (XEP-0166 section 6.3)."""
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.SESSION_TERMINATE)
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, content()), Replace)
    assert len(stage.registry) == 1


def test_what_comes_late_for_an_ended_session_hides_what_is_hidden_for_a_while() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    stage.says(ALICE, Action.SESSION_TERMINATE)
    stage.bind_all()
    late = stage.says(ALICE, Action.TRANSPORT_INFO, ice(OF_ALICE))
    assert isinstance(late, Replace)
    stage.passes(TOMBSTONE_S + 1.0)
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_INFO, ice(OF_ALICE)), Pass)


def test_no_more_ended_sessions_are_remembered_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "TOMBSTONES", 2)
    stage = Stage(ice=IceMode.TERMINATE)
    for sid in ("a", "b", "c"):
        stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE), sid=sid)
        stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid)
        stage.bind_all()
    late = [stage.says(ALICE, Action.TRANSPORT_INFO, ice(OF_ALICE), sid=sid) for sid in "abc"]
    assert [type(answer) for answer in late] == [Pass, Replace, Replace]


@pytest.mark.rule("J5")
def test_a_third_party_with_the_sid_finds_no_session() -> None:
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed), dict(stage.plane.flows)
    other_resource = JID.of("alice@example.org/other")
    for stranger in (MALLORY, other_resource):
        for action in set(Action) - {Action.SESSION_INITIATE}:
            assert isinstance(stage.says(stranger, action, content(), to=BOB), Pass)
    assert (stage.plane.armed, stage.plane.flows) == before
    assert len(stage.registry) == 1


@pytest.mark.timeout(600)
@pytest.mark.rule("J5")
def test_another_resource_of_a_party_changes_nothing(record_property: Measured) -> None:
    """Row X2. An offer of its own is another call, and is left out here."""
    stage = Stage()
    stage.call()
    before = stage.picture()
    chance = random.Random(2)
    actions = sorted(set(Action) - {Action.SESSION_INITIATE})
    tries, changes = doses.count(TRIES), 0
    for number in range(tries):
        party, peer = chance.choice(((ALICE, BOB), (BOB, ALICE)))
        resource = chance.choice((f"/{number}", "", f"/{party.resource}0", "/PHONE", "/phone/desk"))
        other = JID.of(f"{party.bare}{resource}")
        first, second = chance.choice((None, ALICE)), chance.choice((None, BOB))
        info = chance.choice((None, *Info))
        sender, to = chance.choice(((other, peer), (other, peer), (peer, other)))
        action = chance.choice(actions)
        answer = stage.says(
            sender, action, content(), to=to, info=info, initiator=first, responder=second
        )
        assert isinstance(answer, Pass), "to us it is a session that is not ours"
        changes += stage.picture() != before
    assert changes == 0
    record_property("tries", tries)
    record_property("changes", changes)


@pytest.mark.timeout(600)
@pytest.mark.rule("J6")
def test_who_is_named_in_an_attribute_steers_nothing(record_property: Measured) -> None:
    """Row X2: what `initiator` and `responder` say changes nothing, and is no reason to refuse.

    Clients write there what was typed at login, other resources, or a focus behind a room.
    """
    named, plain = Stage(limits=UNLIMITED), Stage(limits=UNLIMITED)
    chance = random.Random(6)
    bares = [str(jid.bare) for jid in (ALICE, BOB, MALLORY)]
    accounts = (*bares, *bares[:2], "alice@example.or", "bob@evil.example", "example.org")
    tries, differences = doses.count(TRIES), 0
    for _ in range(tries):
        first, second = (
            JID.of(chance.choice(accounts) + chance.choice(("", "/phone", "/other")))
            if chance.random() < 0.7
            else None
            for _ in range(2)
        )
        action = chance.choice((Action.SESSION_INITIATE, *Action))
        sender, to = chance.choice(((ALICE, BOB), (BOB, ALICE)))
        answer = named.says(sender, action, content(), to=to, initiator=first, responder=second)
        other = plain.says(sender, action, content(), to=to)
        differences += type(answer) is not type(other) or named.picture() != plain.picture()
        for stage in (named, plain):
            stage.drain()
            if len(stage.registry) == 0:
                stage.passes(TOMBSTONE_S + 1)
    record_property("tries", tries)
    record_property("differences", differences)
    assert differences == 0


@pytest.mark.rule("J6")
def test_another_resource_of_the_same_account_may_be_named() -> None:
    stage = Stage()
    allowed = JID.of("alice@example.org/other")
    answer = stage.says(ALICE, Action.SESSION_INITIATE, content(), initiator=allowed)
    assert isinstance(answer, Replace)
    answer = stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), initiator=allowed, responder=BOB)
    assert isinstance(answer, Replace)


@pytest.mark.rule("J5")
def test_a_thousand_pairs_may_share_a_sid(record_property: Measured) -> None:
    stage = Stage(ports=(2000, 19999))
    pairs = [(JID.of(f"a{n}@example.org/x"), JID.of(f"b{n}@example.org/x")) for n in range(1000)]
    seen = set()
    for caller, callee in pairs:
        offered = stage.says(caller, Action.SESSION_INITIATE, content(), to=callee)
        assert isinstance(offered, Replace)
        seen.add(offered.substitution[VOICE][0].address)
    assert len(seen) == len(stage.registry) == 1000
    record_property("calls", len(stage.registry))
    record_property("addresses", len(seen))
    for caller, callee in pairs:
        stage.says(callee, Action.SESSION_TERMINATE, to=caller)
    stage.assert_nothing_left()


@pytest.mark.rule("J9")
def test_both_may_call_at_once_and_the_refused_session_is_released() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.says(BOB, Action.SESSION_INITIATE, content())
    assert len(stage.registry) == 2
    stage.registry.refused(Refusal(BOB, ALICE, "a", Action.SESSION_INITIATE), stage.now)
    stage.settle()
    assert len(stage.registry) == 1
    assert isinstance(stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs()), Replace)
    stage.says(ALICE, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


@pytest.mark.rule("J9")
def test_of_two_sessions_with_one_sid_the_one_that_goes_on_is_meant() -> None:
    """The other one has ended, and the plane has not told yet what became of its ports."""
    stage = Stage()
    stage.held = True
    stage.says(BOB, Action.SESSION_INITIATE, content())
    stage.registry.refused(Refusal(BOB, ALICE, "a", Action.SESSION_INITIATE), stage.now)
    stage.settle()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.says(BOB, Action.SESSION_TERMINATE)
    assert [end.why for end in stage.ended] == [Why.REFUSED, Why.TERMINATED]
    stage.bind_all()
    stage.assert_nothing_left()


@pytest.mark.rule("J9")
def test_of_two_sessions_with_one_sid_the_one_is_meant_in_which_the_action_is_legal() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.says(BOB, Action.SESSION_INITIATE, content())
    assert isinstance(stage.says(ALICE, Action.SESSION_ACCEPT, content()), Replace)
    states = {s.parties[Leg.INITIATOR].jid: s.state for s in stage.registry}
    assert states == {ALICE: State.PENDING, BOB: State.ACTIVE}
