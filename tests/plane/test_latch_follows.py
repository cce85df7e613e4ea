"""What a latch does when its party changes, and when somebody else wants to be it: the rules in
Python and in C. Each play is what a client, a NAT or an attacker was seen to do."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import LAPSE_S, Evidence
from jingle_hnt.relay.latch import END_S, SILENCE_S, Verdict
from jingle_hnt.relay.policy import PeerPolicy
from tests.plane.both import (
    BY_ADDRESS,
    BY_POOL,
    ELSEWHERE,
    GOES_ON,
    HOME,
    MOVED,
    NEIGHBOUR,
    OTHER,
    POOLED,
    UNKNOWN,
    Both,
    Sent,
    play,
    talk,
)
from tests.plane.packets import PRESS, dtls, press, rtcp, rtp, stun, zrtp

pytestmark = pytest.mark.native

PARTY = (HOME, MOVED)
JUST_BEFORE = 1e-3


def settled(evidence: Evidence = BY_ADDRESS, until: float = 10.0) -> Both:
    """A latch whose party has spoken at HOME from 0 to `until`, with SSRC 1."""
    latch = Both(evidence)
    play(latch, talk(HOME, 1, 0, until), party=PARTY)
    assert latch.source == HOME
    return latch


# The party changes


@pytest.mark.rule("L4")
def test_late_packets_of_the_old_port_do_not_keep_the_new_one_out() -> None:
    for late in (1, 4):
        latch = settled(until=2.0)
        latch.arm(1, BY_ADDRESS)
        old = (Sent(2.01 + n / 50, HOME, rtp(100 + n), media=False) for n in range(late))
        told = play(latch, old, talk(MOVED, 2, 2.1, 12), party=PARTY, since=2.1)
        assert told.gap_s < 0.5
        assert told.lost < 25
        assert latch.source == MOVED


def test_an_old_port_does_not_take_the_next_generation_from_one_that_speaks() -> None:
    latch = settled()
    latch.arm(1, BY_ADDRESS)
    old = talk(HOME, 1, 10.06, 12, sequence=500)
    told = play(latch, talk(MOVED, 2, 10.05, 20), old, party=(MOVED,), since=10.05)
    assert (told.lost, told.injected) == (0, 0)


def test_who_goes_on_as_before_after_a_new_generation_loses_nothing() -> None:
    latch = settled()
    latch.arm(1, BY_ADDRESS)
    assert play(latch, talk(HOME, 1, 10, 20, 500), party=PARTY).lost == 0


@pytest.mark.parametrize("muted_s", [3.0, 4.0, 5.0, 60.0])
@pytest.mark.rule("L5")
def test_a_client_comes_back_from_mute_with_another_port_and_stream(muted_s: float) -> None:
    since = 10 + muted_s
    told = play(settled(), talk(MOVED, 2, since, since + 10), party=PARTY, since=since)
    assert told.gap_s < 0.2
    # The same client keeps its SSRC, but begins its sequence anew.
    told = play(settled(), talk(MOVED, 1, since, since + 10, 40000), party=PARTY, since=since)
    assert told.gap_s < 0.2


def test_how_long_a_silence_must_be_is_the_evidences() -> None:
    patient = replace(BY_ADDRESS, lapse_s=20.0)
    told = play(settled(patient), talk(MOVED, 2, 14, 29.9), party=PARTY, since=14)
    assert told.heard == 0
    told = play(settled(patient), talk(MOVED, 2, 14, 40), party=PARTY, since=14)
    assert told.gap_s == pytest.approx(16.0, abs=0.1)


@pytest.mark.rule("L5")
def test_a_remapped_stream_is_heard_after_a_second_whatever_is_sent_beside_it() -> None:
    spray = talk(NEIGHBOUR, 99, 8, 20, pps=500)
    ports = (Sent(8 + n / 500, replace(NEIGHBOUR, port=20000 + n), rtp(1, 5)) for n in range(6000))
    told = play(settled(), talk(MOVED, 1, 10, 20, 500), spray, ports, party=PARTY, since=10)
    assert told.gap_s == pytest.approx(SILENCE_S, abs=0.1)
    assert (told.injected, told.bled_s) == (0, 0.0)


def test_a_remapped_party_is_no_rival_and_a_copy_of_its_stream_is_one() -> None:
    latch = settled()
    told = play(latch, talk(MOVED, 1, 10, 14, 500), party=PARTY, since=10)
    assert Verdict.RIVAL not in {verdict for _, verdict in told.verdicts}
    latch = settled()
    copied = talk(NEIGHBOUR, 1, 10.01, 14, 505)
    told = play(latch, talk(HOME, 1, 10, 14, 500), copied, party=PARTY, since=10)
    rivals = [sent for sent, verdict in told.verdicts if verdict is Verdict.RIVAL]
    assert len(rivals) >= 199
    assert told.lost == told.injected == 0


def test_two_of_one_stream_keep_one_another_out() -> None:
    both = talk(MOVED, 1, 10, 12, 500), talk(OTHER, 1, 10, 12, 500)
    told = play(settled(), *both, party=(HOME,), since=10)
    assert told.injected == 0


def test_a_carriers_pool_may_give_the_flow_another_address() -> None:
    told = play(settled(BY_POOL), talk(POOLED, 1, 10, 20, 500), party=(POOLED,), since=10)
    assert told.gap_s == pytest.approx(SILENCE_S, abs=0.1)
    told = play(settled(), talk(POOLED, 1, 10, 20, 500), party=(HOME,), since=10)
    assert told.injected == 0


def test_a_device_may_take_another_address_of_its_ipv6_network() -> None:
    """At first, where its XMPP connection has another one, and in mid-call (RFC 8981)."""
    household = PeerPolicy().evidence(6, ip_address("2606:4700:1:2::a"), ())
    one, next_one, neighbour = (
        TransportAddress.of(ip, 5000)
        for ip in ("2606:4700:1:2::b", "2606:4700:1:2::c", "2606:4700:1:3::b")
    )
    latch = Both(household)
    told = play(latch, talk(neighbour, 2, 0, 10), talk(one, 1, 5, 10), party=(one,))
    assert (told.injected, told.lost) == (0, 0)
    assert latch.source == one
    told = play(latch, talk(next_one, 1, 10, 20, 250), party=(next_one,), since=10)
    assert told.gap_s == pytest.approx(SILENCE_S, abs=0.1)
    assert latch.source == next_one


def test_an_unknown_party_stays_at_its_address() -> None:
    elsewhere = talk(ELSEWHERE, 1, 10, 20, 500)
    told = play(settled(UNKNOWN), elsewhere, party=PARTY, since=10)
    assert told.injected == 0
    told = play(settled(UNKNOWN), talk(MOVED, 1, 10, 20, 500), party=PARTY, since=10)
    assert told.gap_s == pytest.approx(SILENCE_S, abs=0.1)


def test_a_gateway_changes_the_ssrc_without_a_pause_and_nobody_is_called_a_rival() -> None:
    changes = [talk(HOME, 1 + n, n, n + 1, sequence=7000 * n) for n in range(10)]
    told = play(Both(BY_ADDRESS), *changes, party=PARTY)
    assert told.lost <= 9 * 5
    assert told.gap_s <= 0.1 + JUST_BEFORE
    assert Verdict.RIVAL not in {verdict for _, verdict in told.verdicts}


def test_a_late_packet_of_the_old_stream_does_not_delay_the_new_one() -> None:
    late = [Sent(10.03, HOME, rtp(500))]
    told = play(settled(), late, talk(HOME, 2, 10, 12), party=PARTY, since=10)
    assert told.gap_s <= 0.15


def test_streams_that_signalling_names_all_pass() -> None:
    several = replace(BY_ADDRESS, several=True)
    streams = [talk(HOME, ssrc, 0, 4, sequence=100 * ssrc) for ssrc in range(1, 6)]
    assert play(Both(several), *streams, party=PARTY).lost == 0
    several = replace(UNKNOWN, several=True)
    streams = [talk(HOME, ssrc, 0, 4, sequence=100 * ssrc) for ssrc in range(1, 6)]
    told = play(Both(several), *streams, party=PARTY)
    assert told.gap_s < 0.2


BY_KEYS = replace(BY_ADDRESS, events=(PRESS,))


def pressed(begins: float, ssrc: int, count: int = 32, sequence: int = 0) -> list[Sent]:
    """A key that is held, as a stream of its own."""
    return [Sent(begins + n / 50, HOME, press(sequence + n, ssrc)) for n in range(count)]


@pytest.mark.parametrize("evidence", [BY_KEYS, replace(UNKNOWN, events=(PRESS,))])
@pytest.mark.parametrize("begins", [0.005, 3.005])
def test_key_presses_of_an_ssrc_of_their_own_pass_beside_the_voice(
    evidence: Evidence, begins: float
) -> None:
    keys = [*pressed(begins, 9), *pressed(begins + 1, 9, sequence=32), *pressed(begins + 2, 10)]
    told = play(Both(evidence), talk(HOME, 1, 0, 10), keys, party=PARTY)
    missing = [s for s, v in told.verdicts if v not in GOES_ON]
    assert all(s.at < 0.2 for s in missing)
    assert len(missing) <= (0 if evidence is BY_KEYS else 9)
    assert Verdict.RIVAL not in {v for _, v in told.verdicts}


def test_key_presses_alone_come_first_and_the_voice_after_them() -> None:
    told = play(Both(BY_KEYS), pressed(0, 9), talk(HOME, 1, 0.3, 5), party=PARTY)
    assert told.lost == 0
    # And the voice goes on at another port as without them.
    latch = Both(BY_KEYS)
    play(latch, talk(HOME, 1, 0, 10), pressed(5.005, 9), party=PARTY)
    told = play(latch, talk(MOVED, 1, 10, 14, 500), party=PARTY, since=10)
    assert told.gap_s <= SILENCE_S + 0.2


def test_presses_that_nobody_signalled_are_a_stream_as_any() -> None:
    told = play(Both(BY_ADDRESS), talk(HOME, 1, 0, 5), pressed(2.005, 9), party=PARTY)
    assert told.lost == 32


@pytest.mark.parametrize("ssrcs", [2, 16000])
def test_who_forges_key_presses_blindly_is_cut_off(ssrcs: int) -> None:
    speech = list(talk(HOME, 1, 0, 10))
    forged = [Sent(2 + n / 2000, HOME, press(n, 77 + n % ssrcs), media=False) for n in range(16000)]
    told = play(Both(BY_KEYS), speech, forged, party=PARTY)
    assert told.lost == 0
    went_on = [s for s, v in told.verdicts if not s.media and v in GOES_ON]
    assert len({s.datagram[8:12] for s in went_on}) == 1, "one stream, as of the party"
    told = play(Both(BY_KEYS), talk(HOME, 1, 0, 10), pressed(1.005, 9), forged, party=PARTY)
    assert told.lost == 0
    if ssrcs > 2:
        assert sum(v in GOES_ON for s, v in told.verdicts if not s.media) <= 2


def test_a_stream_that_was_there_before_comes_back_at_once() -> None:
    latch = settled()
    told = play(latch, talk(HOME, 2, 10, 14), talk(HOME, 1, 14, 18, 600), party=PARTY, since=10.2)
    assert told.lost == 0


@pytest.mark.parametrize("way", ["doubled", "swapped", "one in three lost"])
def test_an_unknown_party_is_believed_however_its_packets_come(way: str) -> None:
    packets = list(talk(HOME, 1, 0, 6))
    if way == "doubled":
        packets += [replace(p, at=p.at + 0.001) for p in packets]
    elif way == "swapped":
        packets = [replace(p, datagram=rtp(n ^ 1)) for n, p in enumerate(packets)]
    else:
        packets = [p for n, p in enumerate(packets) if n % 3]
    told = play(Both(UNKNOWN), packets, party=PARTY)
    assert told.gap_s < 0.2


def test_the_end_of_a_silence_is_as_the_beginning() -> None:
    latch = settled(replace(BY_ADDRESS, lapse_s=3600.0))
    assert latch.hears(MOVED, rtp(1, 9), 10 + END_S - 0.1) is Verdict.RIVAL
    assert latch.hears(MOVED, rtp(2, 9), 10 + END_S + 0.1) is Verdict.RELATCHED
    told = play(
        latch, talk(HOME, 1, 41, 45, 520), talk(MOVED, 9, 41, 45, 3), party=(HOME,), since=41
    )
    assert told.lost <= 1, "the owner has precedence"


# Somebody else wants to be the party


@pytest.mark.rule("L7")
@pytest.mark.parametrize("kind", [rtp(1, 9), rtcp(9), dtls(), zrtp()])
def test_one_forged_datagram_before_the_first_packet_mutes_nobody(kind: bytes) -> None:
    told = play(
        Both(BY_ADDRESS),
        [Sent(0.1, NEIGHBOUR, kind)],
        talk(HOME, 1, 0.6, 10),
        party=PARTY,
        since=0.6,
    )
    assert told.gap_s < 1.5
    assert told.injected == 1


@pytest.mark.parametrize("pps", [1, 2, 3])
def test_forged_datagrams_through_the_call_mute_nobody(pps: int) -> None:
    forged = talk(NEIGHBOUR, 9, 0, 30, pps=pps)
    told = play(Both(BY_ADDRESS), forged, talk(HOME, 1, 3.7, 30), party=PARTY, since=3.7)
    assert told.gap_s < 0.5
    assert told.injected <= 4 * pps + 1


def test_a_flood_of_forged_ports_before_the_first_packet_mutes_nobody() -> None:
    flood = [
        Sent(n / 2500, replace(NEIGHBOUR, port=10000 + n * 7 % 50000), rtp(n * 11, 9))
        for n in range(15000)
    ]
    told = play(Both(BY_ADDRESS), flood, talk(HOME, 1, 0.5, 6), party=PARTY, since=0.5)
    assert told.gap_s <= 2.0
    assert [v for s, v in told.verdicts if s.source == HOME][-1] is Verdict.PASS


@pytest.mark.rule("L5", "L7")
def test_rtcp_never_moves_a_latch_that_has_rtp() -> None:
    latch = settled()
    forged = [Sent(11.5 + n / 100, NEIGHBOUR, rtcp(9)) for n in range(50)]
    setup = [Sent(12 + n / 100, NEIGHBOUR, d) for n, d in enumerate([dtls(), zrtp(), stun()] * 9)]
    told = play(latch, forged, setup, talk(HOME, 1, 13, 20, 520), party=PARTY, since=13)
    assert (told.injected, told.bled_s, told.lost) == (0, 0.0, 0)


def test_on_hold_nobodys_silence_means_anything() -> None:
    latch = settled()
    latch.expect(False)
    forged = [Sent(11 + n / 10, NEIGHBOUR, rtcp(9)) for n in range(900)]
    told = play(latch, forged, talk(NEIGHBOUR, 9, 11, 100, pps=10), party=PARTY, since=10)
    assert (told.injected, latch.source) == (0, HOME)


def test_a_neighbour_does_not_take_a_short_silence() -> None:
    speech = talk(HOME, 1, 10 + LAPSE_S - 0.1, 20, 520)
    told = play(settled(), talk(NEIGHBOUR, 7, 10.1, 20), speech, party=PARTY, since=10 + LAPSE_S)
    assert (told.injected, told.lost) == (0, 0)


@pytest.mark.parametrize("ssrc", [1, 2])
def test_a_neighbour_in_a_long_silence_is_gone_when_the_owner_speaks(ssrc: int) -> None:
    """A client that is muted for long may begin a new stream: it takes a few packets more."""
    latch = settled()
    speech = talk(HOME, ssrc, 20, 30, 510)
    told = play(latch, talk(NEIGHBOUR, 7, 10.5, 30), speech, party=PARTY, since=20)
    assert told.gap_s < 0.2
    assert latch.source == HOME
    after = [v for s, v in told.verdicts if s.source == NEIGHBOUR and s.at > 20.2]
    assert not GOES_ON.intersection(after)


def test_an_owner_that_was_muted_and_moved_comes_back_by_its_stream() -> None:
    latch = settled()
    told = play(
        latch, talk(NEIGHBOUR, 7, 10.5, 30), talk(MOVED, 1, 20, 30, 510), party=PARTY, since=20
    )
    assert told.gap_s < 0.2


@pytest.mark.parametrize("ssrcs", [1, 16000])
def test_who_forges_address_and_port_is_not_heard_while_the_stream_is(ssrcs: int) -> None:
    """In sequence with one guessed SSRC, or with another one each time."""
    speech = list(talk(HOME, 1, 0, 10))
    del speech[150:156], speech[300:340]  # lost
    forged = [Sent(2 + n / 2000, HOME, rtp(n, 77 + n % ssrcs), media=False) for n in range(16000)]
    told = play(Both(BY_ADDRESS), speech, forged, party=PARTY)
    assert told.lost == 0
    assert not GOES_ON.intersection(v for s, v in told.verdicts if not s.media)


def test_who_forged_a_stream_in_a_pause_is_cut_when_the_party_speaks() -> None:
    latch = settled()
    forged = [Sent(10.2 + n / 50, HOME, rtp(n, 77), media=False) for n in range(500)]
    told = play(latch, forged, talk(HOME, 1, 11, 20, 500), party=PARTY, since=11)
    assert told.lost == 0
    assert not GOES_ON.intersection(v for s, v in told.verdicts if s.at > 11 and not s.media)
    # Nor does a burst in a pause win anything from then on.
    burst = [Sent(20.2 + n / 50, HOME, rtp(n, 78), media=False) for n in range(30)]
    told = play(latch, burst, party=PARTY)
    assert not GOES_ON.intersection(v for _, v in told.verdicts)


def test_a_burst_in_a_pause_is_no_new_stream() -> None:
    burst = [Sent(10.2 + n / 1000, HOME, rtp(n, 77), media=False) for n in range(30)]
    told = play(settled(), burst, talk(HOME, 1, 10.3, 12, 500), party=PARTY, since=10.3)
    assert not GOES_ON.intersection(v for s, v in told.verdicts if not s.media)


def test_who_was_a_rival_does_not_win_by_a_new_generation() -> None:
    latch = settled()
    play(latch, talk(NEIGHBOUR, 7, 10, 11), talk(HOME, 1, 10, 11, 500), party=PARTY)
    latch.arm(1, BY_ADDRESS)
    spray = talk(NEIGHBOUR, 7, 11, 20, 50, pps=500)
    told = play(latch, spray, talk(HOME, 1, 11.005, 20, 551), party=PARTY, since=11.005)
    assert (told.injected, told.lost) == (0, 0)


# A port for RTCP alone

REPORTS = BY_ADDRESS.for_reports()


def reports(
    source: TransportAddress, ssrc: int, begins: float, count: int, each_s: float = 5.0
) -> list[Sent]:
    return [Sent(begins + n * each_s, source, rtcp(ssrc)) for n in range(count)]


def test_rtp_moves_nothing_at_a_port_for_rtcp() -> None:
    latch = Both(REPORTS)
    told = play(latch, reports(HOME, 1, 0, 10), talk(NEIGHBOUR, 9, 1, 50, pps=5), party=PARTY)
    assert (told.injected, told.lost) == (0, 0)
    assert {v for s, v in told.verdicts if s.source == NEIGHBOUR} == {Verdict.UNFIT}


def test_reports_of_another_ssrc_move_nothing_and_those_of_the_same_heal_a_remapping() -> None:
    latch = Both(REPORTS)
    told = play(latch, reports(HOME, 1, 0, 4), reports(NEIGHBOUR, 9, 1, 30, 0.5), party=PARTY)
    assert told.injected == 0
    told = play(latch, reports(MOVED, 1, 20, 10, 0.5), party=PARTY, since=20)
    assert told.gap_s <= 2.5


def test_a_forged_report_first_does_not_keep_the_party_out() -> None:
    latch = Both(REPORTS)
    forged = [Sent(0.1, NEIGHBOUR, rtcp(9))]
    told = play(latch, forged, reports(HOME, 1, 1, 8), party=PARTY, since=1)
    assert told.gap_s <= 10.5
    assert latch.source == HOME


# Another life of the plane


def test_a_resumed_latch_goes_on_by_its_stream() -> None:
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, (1, 499), 10.0)
    assert latch.hears(HOME, rtp(500), 10.1) is Verdict.PASS
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, (1, 499), 10.0)
    told = play(
        latch,
        talk(NEIGHBOUR, 9, 10, 14, pps=10),
        talk(MOVED, 1, 10.4, 14, 520),
        party=PARTY,
        since=10.4,
    )
    assert told.gap_s < 0.8
    assert told.injected == 0


def test_a_stream_that_was_told_long_ago_is_gone_on_with_at_any_number() -> None:
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, (1, 499), 10.0)
    told = play(
        latch,
        talk(NEIGHBOUR, 9, 10, 14, pps=1000),
        talk(MOVED, 1, 10.4, 14, 40_000),
        party=PARTY,
        since=10.4,
    )
    assert told.gap_s < 0.8
    assert told.injected == 0
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, (1, 499), 10.0)
    assert latch.hears(HOME, rtp(40_000), 10.1) is Verdict.PASS
    assert latch.python.stream == (1, 40_000)


def test_another_stream_is_told_once_the_one_that_was_told_has_ended() -> None:
    latch = Both(BY_ADDRESS)
    play(latch, talk(HOME, 1, 0, 2), party=PARTY)
    assert latch.told == 1
    play(latch, talk(HOME, 2, 2, 2.9), party=PARTY, since=2)
    assert latch.told == 1
    play(latch, talk(HOME, 2, 2.9, 4, 45), party=PARTY, since=2.9)
    assert latch.told == 2
    several = Both(replace(BY_ADDRESS, several=True))
    play(several, talk(HOME, 1, 0, 5), talk(HOME, 2, 0.01, 5), party=PARTY)
    assert several.told == 1


def test_a_resumed_latch_whose_stream_is_not_known_is_open_to_its_address() -> None:
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, None, 10.0)
    told = play(latch, talk(MOVED, 1, 10.4, 14, 520), party=PARTY, since=10.4)
    assert told.gap_s < 0.8
    latch = Both(BY_ADDRESS)
    latch.resume(HOME, None, 10.0)
    assert latch.hears(HOME, rtp(500, 3), 10.1) is Verdict.PASS
