"""The latch's rules, one by one; the same class is the oracle of the native engine."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import SILENCE_S, SUCCESSION_S, Latch, LatchState, Verdict
from jingle_hnt.relay.packet import Header, PacketKind, classify
from tests.plane.packets import dtls, rtcp, rtp, stun, zrtp

HOME = TransportAddress.of("198.51.100.1", 4000)
REMAPPED = TransportAddress.of("198.51.100.1", 4001)
ELSEWHERE = TransportAddress.of("203.0.113.5", 4000)
BY_ADDRESS = Evidence(SourceAuth.SIGNALLING_ADDRESS, (ip_network("198.51.100.1"),))
BY_PROBATION = Evidence(SourceAuth.PROBATION, (ip_network("0.0.0.0/0"),), probation=5)


def say(
    latch: Latch, source: TransportAddress, sequence: int, now: float, ssrc: int = 1
) -> Verdict:
    return latch.observe(source, Header(PacketKind.RTP, ssrc, sequence), now)


def armed(evidence: Evidence = BY_ADDRESS) -> Latch:
    latch = Latch()
    assert latch.arm(0, evidence)
    return latch


@pytest.mark.rule("G1")
def test_a_latch_starts_shut() -> None:
    assert say(Latch(), HOME, 1, 0) is Verdict.SHUT


def settled(evidence: Evidence = BY_ADDRESS) -> Latch:
    """Latched onto HOME, which has spoken for three seconds; its 100th packet was at the time 0."""
    latch = armed(evidence)
    for number in range(150):
        say(latch, HOME, (number - 49) % 65536, (number - 149) / 50)
    assert latch.source == HOME
    return latch


@pytest.mark.rule("L3", "L6")
def test_the_first_acceptable_source_is_learned() -> None:
    latch = armed()
    assert say(latch, ELSEWHERE, 1, 0) is Verdict.STRANGER
    assert say(latch, HOME, 1, 0) is Verdict.LATCHED
    assert latch.source == HOME
    assert say(latch, HOME, 2, 0) is Verdict.PASS


@pytest.mark.rule("L7")
@pytest.mark.parametrize("datagram", [b"", b"junk", b"\x80\0\0\0", stun(), bytes(65507)])
def test_what_no_media_sender_sends_first_teaches_nothing(datagram: bytes) -> None:
    latch = armed()
    assert latch.observe(HOME, classify(datagram), 0) is Verdict.UNFIT
    assert latch.state is LatchState.ARMED


@pytest.mark.parametrize("datagram", [rtp(1), rtcp(), dtls(), zrtp()])
def test_what_media_senders_send_first_does(datagram: bytes) -> None:
    assert armed().observe(HOME, classify(datagram), 0) is Verdict.LATCHED


def test_time_alone_opens_nothing() -> None:
    latch = armed()
    assert say(latch, ELSEWHERE, 1, 1e6) is Verdict.STRANGER


@pytest.mark.rule("L4")
def test_no_other_source_is_heard_while_the_learned_one_is() -> None:
    latch = armed()
    say(latch, HOME, 1, 0)
    for number in range(2, 60):
        assert say(latch, HOME, number, number * 0.02) is Verdict.PASS
        assert say(latch, REMAPPED, number, number * 0.02) is Verdict.RIVAL
    assert latch.source == HOME


@pytest.mark.rule("L5")
def test_a_remapped_port_takes_over_after_silence_with_the_stream_going_on() -> None:
    latch = settled()
    assert say(latch, REMAPPED, 101, SILENCE_S - 0.01) is Verdict.PROBATION
    verdicts = [say(latch, REMAPPED, 200 + n, SILENCE_S + n * 0.02) for n in range(5)]
    assert verdicts == [Verdict.PROBATION] * 4 + [Verdict.RELATCHED]
    assert latch.source == REMAPPED


@pytest.mark.rule("L5", "L7")
@pytest.mark.parametrize(("ssrc", "step"), [(2, 1), (1, 4000), (1, 0)])
def test_another_stream_or_a_jump_does_not_take_over(ssrc: int, step: int) -> None:
    latch = settled()
    for number in range(1, 20):
        verdict = say(latch, REMAPPED, 100 + step * number, 2 + number * 0.02, ssrc)
        assert verdict in (Verdict.RIVAL, Verdict.PROBATION) if step == 4000 else Verdict.RIVAL
    assert latch.source == HOME


def test_another_address_does_not_take_over() -> None:
    latch = settled()
    for number in range(101, 120):
        assert say(latch, ELSEWHERE, number, 5 + number) is Verdict.STRANGER
    latch = settled(BY_PROBATION)
    for number in range(101, 120):
        assert say(latch, ELSEWHERE, number, 1 + number / 50) is Verdict.RIVAL


def test_an_unproven_source_is_on_probation() -> None:
    latch = armed(BY_PROBATION)
    verdicts = [say(latch, HOME, n, n * 0.02) for n in range(5)]
    assert verdicts == [Verdict.PROBATION] * 4 + [Verdict.LATCHED]


def test_none_wins_while_two_compete() -> None:
    latch = armed(BY_PROBATION)
    for number in range(1, 50):
        say(latch, HOME, number, number * 0.1)
        assert say(latch, ELSEWHERE, number, number * 0.1, ssrc=2) is Verdict.RIVAL
    assert latch.state is LatchState.ARMED
    assert say(latch, HOME, 50, 5.0) is Verdict.RIVAL
    assert say(latch, HOME, 51, 6.1) is Verdict.LATCHED


@pytest.mark.rule("L4")
def test_only_a_greater_generation_arms_anew() -> None:
    latch = armed()
    say(latch, HOME, 1, 0)
    for generation in (-1, 0):
        assert not latch.arm(generation, BY_PROBATION)
    assert latch.source == HOME
    assert latch.arm(1, BY_ADDRESS)
    assert say(latch, HOME, 2, 0) is Verdict.LATCHED
    assert latch.arm(2, BY_ADDRESS)
    assert say(latch, REMAPPED, 1, 0) is Verdict.LATCHED


def test_rtcp_beside_rtp_does_not_break_the_stream() -> None:
    latch = armed()
    say(latch, HOME, 100, 0)
    latch.observe(HOME, classify(rtcp()), 0.01)
    verdicts = [say(latch, REMAPPED, 101 + n, 1.5 + n * 0.02) for n in range(5)]
    assert verdicts[-1] is Verdict.RELATCHED


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", PacketKind.EMPTY),
        (stun(), PacketKind.STUN),
        (stun()[:19], PacketKind.OTHER),
        (dtls(), PacketKind.DTLS),
        (zrtp(), PacketKind.ZRTP),
        (rtp(1)[:12], PacketKind.RTP),
        (rtp(1)[:11], PacketKind.OTHER),
        (rtcp()[:8], PacketKind.RTCP),
        (b"\x40" * 20, PacketKind.OTHER),
        (b"\x13" * 20, PacketKind.OTHER),
        (b"\x7f" * 20, PacketKind.OTHER),
        (b"\xc0" * 20, PacketKind.OTHER),
    ],
)
def test_datagrams_are_told_apart_by_their_first_bytes(datagram: bytes, kind: PacketKind) -> None:
    assert classify(datagram).kind is kind


def following(several: bool = False) -> Latch:
    """Latched onto HOME and its stream of SSRC 1 at the time 0."""
    latch = armed(replace(BY_ADDRESS, several=several))
    assert say(latch, HOME, 100, 0) is Verdict.LATCHED
    return latch


def test_another_stream_in_the_learned_sources_name_is_a_rival_while_the_first_is_heard() -> None:
    latch = following()
    for number in range(20):
        assert say(latch, HOME, 500 + number, SILENCE_S - 0.01, ssrc=2) is Verdict.PROBATION
    assert say(latch, HOME, 101, 1.5) is Verdict.PASS
    assert say(latch, HOME, 600, 1.6, ssrc=2) is Verdict.RIVAL


def test_a_new_stream_follows_one_that_has_ended_by_probation() -> None:
    latch = following()
    verdicts = [say(latch, HOME, 7 + n, SUCCESSION_S + n * 0.02, ssrc=2) for n in range(5)]
    assert verdicts == [*[Verdict.PROBATION] * 2, *[Verdict.PASS] * 3]
    assert latch.heard_at == pytest.approx(SUCCESSION_S + 0.08)
    assert say(latch, HOME, 1, SUCCESSION_S + 0.1, ssrc=3) is Verdict.PROBATION


def test_the_first_stream_always_comes_back() -> None:
    latch = following()
    for number in range(6):
        say(latch, HOME, 7 + number, SILENCE_S + number * 0.02, ssrc=2)
    assert say(latch, HOME, 30_000, SILENCE_S + 0.2) is Verdict.PASS
    assert say(latch, HOME, 13, SILENCE_S + 0.22, ssrc=2) is Verdict.RIVAL


def test_streams_that_signalling_names_are_all_heard_and_what_is_no_rtp_is_none() -> None:
    latch = following(several=True)
    assert say(latch, HOME, 7, 0.1, ssrc=2) is Verdict.PASS
    for datagram in (rtcp(9), dtls(), zrtp(), stun()):
        assert following().observe(HOME, classify(datagram), 0.1) is Verdict.PASS
