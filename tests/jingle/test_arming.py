"""When a latch is armed anew, and when what it has learned stays (rules L4 and L5)."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.call.allocation import Pinhole
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import IceMode
from jingle_hnt.jingle.effects import Bounce, Moved
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Content, Crypto, TagKey
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info
from jingle_hnt.relay.binding import Arm, Latched, Side
from jingle_hnt.relay.evidence import SourceAuth
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from tests.jingle.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    PUBLIC,
    RELAY,
    VOICE,
    Stage,
    candidates,
    content,
)
from tests.jingle.test_ice import OF_ALICE, ice

RTP, RTCP = "s1.1.1", "s1.1.2"
ELSEWHERE = ip_address("198.51.100.77")
SIGNED = Crypto("1", (TagKey("1" * 40, "2" * 40),))


def called(known: bool = True) -> Stage:
    stage = Stage()
    stage.call(known=known)
    return stage


def pinhole(stage: Stage, side: Side, name: str = RTP) -> Pinhole:
    found = stage.registry.calls.pinhole(name, side)
    assert found is not None
    return found


def rearmed(stage: Stage, before: dict[tuple[str, Side], Arm]) -> set[tuple[str, Side]]:
    return {key for key, arm in stage.plane.armed.items() if before.get(key) != arm}


def moved(generation: int, port: int = 7000) -> Content:
    return Content(VOICE, transport=candidates("192.0.2.10", port, generation))


def replaced(stage: Stage, generation: int = 0) -> None:
    """Alice offers another transport, Bob accepts it: its bindings are s1.2.1 and s1.2.2."""
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(generation))
    bobs = Content(VOICE, transport=candidates("192.0.2.20", 7000))
    stage.says(BOB, Action.TRANSPORT_ACCEPT, bobs)
    assert set(stage.plane.bindings) == {"s1.2.1", "s1.2.2"}


# Return from hold


@pytest.mark.rule("L4")
def test_after_a_hold_who_was_silent_is_armed_anew_and_who_sent_on_keeps_its_latch() -> None:
    stage = called()
    for side, party in ((0, ALICE), (1, BOB)):
        stage.latch(RTP, 0 if side == 0 else 1, ADDRESSES[party])
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.silent(RTP, 1)
    before = dict(stage.plane.armed)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.ACTIVE)
    assert rearmed(stage, before) == {(RTP, 1)}
    assert pinhole(stage, 1).learned is None
    assert pinhole(stage, 0).learned == TransportAddress.of(ADDRESSES[ALICE], 40000)


def test_unhold_is_an_end_of_hold_too() -> None:
    stage = called()
    stage.latch(RTP, 1, ADDRESSES[BOB])
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.silent(RTP, 1)
    before = dict(stage.plane.armed)
    stage.says(ALICE, Action.SESSION_INFO, info=Info.UNHOLD)
    assert rearmed(stage, before) == {(RTP, 1)}


def test_who_did_not_hold_cannot_end_the_hold() -> None:
    stage = called()
    stage.latch(RTP, 1, ADDRESSES[BOB])
    stage.says(ALICE, Action.SESSION_INFO, info=Info.HOLD)
    stage.silent(RTP, 1)
    before = dict(stage.plane.armed), dict(stage.plane.flows)
    stage.says(BOB, Action.SESSION_INFO, info=Info.ACTIVE)
    assert (dict(stage.plane.armed), dict(stage.plane.flows)) == before


# Another generation, another transport


@pytest.mark.rule("L4")
def test_the_same_generation_said_twice_arms_nothing() -> None:
    stage = called()
    stage.says(ALICE, Action.TRANSPORT_INFO, moved(1))
    before = dict(stage.plane.armed)
    stage.says(ALICE, Action.TRANSPORT_INFO, moved(1, port=7100))
    assert rearmed(stage, before) == set()


@pytest.mark.rule("L4", "L7")
def test_what_was_learned_is_obsolete_after_a_change_and_so_is_late_news_of_it() -> None:
    stage = called()
    stage.latch(RTP, 0, ADDRESSES[ALICE])
    stage.latch(RTP, 1, ADDRESSES[BOB])
    late = Latched(RTP, 0, 0, TransportAddress.of(ADDRESSES[ALICE], 1), False, 0.1)
    stage.says(ALICE, Action.TRANSPORT_INFO, moved(1))
    alices = pinhole(stage, 0)
    assert not alices.lively
    stage.registry.calls.on_event(late, stage.now)
    stage.heard(RTP, 0)
    assert (alices.learned, alices.latched_after_s, alices.lively) == (None, None, False)
    assert pinhole(stage, 1).lively


def test_who_has_said_nothing_yet_is_not_armed_by_a_newer_generation_either() -> None:
    """Its answer may tell better than probation who it is."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    for generation in (0, 1):
        told = Content(VOICE, transport=candidates("192.0.2.20", 6000, generation))
        stage.says(BOB, Action.TRANSPORT_INFO, told, known=False)
    assert {side for _, side in stage.plane.armed} == {0}


@pytest.mark.rule("L4")
@pytest.mark.parametrize("party", [ALICE, BOB])
def test_a_replaced_transport_counts_its_generations_anew(party: JID) -> None:
    stage = called()
    stage.says(party, Action.TRANSPORT_INFO, moved(3))
    replaced(stage)
    before = dict(stage.plane.armed)
    stage.says(party, Action.TRANSPORT_INFO, moved(1))
    side = 0 if party == ALICE else 1
    assert rearmed(stage, before) == {("s1.2.1", side), ("s1.2.2", side)}


def test_a_replaced_transport_is_latched_by_the_candidates_that_it_was_offered_with() -> None:
    stage = called(known=False)
    offer = Content(VOICE, transport=candidates("198.51.100.7", 7000))
    stage.says(ALICE, Action.TRANSPORT_REPLACE, offer, known=False)
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs(), known=False)
    more = Content(VOICE, transport=candidates("192.0.2.10", 7200, generation=1, components=(2,)))
    stage.says(ALICE, Action.TRANSPORT_INFO, more, known=False)
    assert stage.plane.armed["s1.2.2", 0].evidence.source_auth is SourceAuth.CANDIDATE_ADDRESS
    assert stage.plane.armed["s1.2.2", 0].evidence.sources == (ip_network("198.51.100.7"),)


def test_a_rejected_agent_is_forgotten_with_its_transport() -> None:
    stage = Stage(ice=IceMode.TERMINATE)
    stage.call()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, ice(OF_ALICE, media=None))
    stage.says(BOB, Action.TRANSPORT_REJECT, Content(VOICE))
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(0))
    stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs())
    assert stage.plane.armed["s1.3.1", 1].evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
    (session,) = stage.registry
    assert session.negotiation.media[VOICE].agents is None


def test_a_replacement_needs_as_much_proof_as_an_answer() -> None:
    peers = PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, unknown_source=UnknownSource.REFUSE)
    stage = Stage(peers=peers)
    stage.call()
    stage.says(ALICE, Action.TRANSPORT_REPLACE, moved(0))
    (session,) = stage.registry
    session.parties[1].ip = None
    answer = stage.says(BOB, Action.TRANSPORT_ACCEPT, stage.bobs(), known=False)
    assert isinstance(answer, Bounce)
    assert set(stage.plane.bindings) >= {RTP, RTCP}


# Another address


@pytest.mark.rule("L6")
def test_who_is_to_sign_its_media_is_not_armed_by_its_address_before_it_answers() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, replace(content(), crypto=(SIGNED,)))
    stage.registry.moved(Moved(BOB, ELSEWHERE), stage.now)
    stage.settle()
    assert {side for _, side in stage.plane.armed} == {0}


def test_two_resources_of_one_account_are_two_parties() -> None:
    service = JID.of("alice@example.org/desk")
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), to=service)
    stage.registry.moved(Moved(service, ELSEWHERE), stage.now)
    stage.settle()
    assert {side for _, side in stage.plane.armed} == {0}
    stage.says(service, Action.SESSION_ACCEPT, stage.bobs(), to=ALICE)
    assert stage.plane.armed[RTP, 1].evidence.sources == (ip_network(ELSEWHERE),)
    assert stage.plane.armed[RTP, 0].evidence.sources == (ip_network(ADDRESSES[ALICE]),)


# What RTP shows of RTCP


def test_rtcp_that_was_learned_stays_when_rtp_moves() -> None:
    stage = called(known=False)
    stage.latch(RTP, 1, str(ELSEWHERE), 40000)
    stage.latch(RTCP, 1, str(ELSEWHERE), 40001)
    before = dict(stage.plane.armed)
    stage.latch(RTP, 1, str(ELSEWHERE), 50000)
    assert rearmed(stage, before) == set()
    assert pinhole(stage, 1, RTCP).lively


# Who is back


@pytest.mark.rule("J10")
def test_who_is_back_at_the_server_is_waited_for_again() -> None:
    stage = called()
    stage.latch(RTP, 1, ADDRESSES[BOB])
    (session,) = stage.registry
    session.gone(1)  # type: ignore[arg-type]
    stage.registry.moved(Moved(BOB, ip_address(ADDRESSES[BOB])), stage.now)
    stage.silent(RTP, 1)
    stage.passes(50.0)
    assert stage.ended == []
    stage.passes(11.0)
    assert [end.why for end in stage.ended] == [Why.SILENCE]
