"""Plays that random packets hardly ever come to, judged by the rules in Python and in C."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import PROBATION_PACKETS, Evidence, SourceAuth
from jingle_hnt.relay.latch import CONTENDERS, RIVALRY_S, SILENCE_S, Verdict
from tests.plane.both import Both
from tests.plane.packets import rtcp, rtp

pytestmark = pytest.mark.native

HOME, REMAPPED, THIRD = (TransportAddress.of("198.51.100.1", port) for port in (4000, 4001, 4002))
EVERYWHERE = (ip_network("0.0.0.0/0"),)
ON_PROBATION = [Verdict.PROBATION] * (PROBATION_PACKETS - 1)


def armed(probation: int = 1) -> Both:
    return Both(Evidence(SourceAuth.PROBATION, EVERYWHERE, probation=probation))


def latched(sequence: int = 100) -> Both:
    """Latched onto HOME at the time 0."""
    latch = armed()
    assert latch.hears(HOME, rtp(sequence), 0.0) is Verdict.LATCHED
    return latch


@pytest.mark.rule("L5")
def test_two_that_carry_on_the_same_stream_keep_one_another_out() -> None:
    latch = latched()
    for number in range(20):
        now = SILENCE_S + number * 0.02
        latch.hears(REMAPPED, rtp(101 + number), now)
        assert latch.hears(THIRD, rtp(101 + number), now) is Verdict.RIVAL
    assert latch.source == HOME
    later = SILENCE_S + 0.4 + RIVALRY_S
    assert latch.hears(REMAPPED, rtp(121), later) is Verdict.RELATCHED


@pytest.mark.rule("L5")
def test_a_stream_goes_on_over_the_wrap_of_its_numbers() -> None:
    latch = latched(65534)
    verdicts = [latch.hears(REMAPPED, rtp(n % 65536), SILENCE_S) for n in range(65535, 65540)]
    assert verdicts == [*ON_PROBATION, Verdict.RELATCHED]


def test_the_rtcp_of_a_remapped_party_is_no_rival_and_does_not_count() -> None:
    latch = latched()
    assert latch.hears(REMAPPED, rtcp(), SILENCE_S) is Verdict.PROBATION
    verdicts = [latch.hears(REMAPPED, rtp(101 + n), SILENCE_S) for n in range(PROBATION_PACKETS)]
    assert verdicts == [*ON_PROBATION, Verdict.RELATCHED]


def test_rtcp_between_the_packets_of_a_probation_does_not_begin_it_anew() -> None:
    latch = armed(PROBATION_PACKETS)
    for number in range(PROBATION_PACKETS - 1):
        assert latch.hears(HOME, rtp(number), 0.1 * number) is Verdict.PROBATION
    assert latch.hears(HOME, rtcp(), 0.5) is Verdict.PROBATION
    assert latch.hears(HOME, rtp(PROBATION_PACKETS), 0.6) is Verdict.LATCHED


def test_a_streak_that_leads_nowhere_makes_room() -> None:
    """One packet each of many sources: none of them keeps the party's streak from growing."""
    latch = armed(PROBATION_PACKETS)
    others = (TransportAddress.of("192.0.2.7", port) for port in range(1, 2 * CONTENDERS))
    for number, other in enumerate(others):
        latch.hears(other, rtp(number), 0.01 * number)
    verdicts = [latch.hears(HOME, rtp(n), 0.3 + 0.02 * n) for n in range(PROBATION_PACKETS)]
    assert verdicts[-1] is Verdict.LATCHED


def test_a_known_stream_finds_room_among_steady_others() -> None:
    latch = latched()
    for number in range(101, 250):
        latch.hears(HOME, rtp(number), 0.02 * (number - 100))
    for number in range(3 * CONTENDERS):
        other = replace(THIRD, port=5000 + number % CONTENDERS)
        latch.hears(other, rtp(number // CONTENDERS, ssrc=9), 3.5 + 0.001 * number)
    verdicts = [latch.hears(REMAPPED, rtp(250 + n), 4.1 + 0.02 * n) for n in range(5)]
    assert verdicts[-1] is Verdict.RELATCHED
