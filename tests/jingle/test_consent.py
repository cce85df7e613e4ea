"""Nothing is sent for long to a party that is not heard (RFC 7675; row S4 of the threats)."""

import pytest

from jingle_hnt.call.consent import MARGIN_S
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.model.content import Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from jingle_hnt.relay.binding import SILENT_S, Flow, Side
from tests.jingle.stage import ADDRESSES, ALICE, BOB, VOICE, Stage, candidates, content
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice

RTP, RTCP = "s1.1.1", "s1.1.2"
NOT_TO = {0: (Flow.OPEN, Flow.CLOSED), 1: (Flow.CLOSED, Flow.OPEN)}
BOTH = (Flow.OPEN, Flow.OPEN)
STRANGER = JID.of("eve@elsewhere.example/x")


def talking(stage: Stage | None = None) -> Stage:
    """A call in which both parties are heard."""
    stage = stage or Stage()
    stage.call()
    sides: tuple[tuple[Side, str], ...] = ((0, ADDRESSES[ALICE]), (1, ADDRESSES[BOB]))
    for side, ip in sides:
        stage.latch(RTP, side, ip, 40000)
        stage.latch(RTCP, side, ip, 40001)
    return stage


def silenced(stage: Stage, side: Side) -> None:
    """A party was heard until now, and then for so long not that the plane tells."""
    stage.passes(SILENT_S)
    stage.silent(RTP, side)
    stage.silent(RTCP, side)


@pytest.mark.parametrize("side", [0, 1])
def test_who_is_silent_for_30_s_is_sent_nothing_and_the_call_goes_on(side: Side) -> None:
    stage = talking()
    silenced(stage, side)
    stage.passes(30.0 - SILENT_S - MARGIN_S - 0.1)
    assert stage.plane.flows[RTP] == BOTH
    stage.passes(0.2)
    assert stage.plane.flows[RTP] == stage.plane.flows[RTCP] == NOT_TO[side]
    stage.passes(1000.0)
    assert not stage.ended


@pytest.mark.parametrize("name", [RTP, RTCP])
def test_its_first_packet_opens_the_way_again(name: str) -> None:
    stage = talking()
    silenced(stage, 1)
    stage.passes(100.0)
    stage.heard(name, 1)
    assert stage.plane.flows[RTP] == stage.plane.flows[RTCP] == BOTH
    stage.silent(name, 1)
    stage.passes(31.0)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def test_who_listens_only_consents_by_its_rtcp() -> None:
    stage = talking()
    stage.passes(SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(3600.0)
    assert stage.plane.flows[RTP] == BOTH


@pytest.mark.parametrize("how", ["hold", "senders"])
def test_one_way_media_goes_on_to_who_sends_rtcp(how: str) -> None:
    stage = talking()
    if how == "hold":
        stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    else:
        changed = content(VOICE, senders=Senders.INITIATOR)
        stage.says(ALICE, Action.CONTENT_MODIFY, changed)
    sends = Flow.HOLDING if how == "hold" else Flow.OPEN
    stage.passes(SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(600.0)
    assert stage.plane.flows[RTP] == (sends, Flow.HELD)
    stage.silent(RTCP, 1)
    stage.passes(30.0)
    assert stage.plane.flows[RTP] == (Flow.CLOSED, Flow.HELD)
    stage.heard(RTCP, 1)
    assert stage.plane.flows[RTP] == (sends, Flow.HELD)


def test_what_is_agreed_meanwhile_opens_nothing_to_the_silent() -> None:
    stage = talking()
    silenced(stage, 1)
    stage.passes(40.0)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.ACTIVE)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def test_when_both_have_fallen_silent_the_call_still_ends() -> None:
    stage = talking()
    silenced(stage, 1)
    stage.passes(40.0)
    silenced(stage, 0)
    stage.passes(61.0)
    assert [ended.why for ended in stage.ended] == [Why.SILENCE]


@pytest.mark.parametrize("mode", [IceMode.APPEND, IceMode.TERMINATE])
def test_no_media_goes_to_an_agent_that_is_silent_and_checks_still_do(mode: IceMode) -> None:
    stage = Stage(ice=mode, direct_first_s=0.0)
    stage.says(ALICE, Action.SESSION_INITIATE, ice(OF_ALICE))
    stage.says(BOB, Action.SESSION_ACCEPT, ice(OF_BOB))
    for name in (RTP, RTCP):
        stage.latch(name, 0, ADDRESSES[ALICE])
        stage.latch(name, 1, ADDRESSES[BOB])
    assert stage.plane.flows[RTP] == BOTH
    silenced(stage, 1)
    stage.passes(30.0 - SILENT_S - MARGIN_S - 0.1)
    assert stage.plane.flows[RTP] == BOTH
    stage.passes(0.2)
    assert stage.plane.flows[RTP] == stage.plane.flows[RTCP] == (Flow.NOMINAL, Flow.OPEN)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.ACTIVE)
    stage.passes(0.0)
    assert stage.plane.flows[RTP] == (Flow.NOMINAL, Flow.OPEN)
    stage.heard(RTP, 1)
    assert stage.plane.flows[RTP] == stage.plane.flows[RTCP] == BOTH


@pytest.mark.parametrize(
    "candidate", ["192.0.2.20", "198.51.100.77"], ids=["probation", "candidate-address"]
)
def test_a_few_packets_of_an_unknown_source_earn_no_more_than_5_s(candidate: str) -> None:
    """Row S3: whoever forges five packets in a bystander's name."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), to=STRANGER)
    answer = content(VOICE, candidates(candidate, 5000))
    stage.says(STRANGER, Action.SESSION_ACCEPT, answer, to=ALICE)
    stage.latch(RTP, 0, ADDRESSES[ALICE], 40000)
    stage.latch(RTP, 1, "198.51.100.77", 40000)
    stage.passes(SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(5.0 - SILENT_S)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def with_a_stranger() -> Stage:
    """Alice has called somebody of whom nothing is known, and who is heard."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), to=STRANGER)
    stage.says(STRANGER, Action.SESSION_ACCEPT, stage.bobs(), to=ALICE)
    stage.latch(RTP, 1, "198.51.100.77", 40000)
    return stage


def test_no_source_is_sent_anything_for_longer_than_30_s() -> None:
    stage = with_a_stranger()
    stage.passes(600.0 + SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(30.0 - SILENT_S)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def test_silence_counts_from_the_last_that_was_heard() -> None:
    stage = talking()
    stage.passes(SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(10.0)
    stage.silent(RTCP, 1)
    stage.passes(30.0 - SILENT_S - MARGIN_S - 0.1)
    assert stage.plane.flows[RTP] == BOTH
    stage.passes(0.2)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def test_an_unknown_source_that_talked_for_a_while_may_pause_as_long() -> None:
    stage = with_a_stranger()
    stage.passes(12.0 + SILENT_S)
    stage.silent(RTP, 1)
    stage.passes(12.0 - SILENT_S - MARGIN_S - 0.1)
    assert stage.plane.flows[RTP] == BOTH
    stage.passes(0.2)
    assert stage.plane.flows[RTP] == NOT_TO[1]


def test_after_a_restart_silence_is_counted_from_its_beginning() -> None:
    before = talking()
    silenced(before, 1)
    before.passes(40.0)
    (session,) = before.registry
    after = Stage()
    after.plane, after.now = before.plane, before.now
    after.registry.restore(load(dump(session, before.now), after.registry, after.now), after.now)
    after.settle()
    after.heard(RTP, 1)
    assert after.plane.flows[RTP] == BOTH
