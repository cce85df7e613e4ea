"""What a restart of either process leaves of a call: records, and what the plane still holds."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from jingle_hnt.admin import snapshots
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import Times
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.jingle.effects import Bounce, Moved, Pass, Passed, Refusal, Replace, Request
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.record import dump, dump_ended, is_ended, load, load_ended
from jingle_hnt.jingle.refusals import Kind
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Content, ContentKey, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from jingle_hnt.relay.binding import (
    SILENT_S,
    BindingSnapshot,
    Counters,
    Drained,
    Flow,
    PinholeSnapshot,
    Quality,
    StreamChanged,
)
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.latch import LatchState as LatchState
from tests.jingle.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    CAMERA,
    RELAY,
    VOICE,
    Plane,
    Stage,
    candidates,
    content,
    shut,
)

RTP = "s1.1.1"
PHONE = TransportAddress.of(ADDRESSES[ALICE], 40001)


def called() -> Stage:
    """A call in which Alice's RTP is heard from PHONE."""
    stage = Stage()
    stage.call()
    stage.latch(RTP, 0, str(PHONE.ip), PHONE.port)
    return stage


def only(stage: Stage) -> Session:
    (session,) = stage.registry
    return session


def reborn(before: Stage) -> Stage:
    """The signalling process after a restart; the plane is the one that was there."""
    after = Stage(times=Times())
    after.plane, after.now = before.plane, before.now
    record = dump(only(before), before.now)
    after.registry.restore(load(record, after.registry, after.now), after.now)
    after.settle()
    return after


def shown(stage: Stage, heard_s: float = 0.0, source: TransportAddress = PHONE) -> PinholeSnapshot:
    """What the plane tells of Alice's RTP."""
    bound = stage.plane.bindings[RTP].pinholes[0]
    return PinholeSnapshot(
        bound, LatchState.LATCHED, 0, None, source, 1.0, heard_s, Flow.OPEN, Counters()
    )


def bindings(stage: Stage, *alices: PinholeSnapshot) -> list[BindingSnapshot]:
    """All bindings that the plane has, of Alice's RTP with what is heard there."""
    found = []
    for binding in stage.plane.snapshot():
        first, second = binding.pinholes
        told = alices[0] if binding.name == RTP and alices else first
        found.append(BindingSnapshot(binding.name, (told, second), draining=False))
    return found


# The journal


def test_what_a_record_would_tell_otherwise_is_written_down_again() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.remembered.clear()
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert stage.remembered == {"s1"}
    stage.remembered.clear()
    stage.registry.moved(Moved(BOB, ip_address("198.51.100.77")), stage.now)
    stage.settle()
    assert stage.remembered == {"s1"}
    stage.remembered.clear()
    stage.latch(RTP, 0, ADDRESSES[ALICE])
    assert stage.remembered == {"s1"}


def test_a_call_of_the_journal_goes_on_where_it_was() -> None:
    after = reborn(called())
    assert after.pool.counts.leased == 4
    assert after.registry.limits.half_open == {}
    assert isinstance(after.says(BOB, Action.SESSION_TERMINATE), Pass)
    after.assert_nothing_left()


def test_a_record_that_numbers_source_authentication_is_read() -> None:
    """Records up to version 4 name its kinds R1 to R5."""
    before = called()
    written = json.dumps(dump(only(before), before.now))
    numbered = written.replace('"source_auth": "signalling-address"', '"rung": "R3"')
    assert numbered != written
    after = Stage(times=Times())
    record = json.loads(numbered) | {"version": 4}
    session = load(record, after.registry, before.now)
    assert dump(session, before.now) == json.loads(written)


def test_whatever_was_asked_before_a_restart_is_undone_by_the_first_error() -> None:
    """Which stanza it was is not written down."""
    stage = called()
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA), id_="x1")
    stage.says(ALICE, Action.TRANSPORT_REPLACE, content(), id_="x2")
    after = reborn(stage)
    for action, id_ in ((Action.CONTENT_ADD, "x1"), (Action.TRANSPORT_REPLACE, "x2")):
        after.registry.refused(Refusal(ALICE, BOB, "a", action, id=id_), after.now)
    after.settle()
    assert set(after.plane.bindings) == {"s1.1.1", "s1.1.2"}


@pytest.mark.parametrize(("accepted", "age_s"), [(True, 62.0), (False, 2.0)])
def test_only_an_accepted_call_grows_older_while_nobody_signals(
    accepted: bool, age_s: float
) -> None:
    stage = called() if accepted else Stage()
    if not accepted:
        stage.says(ALICE, Action.SESSION_INITIATE, content())
    stage.passes(2.0)
    record, life = dump(only(stage), stage.now), only(stage).life
    after = Stage(times=Times())
    after.now = stage.now + 60.0
    session = load(record, after.registry, after.now)
    assert after.now - session.life.started_at == pytest.approx(age_s)
    if accepted:
        assert life.accepted_at is not None
        assert session.life.accepted_at == pytest.approx(life.accepted_at)


def test_a_record_of_another_boot_is_as_old_as_it_was() -> None:
    stage = called()
    stage.passes(2.0)
    record = dump(only(stage), stage.now) | {"clock_s": stage.now + 1e6}
    session = load(record, Stage(times=Times()).registry, stage.now)
    assert stage.now - session.life.started_at == pytest.approx(2.0)


def test_who_was_heard_before_a_restart_is_taken_to_be_heard_still() -> None:
    after = reborn(called())
    after.passes(120.0)
    assert after.ended == []
    after.silent(RTP, 0)
    after.passes(61.0)
    assert len(after.ended) == 1


def test_a_transport_on_offer_outlives_a_restart() -> None:
    before = called()
    offer = Content(VOICE, transport=candidates("192.0.2.10", 7000, generation=2))
    before.says(ALICE, Action.TRANSPORT_REPLACE, offer)
    after = reborn(before)
    after.says(BOB, Action.TRANSPORT_ACCEPT, after.bobs())
    assert set(after.plane.bindings) == {"s1.2.1", "s1.2.2"}
    signalled = only(after).negotiation.media[VOICE].signalled
    assert {c.generation for c in signalled[Leg.INITIATOR]} == {2}


def test_what_the_plane_has_not_bound_yet_is_not_recorded() -> None:
    stage = called()
    stage.held = True
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    after, record = Stage(), dump(only(stage), stage.now)
    again = load(record, after.registry, after.now)
    assert after.pool.counts.leased == 4
    assert dump(again, after.now)["media"] == record["media"]


@pytest.mark.parametrize("damage", ["version", "parties", "media", "state"])
def test_a_damaged_record_is_a_value_error(damage: str) -> None:
    record = dump(only(called()), 100.0)
    record[damage] = [{"nonsense": 1}]
    fresh = Stage()
    with pytest.raises(ValueError, match=r"session record|not a valid"):
        load(record, fresh.registry, fresh.now)
    assert fresh.pool.counts.leased == 0


def test_a_record_that_names_a_port_twice_claims_none() -> None:
    record = dump(only(called()), 100.0)
    (voice,) = record["media"]
    record["media"] = [voice, {**voice, "name": "camera"}]
    fresh = Stage()
    with pytest.raises(ValueError, match="another call's"):
        load(record, fresh.registry, fresh.now)
    assert fresh.pool.counts.leased == 0
    assert fresh.pool.counts.free == fresh.free


def test_a_call_that_is_over_is_none_any_more() -> None:
    record = dump(only(called()), 100.0) | {"state": "ended"}
    fresh = Stage()
    with pytest.raises(ValueError, match="is over"):
        load(record, fresh.registry, fresh.now)


@pytest.mark.parametrize("ours", [True, False])
def test_the_end_of_a_call_outlives_a_restart_until_it_is_reported(ours: bool) -> None:
    stage = called()
    if ours:
        stage.registry.terminate("s1", stage.now)
        stage.settle()
    else:
        stage.says(ALICE, Action.SESSION_TERMINATE, reason=Reason("success", "bye"))
    (ended,) = stage.ended
    assert ended.account is not None
    record = json.loads(json.dumps(dump_ended(ended, ended.account, stage.now)))
    assert is_ended(record)
    fresh = Stage()
    read, at = load_ended(record, fresh.registry, stage.now + 7)
    assert (read, at) == (ended, stage.now)
    assert read.account is not None
    names = [a.bindings for a in ended.account.negotiation.allocations]
    assert [a.bindings for a in read.account.negotiation.allocations] == names
    assert fresh.pool.counts.leased == len(fresh.registry) == 0
    with pytest.raises(ValueError, match="damaged"):
        load_ended(record | {"why": 5, "reason": 5}, fresh.registry, stage.now)


def test_a_record_of_ports_that_another_call_has_is_refused() -> None:
    stage = called()
    record = dump(only(stage), stage.now)
    with pytest.raises(ValueError, match="another call's"):
        load(record, stage.registry, stage.now)
    assert stage.pool.counts.leased == 4


def test_an_offer_that_waits_for_the_plane_is_not_written_down() -> None:
    """Nobody has seen it with our ports in it: it goes on as it is, and the call is not ours."""
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    assert stage.written == {}
    stage.bind_all()
    assert set(stage.written) == {"s1"}


def test_a_call_whose_bindings_are_being_made_again_is_written_down_with_them() -> None:
    stage = called()
    stage.plane, stage.held = Plane(), True
    reconcile(stage.registry.calls, [], stage.now)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.held = False
    stage.reborn()
    assert set(stage.plane.bindings) == {"s1.1.1", "s1.1.2"}
    assert stage.plane.armed[RTP, 0].resume == PHONE


def test_a_new_plane_is_told_what_a_party_sends() -> None:
    """Row F28: by that its latch follows the party where its NAT has another port for it."""
    stage = called()
    stage.registry.calls.on_event(StreamChanged(RTP, 0, (7, 100)), stage.now)
    stage.settle()
    after = reborn(stage)
    after.plane = Plane()
    reconcile(after.registry.calls, [], after.now)
    after.settle()
    assert (after.plane.armed[RTP, 0].resume, after.plane.armed[RTP, 0].stream) == (PHONE, (7, 100))
    seen = after.plane.snapshot()
    told = [
        replace(b, pinholes=(replace(b.pinholes[0], stream=(8, 1)), b.pinholes[1])) for b in seen
    ]
    reconcile(after.registry.calls, told, after.now)
    after.settle()
    after.plane = Plane()
    reconcile(after.registry.calls, [], after.now)
    after.settle()
    assert after.plane.armed[RTP, 0].stream == (8, 1)
    after.latch(RTP, 0, str(PHONE.ip), 41000)
    after.plane = Plane()
    reconcile(after.registry.calls, [], after.now)
    after.settle()
    assert after.plane.armed[RTP, 0].stream is None, "another source, another stream"


# Rows F25 and F26: what is written down is what is


@pytest.mark.parametrize("holder", [ALICE, BOB])
def test_a_hold_outlives_a_restart(holder: JID) -> None:
    stage = called()
    stage.says(holder, Action.SESSION_INFO, info=Info.HOLD)
    held = stage.plane.flows[RTP]
    assert Flow.HELD in held
    stage.reborn()
    assert stage.plane.flows[RTP] == held
    stage.says(holder, Action.SESSION_INFO, info=Info.ACTIVE)
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.OPEN)


def test_a_gate_that_the_plane_has_otherwise_is_set() -> None:
    stage = called()
    stage.plane.flows[RTP] = (Flow.HELD, Flow.CLOSED)
    reconcile(stage.registry.calls, stage.plane.snapshot(), stage.now)
    stage.settle()
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.OPEN)


def test_an_order_that_the_plane_has_missed_is_given_again() -> None:
    stage = called()
    before = dict(stage.plane.armed)
    stage.registry.moved(Moved(ALICE, ip_address("198.51.100.77")), stage.now)
    stage.settle()
    wanted = stage.plane.armed[RTP, 0]
    stage.plane.armed = before
    stage.plane.learned[RTP, 0] = PHONE
    reconcile(stage.registry.calls, stage.plane.snapshot(), stage.now)
    stage.settle()
    assert stage.plane.armed[RTP, 0] == wanted
    assert (RTP, 0) not in stage.plane.learned


def test_a_later_order_than_the_one_written_down_stays_in_force() -> None:
    stage = called()
    old = dict(stage.written)
    stage.registry.moved(Moved(ALICE, ip_address("198.51.100.77")), stage.now)
    stage.settle()
    stage.latch(RTP, 0, "198.51.100.77")
    stage.written = old
    stage.reborn()
    known = stage.registry.calls.pinhole(RTP, 0)
    assert known is not None
    assert (known.generation, str(known.learned)) == (1, "198.51.100.77:40000")
    stage.registry.moved(Moved(ALICE, ip_address("198.51.100.78")), stage.now)
    stage.settle()
    assert stage.plane.armed[RTP, 0].generation == 2


def test_a_content_that_was_removed_is_gone_after_a_restart_and_may_come_again() -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    stage.says(BOB, Action.CONTENT_ACCEPT, stage.bobs(CAMERA))
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(CAMERA))
    stage.reborn()
    assert isinstance(stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA)), Replace)
    assert stage.ended == []
    counts = stage.pool.counts
    assert (counts.leased, counts.quarantined) == (8, 4)


@pytest.mark.parametrize("when", ["before the plane has counted it", "afterwards"])
def test_what_a_removed_content_counted_outlives_a_restart(when: str) -> None:
    """Gajim removes every content before it hangs up."""
    stage = called()
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(VOICE))
    last = counted(stage, "s1.1.1", received_packets=500, dropped_gate=7)

    def drain() -> None:
        stage.registry.calls.on_event(last, stage.now)
        stage.settle()

    if when == "afterwards":
        drain()
    stage.reborn()
    if when != "afterwards":
        drain()
    (past,) = only(stage).negotiation.past
    assert past.medium.key == VOICE
    assert past.medium.agreed
    told = {s.name: s for s in past.counted.values()}["s1.1.1"].pinholes[0]
    heard = last.pinholes[0]
    assert (told.counters, told.quality, told.learned) == (heard.counters, heard.quality, PHONE)
    call = snapshots.call(only(stage), {}, stage.now)
    (leg, _) = call.removed[0].components[0].legs
    assert (leg.received_packets, leg.rtp_packets, leg.dropped) == (500, 480, {"gate": 7})
    assert leg.learned == str(PHONE)


def counted(stage: Stage, name: str, **counts: int) -> Drained:
    """The last words of a binding; its first side was heard."""
    first, second = (shut(bound) for bound in stage.plane.draining[name].pinholes)
    heard = replace(first, state=LatchState.LATCHED, learned=PHONE, counters=Counters(**counts))
    quality = Quality(7, 480, 3, 2, 1, 1.5, None)
    return Drained(name, (replace(heard, quality=quality), second))


def test_no_key_of_a_removed_content_is_written_down() -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(VOICE))
    (past,) = dump(only(stage), stage.now)["past"]
    assert past["protection"] is None
    for pinhole in past["allocation"]["pinholes"]:
        assert pinhole["evidence"]["keys"] == pinhole["evidence"]["tags"] == []


def test_a_record_of_before_has_no_removed_contents() -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(VOICE))
    record = dump(only(stage), stage.now)
    del record["past"]
    after = Stage()
    assert list(load(record, after.registry, after.now).negotiation.past) == []


def test_a_removed_content_of_an_address_that_is_no_more_ours_is_left_out() -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(VOICE))
    other = ip_address("203.0.113.77")
    after = Stage(interfaces=(Interface(other, other),))
    loaded = load(dump(only(stage), stage.now), after.registry, after.now)
    assert list(loaded.negotiation.past) == []


def test_a_removal_that_was_not_written_down_is_learned_of_from_the_plane() -> None:
    stage = called()
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    old = dict(stage.written)
    stage.says(ALICE, Action.CONTENT_REMOVE, Content(CAMERA))
    stage.written = old
    stage.reborn()
    assert stage.ended == []
    assert set(only(stage).negotiation.media) == {VOICE}
    assert stage.pool.counts.quarantined == 4
    assert isinstance(stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA)), Replace)
    assert "s1.3.1" in stage.plane.bindings


@pytest.mark.parametrize("drained", [False, True])
def test_a_call_that_ended_after_it_was_written_down_is_nobodys(drained: bool) -> None:
    """The plane knows: it released the bindings, or does not have them any more."""
    stage = called()
    old = dict(stage.written)
    stage.says(BOB, Action.SESSION_TERMINATE, reason=Reason("success"))
    if drained:
        stage.drain()
    after = Stage()
    after.plane, after.now = stage.plane, stage.now
    after.registry.restore(load(old["s1"], after.registry, after.now), after.now)
    after.settle()
    reconcile(after.registry.calls, stage.plane.snapshot(), after.now, written_on=["s1"])
    after.settle()
    assert len(after.registry) == 0
    assert after.injected == []
    after.assert_nothing_left()


def test_a_rearm_that_nobody_answers_ends_the_call_after_a_restart_as_well() -> None:
    stage = called()
    stage.registry.moved(Moved(ALICE, ip_address("198.51.100.77")), stage.now)
    stage.settle()
    stage.reborn()
    stage.passes(Times().silence_s + 1)
    assert [ended.why for ended in stage.ended] == [Why.SILENCE]


def test_who_was_silent_before_a_new_plane_is_heard_until_it_says_otherwise() -> None:
    """It never told that the party is silent, so it does not tell that it is heard again either."""
    stage = called()
    stage.latch(RTP, 1, ADDRESSES[BOB])
    stage.silent(RTP, 0)
    stage.passes(40.0)
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.CLOSED)
    stage.plane = Plane()
    reconcile(stage.registry.calls, [], stage.now)
    stage.settle()
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.OPEN)
    stage.silent(RTP, 0)
    stage.passes(40.0)
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.CLOSED)


def test_a_plane_that_goes_away_while_it_makes_bindings_again_ends_no_call() -> None:
    stage = called()
    for _ in range(3):
        stage.plane, stage.held = Plane(), True
        reconcile(stage.registry.calls, [], stage.now)
        stage.settle()
        (bind,) = stage.binds
        stage.binds.clear()
        stage.registry.calls.unanswered(bind.session, bind.number, stage.now)
        stage.settle()
    assert stage.ended == []
    stage.held = False
    reconcile(stage.registry.calls, [], stage.now)
    stage.settle()
    assert stage.plane.armed[RTP, 0].resume == PHONE


def test_what_a_plane_has_made_without_an_answer_is_the_calls() -> None:
    """The connection was lost, and the plane has carried out what it had read."""
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    (bind,) = stage.binds
    assert stage.registry.calls.waits_for(bind.session, bind.number)
    reconcile(stage.registry.calls, [], stage.now)
    stage.settle()
    assert stage.registry.calls.waits_for(bind.session, bind.number)
    stage.plane.bind(bind.specs)
    reconcile(stage.registry.calls, stage.plane.snapshot(), stage.now)
    stage.settle()
    assert not stage.registry.calls.waits_for(bind.session, bind.number)
    assert isinstance(stage.answers[1], Replace)
    assert set(stage.plane.bindings) == {spec.name for spec in bind.specs}
    assert stage.pool.counts.leased == 4


def test_who_waits_for_a_plane_that_goes_away_is_told() -> None:
    stage = Stage()
    stage.held = True
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    (bind,) = stage.binds
    stage.registry.calls.unanswered(bind.session, bind.number, stage.now)
    stage.settle()
    told = stage.answers[1]
    assert isinstance(told, Bounce)
    assert "started again" in told.error.text  # ports are not what is missing
    (ended,) = stage.ended
    assert ended.obstacle is not None
    assert ended.obstacle.kind is Kind.PLANE


# What passed meanwhile


def passes(stage: Stage, sender: JID, jingle: Jingle) -> None:
    to = BOB if sender == ALICE else ALICE
    assert jingle.action is not None
    stage.registry.passed(Passed(sender, to, "a", jingle.action, jingle), stage.now)
    stage.settle()


def test_the_end_of_a_hold_that_passed_while_we_were_away_is_applied() -> None:
    stage = called()
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.reborn()
    passes(stage, ALICE, Jingle(Action.SESSION_INFO, "a", info=Info.ACTIVE))
    assert stage.plane.flows[RTP] == (Flow.OPEN, Flow.OPEN)
    assert stage.injected == []


def test_candidates_that_passed_are_followed_by_ours_and_arm_the_latch() -> None:
    stage = called()
    before = stage.plane.armed[RTP, 0].generation
    moved = Content(VOICE, transport=candidates("192.0.2.10", 7000, generation=2))
    passes(stage, ALICE, Jingle(Action.TRANSPORT_INFO, "a", contents=(moved,)))
    (told,) = stage.injected
    assert (told.sender, told.recipient) == (ALICE, BOB)
    (said,) = told.jingle.contents
    assert isinstance(said.transport, RawUdp)
    assert {c.generation for c in said.transport.candidates} == {3}
    bound = {spec.pinholes[1] for spec in stage.plane.bindings.values()}
    assert {c.address for c in said.transport.candidates} == bound
    assert stage.plane.armed[RTP, 0].generation == before + 1


def test_a_content_that_was_added_without_us_is_relayed_once_it_is_bound() -> None:
    stage = called()
    stage.held = True
    passes(stage, ALICE, Jingle(Action.CONTENT_ADD, "a", contents=(content(CAMERA),)))
    assert stage.injected == []
    stage.bind_all()
    assert [c.key for c in stage.injected[0].jingle.contents] == [CAMERA]


def told(stage: Stage) -> list[tuple[JID, JID, list[ContentKey]]]:
    """Who was told of our candidates in whose name, and of which contents."""
    made = [(i.sender, i.recipient, [c.key for c in i.jingle.contents]) for i in stage.injected]
    for injected in stage.injected:
        assert injected.jingle.action is Action.TRANSPORT_INFO
        for said in injected.jingle.contents:
            assert isinstance(said.transport, RawUdp)
            assert {c.address.ip for c in said.transport.candidates} == {RELAY}
            assert {c.generation for c in said.transport.candidates} == {1}
    stage.injected.clear()
    return made


def asks(stage: Stage, sender: JID, action: Action, said: Content) -> Request:
    """A request of which we are asked."""
    recipient = BOB if sender == ALICE else ALICE
    ips = [ip_address(ADDRESSES[j]) for j in (sender, recipient)]
    stage.tokens += 1
    jingle = Jingle(action, "a", contents=(said,))
    request = Request(stage.tokens, sender, recipient, jingle, *ips)
    stage.registry.receive(request, stage.now)
    stage.settle()
    return request


def expires(stage: Stage, request: Request) -> None:
    stage.registry.expired(request, stage.now)
    stage.settle()


@pytest.mark.parametrize("waits", [True, False])
def test_what_went_on_before_it_was_answered_is_followed_by_our_candidates(waits: bool) -> None:
    """The process stood still: the question is read, and then that nobody waits for the answer."""
    stage = Stage()
    for sender, action, key in (
        (ALICE, Action.SESSION_INITIATE, VOICE),
        (BOB, Action.SESSION_ACCEPT, VOICE),
        (ALICE, Action.CONTENT_ADD, CAMERA),
        (BOB, Action.CONTENT_ACCEPT, CAMERA),
        (ALICE, Action.TRANSPORT_INFO, VOICE),
    ):
        stage.held = waits
        expires(stage, asks(stage, sender, action, content(key)))
        stage.held = False
        stage.bind_all()
        recipient = BOB if sender == ALICE else ALICE
        assert told(stage) == [(sender, recipient, [key])], action
    assert stage.pool.counts.leased == 8


def test_what_was_said_twice_while_we_were_away_is_followed_by_our_candidates_once() -> None:
    """The answer was on its way when the connection was lost: the module tells of it as passed."""
    stage = called()
    jingle = Jingle(Action.CONTENT_ADD, "a", contents=(content(CAMERA),))
    stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA))
    stage.says(BOB, Action.CONTENT_ACCEPT, content(CAMERA))
    passes(stage, ALICE, jingle)
    assert told(stage) == [(ALICE, BOB, [CAMERA])]
    assert stage.pool.counts.leased == 8


def test_what_waited_too_long_for_its_turn_is_learned_all_the_same() -> None:
    stage = called()
    moved = content(transport=candidates("192.0.2.10", 7000))
    request = Request(99, ALICE, BOB, Jingle(Action.TRANSPORT_INFO, "a", contents=(moved,)))
    stage.registry.late(request, stage.now)
    stage.registry.learn(request, stage.now)
    stage.settle()
    assert stage.answers[99] == Pass(99)
    assert told(stage) == [(ALICE, BOB, [VOICE])]


# A new plane, and one that was there before


def test_a_new_plane_is_given_the_same_ports_and_what_was_learned() -> None:
    stage = called()
    specs = dict(stage.plane.bindings)
    stage.plane = Plane()
    reconcile(stage.registry.calls, [], stage.now)
    stage.settle()
    assert stage.plane.bindings == specs
    assert stage.plane.armed[RTP, 0].resume == PHONE
    assert set(stage.plane.flows.values()) == {(Flow.OPEN, Flow.OPEN)}


def test_bindings_of_no_call_are_released() -> None:
    stage, orphan = called(), Stage()
    orphan.plane = stage.plane
    reconcile(orphan.registry.calls, bindings(stage), orphan.now)
    orphan.settle()
    assert orphan.plane.bindings == {}
    assert orphan.pool.counts.quarantined == 4
    orphan.assert_nothing_left()


def test_ports_that_still_drain_are_not_promised_to_anybody() -> None:
    stage = called()
    stage.says(ALICE, Action.SESSION_TERMINATE, reason=Reason("success"))
    after = Stage()
    drains = [
        BindingSnapshot(spec.name, (shut(spec.pinholes[0]), shut(spec.pinholes[1])), draining=True)
        for spec in stage.plane.draining.values()
    ]
    reconcile(after.registry.calls, drains, after.now)
    after.settle()
    assert after.pool.counts.quarantined == 4
    reconcile(after.registry.calls, [], after.now)
    assert after.pool.counts.quarantined == 0


def test_what_is_known_already_is_no_news() -> None:
    stage = called()
    after = reborn(stage)
    after.remembered.clear()
    before = after.registry.calls.pinhole(RTP, 0)
    assert before is not None
    latched_after_s = before.latched_after_s
    reconcile(after.registry.calls, bindings(stage, shown(stage)), after.now)
    after.settle()
    assert after.remembered == set()
    assert before.latched_after_s == latched_after_s


def test_what_was_latched_meanwhile_is_caught_up_with() -> None:
    stage = called()
    after = reborn(stage)
    other = TransportAddress(PHONE.ip, 50000)
    reconcile(after.registry.calls, bindings(stage, shown(stage, source=other)), after.now)
    after.settle()
    known = after.registry.calls.pinhole(RTP, 0)
    assert known is not None
    assert known.learned == other


@pytest.mark.parametrize(("heard_s", "lively"), [(SILENT_S - 0.1, True), (SILENT_S, False)])
def test_who_fell_silent_meanwhile_is_silent(heard_s: float, lively: bool) -> None:
    stage = called()
    after = reborn(stage)
    reconcile(after.registry.calls, bindings(stage, shown(stage, heard_s)), after.now)
    known = after.registry.calls.pinhole(RTP, 0)
    assert known is not None
    assert known.lively is lively
    assert known.quiet_since == (None if lively else after.now - heard_s)
