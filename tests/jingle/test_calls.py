"""Calls as plays over the pure core: what each stanza is answered, and what the plane is told."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import EarlyMedia, GateMode
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.effects import Bounce, Gone, Moved, Pass, Refusal, Replace
from jingle_hnt.jingle.policy import Fallback
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.table import State
from jingle_hnt.model.content import (
    CandidateType,
    Content,
    ContentKey,
    Creator,
    OtherTransport,
    RawUdp,
    Senders,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from jingle_hnt.relay.binding import Arm, Flow, Gate, Heard
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.interfaces import Interface
from tests.jingle.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    CAMERA,
    MALLORY,
    RELAY,
    RELAY6,
    VOICE,
    Stage,
    candidates,
    content,
    refusal_of,
)

BOTH_OPEN = (Flow.OPEN, Flow.OPEN)


@pytest.mark.rule("L1", "J12", "J13")
def test_the_offer_carries_the_address_that_faces_the_callee() -> None:
    stage = Stage()
    offered = stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert isinstance(offered, Replace)
    rtp, rtcp = offered.substitution[VOICE]
    spec = stage.plane.bindings["s1.1.1"]
    assert rtp.address == spec.pinholes[1]
    assert (rtp.component, rtcp.component) == (1, 2)
    assert rtp.address.port % 2 == 0
    assert rtcp.address.port == rtp.address.port + 1
    assert rtp.type is rtcp.type is CandidateType.RELAY
    assert rtp.id != rtcp.id
    accepted = stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert isinstance(accepted, Replace)
    assert accepted.substitution[VOICE][0].address == spec.pinholes[0]


def test_one_candidate_is_answered_by_two() -> None:
    """COMPAT: libpurple, Yate and Switji invent the port of a component that they are not told."""
    stage = Stage()
    single = content(transport=candidates("192.0.2.10", 5000, components=(1,)))
    offered = stage.says(ALICE, Action.SESSION_INITIATE, single)
    assert isinstance(offered, Replace)
    assert [c.component for c in offered.substitution[VOICE]] == [1, 2]


def test_an_empty_transport_is_given_candidates() -> None:
    """COMPAT: Dino answers raw-udp with an empty transport."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    accepted = stage.says(BOB, Action.SESSION_ACCEPT, content(transport=RawUdp()))
    assert isinstance(accepted, Replace)
    assert len(accepted.substitution[VOICE]) == 2


def test_an_answer_that_names_the_wrong_creator_is_understood() -> None:
    """COMPAT: Siskin answers with creator='responder'; its stanza keeps its own key."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    mistaken = ContentKey(Creator.RESPONDER, "voice")
    accepted = stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(mistaken))
    assert isinstance(accepted, Replace)
    assert set(accepted.substitution) == {mistaken}
    assert set(stage.plane.flows.values()) == {BOTH_OPEN}


@pytest.mark.rule("G8")
def test_each_leg_gets_the_address_that_faces_its_network() -> None:
    inside = Interface(
        ip_address("10.0.0.9"), ip_address("10.0.0.9"), networks=(ip_network("198.51.100.2/32"),)
    )
    stage = Stage(interfaces=[Interface(RELAY, RELAY), inside])
    offered = stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert isinstance(offered, Replace)
    assert {c.address.ip for c in offered.substitution[VOICE]} == {inside.bound}
    assert stage.plane.bindings["s1.1.1"].pinholes[0].ip == RELAY
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    screen = ContentKey(Creator.RESPONDER, "screen")
    stage.says(BOB, Action.CONTENT_ADD, content(screen))
    assert [a.ip for a in stage.plane.bindings["s1.2.1"].pinholes] == [RELAY, inside.bound]


@pytest.mark.rule("G8")
def test_where_the_server_sees_a_party_counts_more_than_what_it_says_of_itself() -> None:
    lan = Interface(
        ip_address("10.0.0.9"), ip_address("10.0.0.9"), networks=(ip_network("192.0.2.0/24"),)
    )
    stage = Stage(interfaces=[Interface(RELAY, RELAY), lan])
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert stage.plane.bindings["s1.1.1"].pinholes[0].ip == RELAY
    stage.says(MALLORY, Action.SESSION_INITIATE, content(), known=False)
    assert stage.plane.bindings["s2.1.1"].pinholes[0].ip == lan.bound


@pytest.mark.rule("L2", "G8")
def test_each_leg_gets_an_address_of_its_own_family() -> None:
    stage = Stage()
    six = content(transport=candidates("2001:db8:1::5", 5000))
    offered = stage.says(ALICE, Action.SESSION_INITIATE, six)
    assert isinstance(offered, Replace)
    assert offered.substitution[VOICE][0].address.ip == RELAY
    assert stage.plane.bindings["s1.1.1"].pinholes[0].ip == RELAY6


@pytest.mark.rule("G1", "G2", "G6")
def test_the_gate_opens_with_the_accept() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert stage.plane.flows["s1.1.1"] == (Flow.NOMINAL, Flow.NOMINAL)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert set(stage.plane.flows.values()) == {BOTH_OPEN}


@pytest.mark.rule("G5")
@pytest.mark.parametrize(
    ("early", "flows"),
    [
        (EarlyMedia.DROP, (Flow.NOMINAL, Flow.NOMINAL)),
        (EarlyMedia.RESPONDER, (Flow.NOMINAL, Flow.OPEN)),
        (EarlyMedia.BOTH, BOTH_OPEN),
    ],
)
def test_early_media_is_a_matter_of_policy(early: EarlyMedia, flows: tuple[Flow, Flow]) -> None:
    stage = Stage(early_media=early)
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert stage.plane.flows["s1.1.1"] == flows


@pytest.mark.rule("G4", "J15")
def test_hold_keeps_the_other_partys_media_back_and_active_lets_it_flow() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    assert stage.plane.flows["s1.1.1"] == (Flow.HOLDING, Flow.HELD)
    stage.says(BOB, Action.SESSION_INFO, info=Info.HOLD)
    assert stage.plane.flows["s1.1.1"] == (Flow.HELD, Flow.HELD)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.ACTIVE)
    stage.says(BOB, Action.SESSION_INFO, info=Info.ACTIVE)
    assert stage.plane.flows["s1.1.1"] == BOTH_OPEN


@pytest.mark.rule("G4")
def test_the_gate_follows_senders() -> None:
    stage = Stage()
    stage.call()
    only_alice = Content(VOICE, Senders.INITIATOR)
    assert isinstance(stage.says(BOB, Action.CONTENT_MODIFY, only_alice), Pass)
    assert stage.plane.flows["s1.1.1"] == (Flow.OPEN, Flow.HELD)


@pytest.mark.rule("G4")
@pytest.mark.parametrize("senders", [None, *Senders])
def test_what_an_accept_says_of_senders_is_a_hint(senders: Senders | None) -> None:
    """Clients write a fixed word, or a wrong one, and send all the same."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.says(BOB, Action.SESSION_ACCEPT, replace(stage.bobs(), senders=senders))
    assert stage.plane.flows["s1.1.1"] == BOTH_OPEN


@pytest.mark.rule("J15")
def test_silence_is_no_failure_where_nobody_is_to_send() -> None:
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.says(ALICE, Action.CONTENT_MODIFY, Content(VOICE, Senders.NONE))
    stage.silent("s1.1.1", 0)
    stage.passes(3000.0)
    assert stage.ended == []
    stage.passes(700.0)
    assert [e.why for e in stage.ended] == [Why.HOLD_TIMEOUT]


def test_what_changes_nothing_is_not_ordered_again() -> None:
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.registry.calls.on_event(Heard("s1.1.1", 0), stage.now)
    assert stage.registry.calls.effects() == []


@pytest.mark.rule("L4")
def test_a_greater_generation_arms_the_senders_leg_and_no_other() -> None:
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed)
    moved = Content(VOICE, transport=candidates("192.0.2.10", 7000, generation=1))
    answer = stage.says(ALICE, Action.TRANSPORT_INFO, moved)
    assert isinstance(answer, Replace)
    assert {c.generation for c in answer.substitution[VOICE]} == {1}
    changed = {key for key, arm in stage.plane.armed.items() if arm != before[key]}
    assert changed == {("s1.1.1", 0), ("s1.1.2", 0)}
    stage.says(ALICE, Action.TRANSPORT_INFO, moved)
    stale = Content(VOICE, transport=candidates("192.0.2.10", 5000, generation=0))
    after = dict(stage.plane.armed)
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_INFO, stale), Replace)
    assert stage.plane.armed == after


def test_one_moved_component_leaves_the_other_alone() -> None:
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed)
    moved = candidates("192.0.2.10", 7000, generation=1, components=(2,))
    answer = stage.says(ALICE, Action.TRANSPORT_INFO, Content(VOICE, transport=moved))
    assert isinstance(answer, Replace)
    assert [c.component for c in answer.substitution[VOICE]] == [2]
    changed = {key for key, arm in stage.plane.armed.items() if arm != before[key]}
    assert changed == {("s1.1.2", 0)}


@pytest.mark.rule("G7")
def test_a_content_is_added_and_removed_beside_the_first() -> None:
    stage = Stage()
    stage.call()
    added = stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    assert isinstance(added, Replace)
    assert stage.plane.flows["s1.2.1"] == (Flow.NOMINAL, Flow.NOMINAL)
    accepted = stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(CAMERA))
    assert isinstance(accepted, Replace)
    assert stage.plane.flows["s1.2.1"] == BOTH_OPEN
    assert isinstance(stage.says(BOB, Action.CONTENT_REMOVE, Content(CAMERA)), Pass)
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}
    assert stage.plane.flows["s1.1.1"] == BOTH_OPEN


def test_a_rejected_content_is_released() -> None:
    stage = Stage()
    stage.call()
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    assert isinstance(stage.says(BOB, Action.CONTENT_REJECT, Content(CAMERA)), Pass)
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}


def test_a_replaced_transport_takes_over_when_it_is_accepted() -> None:
    stage = Stage()
    stage.call()
    again = Content(VOICE, transport=candidates("192.0.2.10", 9000))
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_REPLACE, again), Replace)
    assert len(stage.plane.bindings) == 4
    bobs = Content(VOICE, transport=candidates("192.0.2.20", 9000))
    assert isinstance(stage.says(BOB, Action.TRANSPORT_ACCEPT, bobs), Replace)
    assert set(stage.plane.bindings) == {"s1.2.1", "s1.2.2"}
    assert stage.plane.flows["s1.2.1"] == BOTH_OPEN
    stage.says(BOB, Action.TRANSPORT_REPLACE, again)
    stage.says(ALICE, Action.TRANSPORT_REJECT, Content(VOICE))
    assert set(stage.plane.bindings) == {"s1.2.1", "s1.2.2"}


@pytest.mark.rule("J1")
@pytest.mark.parametrize("action", [Action.SESSION_INITIATE, Action.SESSION_ACCEPT])
def test_what_is_out_of_order_passes_and_changes_nothing(action: Action) -> None:
    """Its receiver says so: to us it is nothing that would have to be rewritten."""
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed), dict(stage.plane.flows)
    assert isinstance(stage.says(ALICE, action, content()), Pass)
    assert (stage.plane.armed, stage.plane.flows) == before
    assert stage.pool.counts.leased == 4


def test_the_caller_cannot_accept_its_own_call() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert isinstance(stage.says(ALICE, Action.SESSION_ACCEPT, content()), Pass)
    (session,) = stage.registry
    assert session.state is State.PENDING


def test_latches_are_armed_with_the_binding_that_the_offer_waits_for() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    (bind,) = stage.binds
    arms = [order for order in bind.orders if isinstance(order, Arm)]
    assert {(arm.name, arm.side) for arm in arms} == {
        (spec.name, side) for spec in bind.specs for side in (0, 1)
    }
    assert {arm.evidence.source_auth for arm in arms} == {SourceAuth.SIGNALLING_ADDRESS}
    stage.registry.calls.bound(bind.session, bind.number, stage.now)
    assert not [e for e in stage.registry.calls.effects() if isinstance(e, Arm | Gate)]


def test_only_a_content_that_describes_several_streams_may_send_them() -> None:
    stage = Stage()
    video = replace(content(CAMERA), several=True)
    assert isinstance(stage.says(ALICE, Action.SESSION_INITIATE, content(), video), Replace)
    assert [stage.plane.armed[f"s1.{n}.1", 0].evidence.several for n in (1, 2)] == [False, True]
    answer = [Content(key, transport=candidates("192.0.2.20", 6000)) for key in (VOICE, CAMERA)]
    stage.says(BOB, Action.SESSION_ACCEPT, *answer)
    again = Content(CAMERA, transport=candidates("192.0.2.10", 7000))
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_REPLACE, again), Replace)
    assert stage.plane.armed["s1.3.1", 0].evidence.several


def test_key_presses_may_have_a_stream_of_their_own_where_they_are_described() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, replace(content(), events=frozenset({101, 96})))
    assert stage.plane.armed["s1.1.1", 0].evidence.events == (96, 101)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    again = Content(VOICE, transport=candidates("192.0.2.10", 7000))
    assert isinstance(stage.says(ALICE, Action.TRANSPORT_REPLACE, again), Replace)
    assert stage.plane.armed["s1.2.1", 0].evidence.events == (96, 101)
    (session,) = stage.registry
    restored = Stage()
    loaded = load(json.loads(json.dumps(dump(session, stage.now))), restored.registry, 0.0)
    [medium] = loaded.negotiation.media.values()
    assert all(a.events == {96, 101} for a in medium.allocations)


def test_what_changes_while_the_plane_binds_is_ordered_when_it_has() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    elsewhere = ip_address("198.51.100.77")
    stage.registry.moved(Moved(ALICE, elsewhere), stage.now)
    stage.bind_all()
    assert stage.plane.armed["s1.1.1", 0].evidence.admits(elsewhere)


def test_a_stanza_does_not_overtake_one_that_waits_for_the_plane() -> None:
    stage = Stage()
    stage.held = True
    assert stage.says(ALICE, Action.SESSION_INITIATE, content()) is None
    trickled = Content(VOICE, transport=candidates("192.0.2.10", 5000))
    assert stage.says(ALICE, Action.TRANSPORT_INFO, trickled) is None
    assert stage.says(ALICE, Action.SESSION_TERMINATE) is None
    stage.bind_all()
    assert stage.order == [1, 2, 3]
    stage.assert_nothing_left()


def test_a_content_that_is_removed_while_its_ports_are_bound_is_released() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content(), content(CAMERA))
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(CAMERA))
    stage.bind_all()
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}
    stage.says(ALICE, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


def test_ports_of_others_are_left_alone_and_other_ports_are_tried() -> None:
    stage = Stage()
    stage.held = True
    assert stage.says(ALICE, Action.SESSION_INITIATE, content()) is None
    (first,) = stage.binds
    stage.fail_all(port_taken=True)  # the first one, which faces the caller
    (second,) = stage.binds
    for before, after in zip(first.specs, second.specs, strict=True):
        assert before.pinholes[0] not in second.addresses()
        assert before.pinholes[1] == after.pinholes[1]
    stage.bind_all()
    answer = stage.answers[1]
    assert isinstance(answer, Replace)
    assert answer.substitution[VOICE][0].address in second.addresses()
    assert stage.pool.counts.shunned == 2


@pytest.mark.rule("J4", "G3")
@pytest.mark.parametrize(
    ("fallback", "gate", "passes"),
    [
        (Fallback.REFUSE, GateMode.ONE_STAGE, False),
        (Fallback.PASS, GateMode.ONE_STAGE, True),
        (Fallback.PASS, GateMode.TWO_STAGE, False),
    ],
)
def test_without_ports_the_policy_decides(fallback: Fallback, gate: GateMode, passes: bool) -> None:
    stage = Stage(ports=(2000, 2003), exhausted=fallback, gate=gate)
    stage.call()
    answer = stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=BOB)
    if passes:
        assert isinstance(answer, Pass)
        late = stage.says(MALLORY, Action.TRANSPORT_INFO, content(), to=BOB)
        assert isinstance(late, Pass)
    else:
        assert refusal_of(answer)[0] is Condition.RESOURCE_CONSTRAINT
    assert stage.pool.counts.leased == 4
    stage.says(ALICE, Action.SESSION_TERMINATE)
    stage.assert_nothing_left()


def test_a_plane_that_is_gone_refuses_the_call_and_leaks_nothing() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.fail_all(port_taken=False)
    assert refusal_of(stage.answers[1])[0] is Condition.RESOURCE_CONSTRAINT
    stage.assert_nothing_left()


@pytest.mark.rule("I1")
def test_other_transports_pass_untouched_beside_raw_udp() -> None:
    stage = Stage()
    ice = Content(CAMERA, None, OtherTransport("urn:xmpp:jingle:transports:s5b:1"), "video")
    answer = stage.says(ALICE, Action.SESSION_INITIATE, content(), ice)
    assert isinstance(answer, Replace)
    assert set(answer.substitution) == {VOICE}
    alone = stage.says(MALLORY, Action.SESSION_INITIATE, ice, to=BOB)
    assert isinstance(alone, Pass)


@pytest.mark.rule("J16")
def test_a_relays_candidates_are_not_relayed_again() -> None:
    stage = Stage()
    transport = candidates("198.51.100.9", 4000)
    relayed = tuple(
        type(c)(c.component, c.generation, c.address, c.id, CandidateType.RELAY)
        for c in transport.candidates
    )
    answer = stage.says(ALICE, Action.SESSION_INITIATE, content(transport=RawUdp(relayed)))
    assert isinstance(answer, Pass)
    assert stage.pool.counts.leased == 0


@pytest.mark.rule("J8")
def test_contents_that_are_not_in_the_session_pass() -> None:
    stage = Stage()
    stage.call()
    before = stage.picture()
    unknown = Content(ContentKey(Creator.RESPONDER, "slides"))
    for action in sorted(set(Action) - {Action.SESSION_TERMINATE, Action.CONTENT_ADD}):
        assert isinstance(stage.says(BOB, action, unknown), Pass)
    assert stage.picture() == before


@pytest.mark.parametrize("creator", Creator)
@pytest.mark.parametrize("adds", [ALICE, BOB], ids=["caller", "callee"])
def test_who_adds_a_content_may_write_any_creator(adds: JID, creator: Creator) -> None:
    """COMPAT any-creator: in every action of either party the name says which it is."""
    stage = Stage()
    stage.call()
    key, other = ContentKey(creator, "camera"), BOB if adds is ALICE else ALICE
    wrong = ContentKey(next(c for c in Creator if c is not creator), "camera")
    assert isinstance(stage.says(adds, Action.CONTENT_ADD, content(key)), Replace)
    assert isinstance(stage.says(adds, Action.TRANSPORT_INFO, content(wrong)), Replace)
    accept = Content(wrong, transport=candidates("192.0.2.20", 6000))
    assert isinstance(stage.says(other, Action.CONTENT_ACCEPT, accept), Replace)
    assert stage.plane.flows["s1.2.1"] == BOTH_OPEN
    stage.says(other, Action.CONTENT_MODIFY, Content(wrong, Senders.NONE))
    assert stage.plane.flows["s1.2.1"] == (Flow.HELD, Flow.HELD)
    stage.says(other, Action.CONTENT_REMOVE, Content(wrong))
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}


@pytest.mark.rule("J20")
@pytest.mark.parametrize(
    ("action", "why"),
    [(Action.SESSION_INITIATE, Why.REFUSED), (Action.SESSION_ACCEPT, Why.REFUSED)],
)
def test_an_offer_or_accept_that_is_refused_ends_the_session(action: Action, why: Why) -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), id_="one")
    if action is Action.SESSION_ACCEPT:
        stage.says(BOB, action, stage.bobs(), id_="one")
    sender, other = (ALICE, BOB) if action is Action.SESSION_INITIATE else (BOB, ALICE)
    stage.registry.refused(Refusal(sender, other, "a", action, id="one"), stage.now)
    stage.settle()
    assert [e.why for e in stage.ended] == [why]
    stage.assert_nothing_left()


@pytest.mark.parametrize("id_", ["one", "two"])
def test_what_is_said_twice_and_then_refused_ends_no_call(id_: str) -> None:
    """Its receiver says "out of order" to the second: the first holds, and so does the call."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), id_="one")
    stage.says(ALICE, Action.SESSION_INITIATE, content(), id_="two")
    stage.registry.refused(Refusal(ALICE, BOB, "a", Action.SESSION_INITIATE, id="two"), stage.now)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), id_="three")
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), id_="four")
    stage.registry.refused(Refusal(ALICE, BOB, "a", Action.SESSION_INITIATE, id=id_), stage.now)
    stage.registry.refused(Refusal(BOB, ALICE, "a", Action.SESSION_ACCEPT, id="four"), stage.now)
    stage.settle()
    assert stage.ended == []
    assert stage.plane.flows["s1.1.1"] == BOTH_OPEN


def test_a_content_that_is_added_once_more_has_our_candidates_again() -> None:
    """Whose first request was slow may repeat it, with other ports: it passed as it came once, and
    the peer sent to an address behind a NAT."""
    stage = Stage()
    stage.call()
    added = stage.says(BOB, Action.CONTENT_ADD, stage.bobs(CAMERA), id_="one")
    assert isinstance(added, Replace)
    stage.says(ALICE, Action.CONTENT_ACCEPT, content(CAMERA))
    other = content(CAMERA, candidates("192.0.2.20", 6400))
    again = stage.says(BOB, Action.CONTENT_ADD, other, id_="two")
    assert again == replace(added, token=stage.tokens)
    assert stage.pool.counts.leased == 8
    stage.registry.refused(Refusal(BOB, ALICE, "a", Action.CONTENT_ADD, id="two"), stage.now)
    stage.settle()
    assert stage.pool.counts.leased == 8


def test_only_odd_candidates_are_replaced_too() -> None:
    """Nobody knows what the other party would make of a host name or of an address with a zone."""
    stage = Stage()
    stage.call()
    odd = Content(VOICE, transport=RawUdp((), odd=True))
    told = stage.says(BOB, Action.TRANSPORT_INFO, odd)
    assert isinstance(told, Replace)
    assert [c.component for c in told.substitution[VOICE]] == [1, 2]


def test_a_new_xmpp_address_arms_the_partys_latches() -> None:
    stage = Stage()
    stage.call()
    before = dict(stage.plane.armed)
    stage.registry.moved(Moved(ALICE, RELAY6), stage.now)
    stage.registry.moved(Moved(BOB, ip_address(ADDRESSES[BOB])), stage.now)
    stage.settle()
    changed = {side for (_, side), arm in stage.plane.armed.items() if before[_, side] != arm}
    assert changed == {0}


@pytest.mark.rule("J14")
@pytest.mark.parametrize(
    ("play", "seconds", "why"),
    [
        ("accept", 30.0, Why.NO_MEDIA),
        ("silence", 60.0, Why.SILENCE),
        ("hold", 3600.0, Why.HOLD_TIMEOUT),
        ("talk", 86400.0, Why.CALL_TIMEOUT),
    ],
)
def test_every_deadline_ends_the_call_for_both(play: str, seconds: float, why: Why) -> None:
    stage = Stage()
    stage.call()
    if play in ("silence", "hold", "talk"):
        stage.latch("s1.1.1", 0, "198.51.100.1")
    if play == "hold":
        stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    if play in ("silence", "hold"):
        stage.silent("s1.1.1", 0)
    stage.passes(seconds - 1)
    assert stage.ended == []
    stage.passes(2)
    assert [e.why for e in stage.ended] == [why]
    assert {(i.sender, i.recipient) for i in stage.injected} == {(ALICE, BOB), (BOB, ALICE)}
    assert all(i.jingle.action is Action.SESSION_TERMINATE for i in stage.injected)
    stage.assert_nothing_left()


@pytest.mark.rule("J10")
def test_leaving_the_server_ends_a_silent_call_soon_and_a_lively_one_not() -> None:
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.registry.gone(Gone(BOB), stage.now)
    stage.passes(1000)
    assert stage.ended == []
    stage.silent("s1.1.1", 0)
    stage.passes(16)
    assert [e.why for e in stage.ended] == [Why.SILENCE]


def test_media_that_is_heard_again_is_no_silence() -> None:
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.silent("s1.1.1", 0)
    stage.passes(50)
    stage.heard("s1.1.1", 0)
    stage.passes(1000)
    assert stage.ended == []


def test_what_was_proposed_stays_where_it_cannot_be_proposed_anew() -> None:
    screen = ContentKey(Creator.INITIATOR, "screen")
    stage = Stage(ports=(2000, 2011))
    stage.call()
    assert isinstance(stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA)), Replace)
    before = stage.picture()
    again = stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA), content(screen))
    assert isinstance(again, Bounce)
    assert stage.picture() == before
