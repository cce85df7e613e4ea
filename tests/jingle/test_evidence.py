"""On what evidence the legs of a call are armed, and what becomes of who has none."""

from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.errors import Condition
from jingle_hnt.jingle.effects import Bounce, Moved, Replace, Request
from jingle_hnt.jingle.party import Party
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Content, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.relay.binding import Arm
from jingle_hnt.relay.evidence import (
    LONGEST_AGE_S,
    MOST_SIGHTINGS,
    PROBATION_PACKETS,
    UNTOLD,
    Sighting,
    SourceAuth,
    Via,
)
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

ABROAD = JID.of("carol@elsewhere.example/tablet")
"""A user of another server: nobody tells us where she is."""


@pytest.mark.rule("L6")
def test_both_legs_are_armed_by_their_xmpp_address_from_the_offer_on() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    for (_, side), arm in stage.plane.armed.items():
        party = ALICE if side == 0 else BOB
        assert arm.evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
        assert arm.evidence.sources == (ip_network(ADDRESSES[party]),)
    assert len(stage.plane.armed) == 4


def test_an_unknown_callee_is_armed_at_the_accept_and_its_rtcp_after_its_rtp() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert all(side == 0 for _, side in stage.plane.armed)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), known=False)
    assert set(stage.plane.armed) == {("s1.1.1", 0), ("s1.1.1", 1)}
    assert stage.plane.armed["s1.1.1", 1].evidence.source_auth is SourceAuth.PROBATION
    stage.latch("s1.1.1", 1, "198.51.100.77")
    rtcp = stage.plane.armed["s1.1.2", 1]
    assert rtcp.evidence.sources == (ip_network("198.51.100.77"),)


def test_a_public_candidate_is_evidence_where_nothing_better_is_known() -> None:
    stage = Stage()
    public = content(transport=candidates("198.51.100.5", 5000))
    stage.says(ALICE, Action.SESSION_INITIATE, public, known=False)
    arm = stage.plane.armed["s1.1.1", 0]
    assert arm.evidence.source_auth is SourceAuth.CANDIDATE_ADDRESS
    assert arm.evidence.sources == (ip_network("198.51.100.5"),)


@pytest.mark.rule("L8")
def test_first_packets_may_go_to_a_public_candidate_of_the_answer() -> None:
    stage = Stage(peers=PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, early_stream=True))
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert all(arm.early is None for arm in stage.plane.armed.values())
    answer = content(transport=candidates("198.51.100.5", 6000))
    stage.says(BOB, Action.SESSION_ACCEPT, answer, known=False)
    early = {name: arm.early for (name, side), arm in stage.plane.armed.items() if side == 1}
    assert early == {
        "s1.1.1": TransportAddress.of("198.51.100.5", 6000),
        "s1.1.2": TransportAddress.of("198.51.100.5", 6001),
    }


def test_who_cannot_be_known_is_refused_where_the_operator_wants_proof() -> None:
    peers = PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, unknown_source=UnknownSource.REFUSE)
    stage = Stage(peers=peers)
    refused = stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert isinstance(refused, Bounce)
    assert refused.error.condition is Condition.NOT_ACCEPTABLE
    offered = stage.says(ALICE, Action.SESSION_INITIATE, content(), to=ABROAD, sid="b")
    assert isinstance(offered, Replace)
    accepted = stage.says(ABROAD, Action.SESSION_ACCEPT, stage.bobs(), to=ALICE, sid="b")
    assert isinstance(accepted, Bounce)
    assert {inject.recipient for inject in stage.injected} == {ALICE, ABROAD}
    assert stage.ended[-1].why is Why.UNPROVEN
    stage.assert_nothing_left()


# A set that ages

OLD, OLD6 = "198.51.100.40", "2001:db8:1::40"


def seen(*texts: str, via: Via = Via.EARLIER, age_s: float = 60.0) -> tuple[Sighting, ...]:
    return tuple(Sighting(ip_address(text), via, age_s) for text in texts)


def offers(stage: Stage, party_seen: tuple[Sighting, ...], ip: str | None = None) -> Arm:
    """Alice's offer, of whom this is known; how her leg is armed when Bob has accepted."""
    jingle = Jingle(Action.SESSION_INITIATE, "s", contents=(content(),))
    stage.tokens += 1
    known = None if ip is None else ip_address(ip)
    request = Request(stage.tokens, ALICE, BOB, jingle, known, sender_seen=party_seen)
    stage.registry.receive(request, stage.now)
    stage.settle()
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), sid="s", known=False)
    return stage.plane.armed["s1.1.1", 0]


@pytest.mark.parametrize("via", [Via.BOSH, Via.WEBSOCKET, Via.HIBERNATING, Via.EARLIER])
def test_an_address_that_may_be_stale_is_likely_and_never_the_only_door(via: Via) -> None:
    evidence = offers(Stage(), seen(OLD, via=via)).evidence
    assert evidence.source_auth is SourceAuth.PROBATION
    assert evidence.packets_needed(ip_address(OLD)) == 1
    assert evidence.packets_needed(ip_address("198.51.100.77")) == PROBATION_PACKETS
    assert evidence.admits(ip_address("198.51.100.77"))


def test_the_last_address_of_the_family_that_media_uses_is_likely() -> None:
    """Happy eyeballs: XMPP by IPv6, media by IPv4."""
    evidence = offers(Stage(), seen(OLD), ip=OLD6).evidence
    assert (evidence.source_auth, evidence.likely) == (SourceAuth.PROBATION, (ip_network(OLD),))


def test_an_address_of_days_ago_says_nothing() -> None:
    assert offers(Stage(), seen(OLD, age_s=LONGEST_AGE_S + 1)).evidence.likely == ()


def test_an_operator_who_wants_proof_has_weak_addresses_alone_believed() -> None:
    peers = PeerPolicy(own=(RELAY,), allow_networks=PUBLIC, unknown_source=UnknownSource.REFUSE)
    evidence = peers.evidence(4, None, (), [ip_address(OLD)])
    assert (evidence.source_auth, evidence.sources) == (
        SourceAuth.SIGNALLING_ADDRESS,
        (ip_network(OLD),),
    )


def test_a_weak_address_is_believed_beside_public_candidates() -> None:
    policy = PeerPolicy(allow_networks=PUBLIC)
    named = candidates("198.51.100.5", 5000).candidates
    evidence = policy.evidence(4, None, named, [ip_address(OLD)])
    assert evidence.source_auth is SourceAuth.CANDIDATE_ADDRESS
    assert evidence.sources == (ip_network("198.51.100.5"), ip_network(OLD))


def test_a_party_keeps_a_few_addresses_and_the_sure_one_apart() -> None:
    party = Party(ALICE)
    assert party.sight([Sighting(ip_address(OLD))])
    assert party.sight(seen(*(f"198.51.100.{n}" for n in range(50, 60)), via=Via.BOSH))
    assert party.ip == ip_address(OLD)
    assert len(party.seen) == MOST_SIGHTINGS
    assert not party.sight(seen(OLD, via=Via.BOSH))
    assert party.sight([Sighting(ip_address(OLD6))])
    assert (party.ip, party.seen[0]) == (ip_address(OLD6), ip_address(OLD))


# In mid-call


def heard_call() -> Stage:
    stage = Stage()
    stage.call()
    stage.latch("s1.1.1", 0, ADDRESSES[ALICE])
    return stage


def moves(stage: Stage, ip: str | None, *also: Sighting) -> Arm:
    known = None if ip is None else ip_address(ip)
    stage.registry.moved(Moved(ALICE, known, also), stage.now)
    stage.settle()
    return stage.plane.armed["s1.1.1", 0]


def test_a_phone_that_resumes_by_the_other_family_keeps_its_latch() -> None:
    stage = heard_call()
    before = stage.plane.armed["s1.1.1", 0]
    assert moves(stage, OLD6) is before
    assert moves(stage, None, *seen(OLD, via=Via.BOSH)) is before
    stage.silent("s1.1.1", 0)
    after = moves(stage, "2001:db8:1::41").evidence
    assert (after.source_auth, after.likely) == (
        SourceAuth.PROBATION,
        (ip_network(OLD), ip_network(ADDRESSES[ALICE])),
    )


def test_a_phone_that_moves_is_believed_at_both_addresses_while_it_is_heard() -> None:
    stage = heard_call()
    after = moves(stage, OLD)
    assert after.evidence.sources == (ip_network(OLD), ip_network(ADDRESSES[ALICE]))
    stage.latch("s1.1.1", 0, OLD)
    assert moves(stage, OLD, *seen("198.51.100.41")) == after


def test_a_phone_that_moves_while_nothing_is_heard_is_believed_where_it_is() -> None:
    stage = Stage()
    stage.call()
    assert moves(stage, OLD).evidence.sources == (ip_network(OLD),)


def test_who_was_unknown_and_is_known_now_is_armed_on_the_better() -> None:
    stage = Stage()
    stage.call(known=False)
    stage.latch("s1.1.1", 0, ADDRESSES[ALICE])
    after = moves(stage, ADDRESSES[ALICE])
    assert (after.evidence.source_auth, after.evidence.sources) == (
        SourceAuth.SIGNALLING_ADDRESS,
        (ip_network(ADDRESSES[ALICE]),),
    )


def test_an_answer_tells_where_a_callee_is_who_was_asleep_when_it_was_called() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert stage.plane.armed["s1.1.1", 1].evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS


def test_a_party_of_two_families_is_told_the_one_that_can_be_proven() -> None:
    both = RawUdp(
        (
            *candidates("192.0.2.10", 5000).candidates,
            *candidates("2001:db8:1::10", 5000).candidates,
        )
    )
    for ip, version in ((OLD, 4), (OLD6, 6)):
        stage = Stage()
        jingle = Jingle(Action.SESSION_INITIATE, "s", contents=(content(transport=both),))
        request = Request(1, ALICE, BOB, jingle, ip_address(ip))
        stage.registry.receive(request, stage.now)
        stage.settle()
        (session,) = stage.registry
        (allocation,) = session.negotiation.allocations
        assert allocation.version(Leg.INITIATOR) == version
        assert stage.plane.armed["s1.1.1", 0].evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS


# Who is told of a port, and when


def test_a_caller_of_whom_nothing_is_known_is_believed_when_it_is_told_of_its_ports() -> None:
    """Before the answer nobody was: whoever sends there bars himself."""
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert {key: arm.evidence for key, arm in stage.plane.armed.items()} == {("s1.1.1", 0): UNTOLD}
    stage.says(ALICE, Action.TRANSPORT_INFO, moved_to(1), known=False)
    assert stage.plane.armed["s1.1.1", 0].evidence == UNTOLD
    assert ("s1.1.2", 0) not in stage.plane.armed
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), known=False)
    for side in (0, 1):
        assert stage.plane.armed["s1.1.1", side].evidence.probation == PROBATION_PACKETS
        assert stage.plane.armed["s1.1.1", side].evidence.admits(ip_address(OLD))


def moved_to(generation: int) -> Content:
    return Content(VOICE, transport=candidates("192.0.2.10", 7000, generation))


def test_a_caller_whose_address_becomes_known_while_it_rings_is_armed_on_that() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert moves(stage, None, *seen(OLD)).evidence == UNTOLD
    assert moves(stage, OLD).evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS
