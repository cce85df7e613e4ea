"""On what evidence the legs of a call are armed, and what becomes of who has none."""

from ipaddress import ip_network

import pytest

from jingle_hnt.errors import Condition
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.evidence import Rung
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from jingle_hnt.session.effects import Bounce, Replace, Why
from tests.session.stage import (
    ADDRESSES,
    ALICE,
    BOB,
    PUBLIC,
    RELAY,
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
        assert arm.evidence.rung is Rung.R3
        assert arm.evidence.sources == (ip_network(ADDRESSES[party]),)
    assert len(stage.plane.armed) == 4


def test_an_unknown_callee_is_armed_at_the_accept_and_its_rtcp_after_its_rtp() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content(), known=False)
    assert all(side == 0 for _, side in stage.plane.armed)
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs(), known=False)
    assert set(stage.plane.armed) == {("s1.1.1", 0), ("s1.1.1", 1)}
    assert stage.plane.armed["s1.1.1", 1].evidence.rung is Rung.R5
    stage.latch("s1.1.1", 1, "198.51.100.77")
    rtcp = stage.plane.armed["s1.1.2", 1]
    assert rtcp.evidence.sources == (ip_network("198.51.100.77"),)


def test_a_public_candidate_is_evidence_where_nothing_better_is_known() -> None:
    stage = Stage()
    public = content(transport=candidates("198.51.100.5", 5000))
    stage.says(ALICE, Action.SESSION_INITIATE, public, known=False)
    arm = stage.plane.armed["s1.1.1", 0]
    assert arm.evidence.rung is Rung.R4
    assert arm.evidence.sources == (ip_network("198.51.100.5"),)


@pytest.mark.rule("L8")
def test_first_packets_may_go_to_a_public_candidate_of_the_answer() -> None:
    stage = Stage(peers=PeerPolicy(own=(RELAY,), allowed=PUBLIC, early_stream=True))
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
    peers = PeerPolicy(own=(RELAY,), allowed=PUBLIC, unknown=UnknownSource.REFUSE)
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
