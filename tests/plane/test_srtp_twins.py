"""The rules for SRTP tags in C are those in Python: both are shown the same packets."""

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import pack, pack_networks, pack_tags, unpack
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.srtp import read_keys
from jingle_hnt.relay.srtp_latch import SrtpLatch
from tests.plane import _twins
from tests.plane.packets import dtls, rtcp, rtp, stun
from tests.plane.sdes import SUITE, Sender

pytestmark = pytest.mark.native

FROM = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
REFUSED = (ip_network("192.0.2.200"),)
SENDERS = [Sender(1), Sender(2, "AES_CM_128_HMAC_SHA1_32")]
WITH_MKI = read_keys(SUITE, SENDERS[0].inline + "|1:4", "")
KEYS = [SENDERS[0].keys[0], SENDERS[1].keys[0], WITH_MKI[0]]
SEQUENCES = [n << 14 for n in range(40)]


def protected(sender: Sender) -> list[bytes]:
    """What it sends in order, so that libsrtp counts the rollovers."""
    made = [sender.rtp(n, ssrc) for n in SEQUENCES for ssrc in (1, 2)]
    return made + [sender.rtcp(ssrc) for _ in range(4) for ssrc in (1, 2)]


GENUINE = st.sampled_from([datagram for sender in SENDERS for datagram in protected(sender)])
BROKEN = st.one_of(
    st.builds(lambda whole, cut: whole[:cut], GENUINE, st.integers(0, 50)),
    st.builds(
        lambda whole, at: whole[:at] + b"\xff" + whole[at + 1 :], GENUINE, st.integers(1, 40)
    ),
    st.builds(lambda whole: whole[:-10] + b"\0\0\0\1" + whole[-10:], GENUINE),
    st.sampled_from([rtp(1), rtcp(), stun(), dtls(), b"", b"junk"]),
)
ADDRESSES = st.builds(
    TransportAddress.of,
    st.sampled_from(["192.0.2.1", "192.0.2.200", "2001:db8::1", "198.51.100.1"]),
    st.integers(1, 2),
)
ARMS = st.tuples(
    st.integers(0, 3), st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)
)
PACKETS = st.tuples(
    ADDRESSES, st.one_of(GENUINE, GENUINE, BROKEN), st.sampled_from([0.0, 0.1, 0.99, 1.0])
)
STEPS = st.lists(st.one_of(ARMS, PACKETS, PACKETS, PACKETS, PACKETS, ADDRESSES), max_size=60)


@settings(max_examples=400)
@given(STEPS)
def test_both_latches_judge_alike(steps: list[tuple[object, ...] | TransportAddress]) -> None:
    python, native, now = SrtpLatch(), _twins.SrtpLatch(), 0.0
    for step in [(0, KEYS[:1]), *steps]:
        match step:
            case (int(generation), list(keys)):
                evidence = Evidence(SourceAuth.SRTP_AUTH, FROM, REFUSED, tags=tuple(keys))
                armed = native.arm(
                    generation, pack_networks(FROM), pack_networks(REFUSED), pack_tags(keys)
                )
                assert python.arm(generation, evidence) is armed
            case (TransportAddress() as source, bytes(datagram), float(later)):
                now += later
                verdict = python.observe(source, classify(datagram), datagram, now)
                assert native.observe(pack(source), datagram, now) == verdict
            case TransportAddress() as source:
                python.resume(source, now)
                native.resume(pack(source), now)
        learned = native.source()
        assert (None if learned is None else unpack(learned)) == python.source


@settings(max_examples=200)
@given(st.data())
def test_both_follow_a_party_through_rollovers_and_moves_alike(data: st.DataObject) -> None:
    sender, python, native, now = Sender(3), SrtpLatch(), _twins.SrtpLatch(), 0.0
    python.arm(0, Evidence(SourceAuth.SRTP_AUTH, FROM, tags=sender.keys))
    native.arm(0, pack_networks(FROM), b"", pack_tags(sender.keys))
    sequence = data.draw(st.integers(0, 65535))
    if data.draw(st.booleans()):
        source = data.draw(ADDRESSES)
        python.resume(source, now)
        native.resume(pack(source), now)
        for _ in range(data.draw(st.sampled_from([0, 3, 40, 150]))):
            sequence += 30000
            sender.rtp(sequence)
    for _ in range(data.draw(st.integers(1, 30))):
        sequence += data.draw(st.integers(1, 20000))
        now += data.draw(st.sampled_from([0.02, 0.02, 1.0]))
        source = data.draw(ADDRESSES)
        datagram = sender.rtp(sequence)
        verdict = python.observe(source, classify(datagram), datagram, now)
        assert native.observe(pack(source), datagram, now) == verdict


@settings(max_examples=200)
@given(st.data())
def test_both_follow_a_party_that_makes_its_state_anew_alike(data: st.DataObject) -> None:
    """The same key and SSRC, the counters at 0 again; what was sent before comes once more."""
    sender, python, native, now = Sender(5), SrtpLatch(), _twins.SrtpLatch(), 0.0
    sources = [TransportAddress.of("192.0.2.1", port) for port in (1, 2)]
    python.arm(0, Evidence(SourceAuth.SRTP_AUTH, FROM, tags=sender.keys))
    native.arm(0, pack_networks(FROM), b"", pack_tags(sender.keys))
    sequence, generation = data.draw(st.sampled_from([65000, 65500])), 0
    sent = [sender.rtp(sequence)]
    for _ in range(data.draw(st.integers(10, 60))):
        now += data.draw(st.sampled_from([0.02, 0.02, 0.02, 0.5, 1.0, 15.0]))
        match data.draw(st.sampled_from("rrrrrrcpnga")):
            case "n":
                sender, sequence = Sender(5), sequence % 65536
            case "g":
                for _ in range(data.draw(st.sampled_from([1, 4]))):
                    sequence += 20000
                    sender.rtp(sequence)
            case "a":
                generation += 1
                evidence = Evidence(SourceAuth.SRTP_AUTH, FROM, tags=sender.keys)
                armed = native.arm(generation, pack_networks(FROM), b"", pack_tags(sender.keys))
                assert python.arm(generation, evidence) is armed
            case kind:
                sequence += 1
                made = sender.rtcp() if kind == "c" else sender.rtp(sequence)
                sent.append(made)
                datagram = data.draw(st.sampled_from(sent)) if kind == "p" else made
                source = data.draw(st.sampled_from(sources))
                verdict = python.observe(source, classify(datagram), datagram, now)
                assert native.observe(pack(source), datagram, now) == verdict


@settings(max_examples=200)
@given(st.lists(st.integers(-1100, 1100), max_size=40), st.booleans())
def test_both_judge_late_and_repeated_packets_alike(steps: list[int], resumed: bool) -> None:
    sender, python, native = Sender(4), SrtpLatch(), _twins.SrtpLatch()
    python.arm(0, Evidence(SourceAuth.SRTP_AUTH, FROM, tags=sender.keys))
    native.arm(0, pack_networks(FROM), b"", pack_tags(sender.keys))
    source = TransportAddress.of("192.0.2.1", 1)
    if resumed:
        python.resume(source, 0.0)
        native.resume(pack(source), 0.0)
    sequence, greatest = 65000, 65000
    for step in [0, *steps]:
        sequence = max(sequence + step, greatest - 1023, 0)  # libsrtp makes no older ones
        greatest = max(greatest, sequence)
        datagram = sender.rtp(sequence)
        verdict = python.observe(source, classify(datagram), datagram, 0.0)
        assert native.observe(pack(source), datagram, 0.0) == verdict


@pytest.mark.parametrize("tags", [b"x", bytes(43), bytes(43 * 17)])
def test_tags_that_are_none_are_refused(tags: bytes) -> None:
    with pytest.raises(ValueError, match="tag"):
        _twins.SrtpLatch().arm(0, b"", b"", tags)


def test_a_latch_that_is_not_armed_judges_nothing() -> None:
    latch = _twins.SrtpLatch()
    for ask in (lambda: latch.observe(bytes(6), b"", 0.0), latch.source):
        with pytest.raises(ValueError, match="not armed"):
            ask()
