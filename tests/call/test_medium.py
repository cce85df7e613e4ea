"""What a content remembers of the candidates that its parties signal (XEP-0177 section 5.3)."""

import pytest

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.policy import AlreadyRelayed, CallPolicy
from jingle_hnt.call.transports.raw_udp import may_relay
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, CandidateType, RawUdp
from jingle_hnt.relay.policy import PeerPolicy
from tests.jingle.stage import RELAY, VOICE


def candidate(port: int, generation: int = 0, component: int = 1) -> Candidate:
    return Candidate(component, generation, TransportAddress.of("192.0.2.10", port))


def heard(*told: Candidate) -> Medium:
    medium = Medium(VOICE, Leg.INITIATOR)
    assert medium.record(Leg.INITIATOR, told) == set()
    return medium


def ports(medium: Medium) -> list[int]:
    return [c.address.port for c in medium.signalled[Leg.INITIATOR]]


def test_a_further_candidate_of_the_same_generation_stands_beside_the_first() -> None:
    medium = heard(candidate(5000))
    assert medium.record(Leg.INITIATOR, [candidate(5002)]) == set()
    assert ports(medium) == [5000, 5002]


def test_a_repeated_candidate_is_no_news() -> None:
    medium = heard(candidate(5000, 1))
    assert medium.record(Leg.INITIATOR, [candidate(5000, 1)]) == set()
    assert ports(medium) == [5000]


def test_a_greater_generation_makes_the_older_candidates_of_its_component_obsolete() -> None:
    medium = heard(candidate(5000), candidate(5001, component=2))
    assert medium.record(Leg.INITIATOR, [candidate(7000, 1)]) == {1}
    assert ports(medium) == [5001, 7000]


def test_a_stale_candidate_changes_nothing() -> None:
    medium = heard(candidate(7000, 2))
    assert medium.record(Leg.INITIATOR, [candidate(5000, 1)]) == set()
    assert ports(medium) == [7000]


def test_each_leg_counts_its_own_generations() -> None:
    medium = heard(candidate(7000, 2))
    assert medium.record(Leg.RESPONDER, [candidate(6000)]) == set()
    assert medium.record(Leg.RESPONDER, [candidate(6002, 1)]) == {1}


@pytest.mark.rule("J16")
def test_one_candidate_that_is_no_relays_and_none_of_ours_is_worth_relaying() -> None:
    away = Candidate(1, 0, TransportAddress.of("192.0.2.10", 5000), type=CandidateType.HOST)
    ours = Candidate(1, 0, TransportAddress(RELAY, 2000), type=CandidateType.RELAY)
    for told, relayed in (((ours,), True), ((ours, away), False), ((), False)):
        passes = CallPolicy(already_relayed=AlreadyRelayed.PASS)
        loops = CallPolicy(PeerPolicy(own=(RELAY,)), already_relayed=AlreadyRelayed.RELAY)
        assert may_relay(passes, RawUdp(told)) is not relayed
        assert may_relay(loops, RawUdp(told)) is not relayed
