"""A source of a party with SDES keys is believed by its tag (`srtp-auth`), made by libsrtp here."""

from base64 import b64encode
from ipaddress import ip_network

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import SILENCE_S, LatchState, Verdict
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.srtp import is_rtcp_signed, is_rtp_signed, read_keys
from jingle_hnt.relay.srtp_latch import ROLLOVERS, WINDOW, SrtpLatch
from tests.plane.packets import dtls, rtcp, rtp, stun, zrtp
from tests.plane.sdes import PROFILES, Sender

ALICE = TransportAddress.of("192.0.2.1", 1000)
MOVED = TransportAddress.of("192.0.2.77", 7)
MALLORY = TransportAddress.of("192.0.2.1", 6666)
"""Behind the same NAT as Alice."""


class Heard:
    """A latch armed with keys, and what it says of packets."""

    def __init__(self, *keys: TagKey) -> None:
        self.latch = SrtpLatch()
        self.now = 10.0
        self.generation = 0
        self.arm(*keys)

    def arm(self, *keys: TagKey) -> None:
        evidence = Evidence(SourceAuth.SRTP_AUTH, (ip_network("192.0.2.0/24"),), tags=keys)
        assert self.latch.arm(self.generation, evidence)
        self.generation += 1

    def hear(self, datagram: bytes, source: TransportAddress = ALICE) -> Verdict:
        return self.latch.observe(source, classify(datagram), datagram, self.now)


@pytest.mark.rule("L11")
@pytest.mark.parametrize("suite", PROFILES)
def test_the_first_packet_with_a_tag_of_the_signalled_key_is_believed(suite: str) -> None:
    sender = Sender(1, suite)
    for datagram in (sender.rtp(60000), sender.rtcp()):
        assert Heard(*sender.keys).hear(datagram) is Verdict.LATCHED


@pytest.mark.rule("L11", "L7")
def test_whatever_has_no_such_tag_teaches_nothing() -> None:
    heard = Heard(*Sender(1).keys)
    genuine = Sender(1).rtp(1)
    broken = [genuine[:n] + bytes((genuine[n] ^ 1,)) + genuine[n + 1 :] for n in range(1, 42)]
    plain = [rtp(1), rtcp(), stun(), dtls(), zrtp(), b"", b"\x80\0\0\0", genuine[:-1]]
    for datagram in (*broken, *plain, Sender(2).rtp(1), Sender(2).rtcp()):
        assert heard.hear(datagram) is Verdict.UNFIT
    assert heard.latch.state is LatchState.ARMED
    assert heard.hear(genuine) is Verdict.LATCHED


@pytest.mark.rule("L7")
def test_rtp_that_was_copied_to_the_rtcp_port_teaches_nothing_there() -> None:
    """It has a good tag, and no packet of the party may have been heard at that port yet."""
    sender = Sender(1)
    known = Evidence(SourceAuth.SRTP_AUTH, (ip_network("192.0.2.0/24"),), tags=sender.keys)
    heard = Heard(*known.for_reports().tags)
    assert heard.hear(sender.rtp(1), MALLORY) is Verdict.UNFIT
    assert heard.hear(sender.rtcp()) is Verdict.LATCHED


def test_any_key_of_an_offer_is_believed() -> None:
    first, second = Sender(1), Sender(2, "AES_CM_128_HMAC_SHA1_32")
    for sender in (first, second):
        assert Heard(*first.keys, *second.keys).hear(sender.rtp(1)) is Verdict.LATCHED


def test_a_neighbour_behind_the_same_nat_takes_nothing_over() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    heard.hear(sender.rtp(1))
    assert heard.hear(rtp(2), MALLORY) is Verdict.RIVAL
    heard.now += 5.0  # Alice is silent
    assert heard.hear(rtp(3), MALLORY) is Verdict.UNFIT
    assert heard.hear(sender.rtp(4)) is Verdict.PASS


def test_a_replay_is_not_believed_however_long_the_party_is_silent() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    packets, report = [sender.rtp(n) for n in range(1, 6)], sender.rtcp()
    for datagram in (*packets, report):
        heard.hear(datagram)
    assert heard.hear(packets[-1], MALLORY) is Verdict.RIVAL
    heard.now += 5.0
    for datagram in (*packets, report):
        assert heard.hear(datagram, MALLORY) is Verdict.UNFIT
    heard.arm(*sender.keys)
    for datagram in (*packets, report):
        assert heard.hear(datagram, MALLORY) is Verdict.UNFIT
    assert heard.latch.source == ALICE


@pytest.mark.rule("L5")
def test_a_remapped_or_moved_party_is_followed_by_one_signed_packet() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    heard.hear(sender.rtp(1))
    assert heard.hear(sender.rtp(2), MOVED) is Verdict.RIVAL
    heard.now += 1.0
    assert heard.hear(sender.rtp(3), MOVED) is Verdict.RELATCHED
    assert heard.latch.source == MOVED


def test_the_rollover_counter_goes_on_while_the_party_is_heard() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    for sequence in range(0, 3 * 65536, 1000):
        assert heard.hear(sender.rtp(sequence)) in (Verdict.LATCHED, Verdict.PASS)
    heard.now += 2.0
    assert heard.hear(sender.rtp(3 * 65536 + 10), MOVED) is Verdict.RELATCHED


def test_a_stream_whose_first_packets_were_lost_is_believed_after_one_rollover() -> None:
    sender = Sender(1)
    sender.rtp(65535)
    assert Heard(*sender.keys).hear(sender.rtp(65536)) is Verdict.LATCHED


def test_another_stream_of_the_source_has_to_show_its_tag() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    heard.hear(sender.rtp(1))
    assert heard.hear(rtp(2, ssrc=9)) is Verdict.RIVAL
    assert heard.hear(sender.rtp(1, ssrc=2)) is Verdict.PASS
    assert heard.hear(sender.rtp(2)) is Verdict.PASS


def forged(genuine: bytes) -> bytes:
    """Of the same SSRC and sequence, with another payload, in the sender's name."""
    return genuine[:20] + bytes((genuine[20] ^ 1,)) + genuine[21:]


@pytest.mark.rule("L11")
@pytest.mark.parametrize("suite", PROFILES)
def test_who_forges_the_learned_source_and_knows_its_stream_sends_nothing(suite: str) -> None:
    """Row M11."""
    sender = Sender(1, suite)
    heard = Heard(*sender.keys)
    heard.hear(sender.rtp(1))
    heard.hear(sender.rtcp())
    own = sender.rtp(4)
    for sequence in (5, 6, 40, 30000):
        assert heard.hear(forged(sender.rtp(sequence))) is Verdict.RIVAL
        assert heard.hear(rtp(sequence)) is Verdict.RIVAL
    assert heard.hear(forged(sender.rtcp())) is Verdict.RIVAL
    assert heard.hear(own) is Verdict.PASS
    assert heard.hear(sender.rtcp()) is Verdict.PASS


def test_a_replay_in_the_senders_own_name_is_not_heard() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    packets, report = [sender.rtp(n) for n in (1, 2, 4, 3, 900)], sender.rtcp()
    assert heard.hear(packets[0]) is Verdict.LATCHED
    for datagram in (*packets[1:], report):  # 3 comes late, and is heard
        assert heard.hear(datagram) is Verdict.PASS
    for datagram in (*packets, report):
        assert heard.hear(datagram) is Verdict.UNFIT
    late = sender.rtp(5)
    heard.hear(sender.rtp(5 + WINDOW))
    assert heard.hear(late) is Verdict.UNFIT


def test_a_stream_of_an_earlier_life_is_heard_and_soon_shown_to_be_the_senders() -> None:
    """Nobody remembers its rollover counter: packets pass while it is looked for."""
    rollovers = 4 * ROLLOVERS + 1
    sender = Sender(1)
    for sequence in range(0, rollovers * 65536, 30000):
        sender.rtp(sequence)
    heard = Heard(*sender.keys)
    heard.latch.resume(ALICE, heard.now)
    first = rollovers * 65536
    packets = [sender.rtp(first + n) for n in range(6)]
    assert [heard.hear(datagram) for datagram in packets] == [Verdict.PASS] * 6
    assert heard.hear(forged(sender.rtp(first + 6))) is Verdict.RIVAL
    assert heard.hear(packets[0]) is Verdict.UNFIT
    assert heard.hear(sender.rtp(first + 7)) is Verdict.PASS


def test_a_stream_of_an_earlier_life_is_found_at_another_port() -> None:
    """The plane crashes in a long call, and the NAT has another port for the party then."""
    rollovers = 2 * ROLLOVERS + 1
    sender, other = Sender(1), Sender(9)
    for sequence in range(0, rollovers * 65536, 30000):
        sender.rtp(sequence)
    heard = Heard(*sender.keys)
    heard.latch.resume(ALICE, heard.now)
    first = rollovers * 65536
    assert heard.hear(sender.rtp(first), MOVED) is Verdict.RIVAL
    heard.now += SILENCE_S
    assert heard.hear(other.rtp(1), MALLORY) is Verdict.UNFIT
    assert heard.hear(sender.rtp(first + 1), MOVED) is Verdict.RELATCHED
    assert heard.hear(sender.rtp(first + 2), MOVED) is Verdict.PASS
    assert heard.hear(forged(sender.rtp(first + 3)), MOVED) is Verdict.RIVAL
    # Without a crash a stream that was never heard is of those that begin.
    heard = Heard(*sender.keys)
    assert heard.hear(sender.rtp(first + 4), MOVED) is Verdict.UNFIT


def rolled_over() -> tuple[Heard, list[bytes]]:
    """A party past its first rollover, and what it has sent."""
    sender = Sender(1)
    heard = Heard(*sender.keys)
    sent = [sender.rtp(n) for n in range(64000, 66000)]
    sent.append(sender.rtcp())
    for datagram in sent:
        heard.now += 0.02
        assert heard.hear(datagram) in (Verdict.PASS, Verdict.LATCHED)
    return heard, sent


def count(heard: Heard, packets: list[bytes], source: TransportAddress = ALICE) -> int:
    """How many of these packets, 20 ms apart, are let in."""
    let_in = 0
    for datagram in packets:
        heard.now += 0.02
        let_in += heard.hear(datagram, source) in (Verdict.PASS, Verdict.RELATCHED)
    return let_in


@pytest.mark.rule("L11")
@pytest.mark.parametrize("pause_s", [0.0, 5.0])
@pytest.mark.parametrize("first", [464, 3000, 62000, 20000])
def test_a_client_that_makes_its_srtp_state_anew_is_heard_again(first: int, pause_s: float) -> None:
    """The same key and SSRC, its rollover counter 0 again: after a hold, or at once."""
    heard, _ = rolled_over()
    again = Sender(1)
    heard.now += pause_s
    packets = [again.rtp(first + n) for n in range(500)]
    lost = 500 - count(heard, packets)
    assert lost <= (4 if pause_s else 30)
    assert heard.hear(again.rtcp()) is Verdict.PASS
    assert heard.hear(packets[100]) is Verdict.UNFIT


def test_where_a_client_has_moved_its_new_state_counts_once_its_latch_is_armed_anew() -> None:
    heard, sent = rolled_over()
    again = Sender(1)
    packets = [again.rtp(66000 - 65536 + n) for n in range(100)]
    heard.now += 1.5
    assert count(heard, packets[:10], MOVED) == 0
    heard.arm(*again.keys)
    assert count(heard, [*sent[:20], *sent[-20:]], MALLORY) == 0
    assert count(heard, packets[10:], MOVED) >= 85
    assert heard.latch.source == MOVED


def test_a_replay_of_long_ago_in_the_senders_name_stays_out_while_it_is_heard() -> None:
    heard, sent = rolled_over()
    sender = Sender(1)
    for sequence in range(64000, 66000, 500):
        sender.rtp(sequence)
    for n in range(100):
        assert count(heard, [sender.rtp(66000 + n)]) == 1
        for old in sent[5 * n : 5 * n + 5]:
            assert heard.hear(old) in (Verdict.UNFIT, Verdict.RIVAL)


def test_a_replay_of_late_stays_out_however_long_the_sender_is_silent() -> None:
    heard, sent = rolled_over()
    heard.now += 60.0
    assert count(heard, sent[-WINDOW:]) == 0


def test_a_sender_whose_packets_were_lost_for_half_a_rollover_is_heard_again() -> None:
    heard, _ = rolled_over()
    sender = Sender(1)
    for sequence in range(64000, 140000, 10000):
        sender.rtp(sequence)
    assert count(heard, [sender.rtp(140000 + n) for n in range(20)]) == 18


def test_reports_at_a_port_of_their_own_are_heard_again_after_a_while() -> None:
    sender = Sender(1)
    heard = Heard(*Evidence(SourceAuth.SRTP_AUTH, (), tags=sender.keys).for_reports().tags)
    for _ in range(WINDOW + 10):
        heard.hear(sender.rtcp())
    again = Sender(1)
    heard.now += 20.0
    assert [heard.hear(again.rtcp()) for _ in range(4)] == [
        *[Verdict.UNFIT] * 2,
        *[Verdict.PASS] * 2,
    ]


def test_what_was_learned_goes_with_its_key() -> None:
    first, second = Sender(1), Sender(2)
    heard = Heard(*first.keys, *second.keys)
    heard.hear(first.rtp(1))
    heard.arm(*first.keys)
    assert heard.hear(first.rtp(2), MALLORY) is Verdict.RIVAL
    heard.arm(*second.keys)
    assert heard.latch.source is None
    assert heard.hear(first.rtp(3)) is Verdict.UNFIT
    assert heard.hear(second.rtp(1)) is Verdict.LATCHED


def test_what_an_earlier_life_had_learned_is_heard_and_can_move() -> None:
    sender = Sender(1)
    for sequence in range(0, 5 * 65536, 20000):
        sender.rtp(sequence)
    heard = Heard(*sender.keys)
    heard.latch.resume(ALICE, heard.now)
    assert heard.hear(sender.rtp(5 * 65536)) is Verdict.PASS
    assert heard.hear(rtp(1, ssrc=9)) is Verdict.RIVAL
    heard.now += 1.5
    assert heard.hear(sender.rtp(5 * 65536 + 1), MOVED) is Verdict.RELATCHED


def test_no_packet_opens_a_shut_latch_and_none_from_elsewhere_an_armed_one() -> None:
    sender = Sender(1)
    datagram = sender.rtp(1)
    shut = SrtpLatch().observe(ALICE, classify(datagram), datagram, 0.0)
    assert shut is Verdict.SHUT
    outside = TransportAddress.of("198.51.100.1", 1)
    assert Heard(*sender.keys).hear(datagram, outside) is Verdict.STRANGER


def test_a_generation_that_is_not_greater_changes_nothing() -> None:
    sender = Sender(1)
    heard = Heard(*sender.keys)
    again = Evidence(SourceAuth.SRTP_AUTH, (ip_network("192.0.2.0/24"),), tags=Sender(2).keys)
    assert not heard.latch.arm(0, again)
    assert heard.hear(sender.rtp(1)) is Verdict.LATCHED


# Keys


def test_the_authentication_key_is_that_of_the_specification() -> None:
    """RFC 3711 appendix B.3; its key has 94 bytes there, of which the first are the same."""
    text = "inline:4fl6DT4Bi+DWT6MsBt5BOQ7Gda1Jiv7rtpYLOqvm"
    (key,) = read_keys("AES_CM_128_HMAC_SHA1_80", text, "")
    assert key.rtp == "cebe321f6ff7716b6fd4ab49af256a156d38baa4"


def test_a_long_master_key_and_an_mki_are_read() -> None:
    secret = b64encode(bytes(46)).decode()
    text = f"inline:{secret}|2^20|1:4"
    (key,) = read_keys("AES_256_CM_HMAC_SHA1_32", text, "")
    assert (key.tag_bytes, key.mki_bytes) == (4, 4)


@pytest.mark.parametrize(
    ("suite", "params", "session"),
    [
        ("AEAD_AES_128_GCM", Sender(1).inline, ""),
        ("unheard-of", Sender(1).inline, ""),
        ("AES_CM_128_HMAC_SHA1_80", Sender(1).inline, "UNAUTHENTICATED_SRTP"),
        ("AES_CM_128_HMAC_SHA1_80", Sender(1).inline, "FEC_ORDER=FEC_SRTP KDR=1"),
        ("AES_CM_128_HMAC_SHA1_80", Sender(1).inline[:-4], ""),
        ("AES_CM_128_HMAC_SHA1_80", "inline:!!!", ""),
        ("AES_CM_128_HMAC_SHA1_80", Sender(1).inline + "|1:x", ""),
        ("AES_CM_128_HMAC_SHA1_80", Sender(1).inline + "|1:129", ""),
        ("AES_CM_128_HMAC_SHA1_80", ";".join([Sender(1).inline] * 5), ""),
        ("AES_CM_128_HMAC_SHA1_80", "", ""),
    ],
)
def test_what_cannot_be_checked_has_no_keys(suite: str, params: str, session: str) -> None:
    assert read_keys(suite, params, session) == ()


def test_an_mki_stands_before_the_tag_and_is_not_signed() -> None:
    sender = Sender(1)
    (key,) = read_keys(sender.suite, sender.inline + "|1:4", "")
    plain, report = sender.rtp(1), sender.rtcp()
    assert is_rtp_signed(plain[:-10] + b"\0\0\0\1" + plain[-10:], key, 0)
    assert is_rtcp_signed(report[:-10] + b"\0\0\0\1" + report[-10:], key)
    assert not is_rtp_signed(plain, key, 0)


def test_a_key_is_not_shown() -> None:
    (key,) = Sender(1).keys
    assert key.rtp not in repr(key)
    assert key.rtcp not in repr(key)
