"""The rules in C are the rules in Python: both are shown the same packets and must agree."""

import struct
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane import _engine
from jingle_hnt.plane.native import pack, pack_networks, read_quality, unpack
from jingle_hnt.relay.barring import MOST, Bars
from jingle_hnt.relay.evidence import Evidence, SourceAuth
from jingle_hnt.relay.latch import Latch
from jingle_hnt.relay.lingering import LINGER_CAP_S, idle_since, is_free
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.policing import Bucket, MediaLimits
from jingle_hnt.relay.quality import StreamMeter
from tests.plane import _twins
from tests.plane.packets import dtls, report, rtcp, rtp, stun, zrtp

pytestmark = pytest.mark.native

NETWORKS = st.sampled_from(
    [
        ip_network(text)
        for text in (
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.0/30",
            "192.0.2.0/25",
            "0.0.0.0/0",
            "2001:db8::1",
            "2001:db8::/33",
            "::/0",
        )
    ]
)
SOURCES = st.builds(
    TransportAddress.of,
    st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.200", "2001:db8::1", "2001:db8:8000::"]),
    st.integers(1, 3),
)
DATAGRAMS = st.one_of(
    st.builds(rtp, st.integers(0, 12), st.integers(1, 2)),
    st.builds(rtp, st.integers(0, 0xFFFF), st.just(1)),
    st.builds(rtcp, st.integers(1, 2)),
    st.sampled_from([b"", b"\x80\0\0\0", stun(), dtls(), zrtp()]),
    st.binary(max_size=24),
)
ARMS = st.builds(
    Evidence,
    st.just(SourceAuth.PROBATION),
    st.lists(NETWORKS, min_size=1, max_size=3).map(tuple),
    st.lists(NETWORKS, max_size=1).map(tuple),
    st.sampled_from([1, 2, 5]),
    several=st.booleans(),
    likely=st.lists(NETWORKS, max_size=1).map(tuple),
)
PACKETS = st.tuples(SOURCES, DATAGRAMS, st.sampled_from([0.0, 0.02, 0.5, 0.99, 1.0, 1.5]))
STEPS = st.lists(
    st.one_of(st.tuples(st.integers(0, 3), ARMS), PACKETS, PACKETS, PACKETS), max_size=60
)


@settings(max_examples=400)
@given(STEPS)
def test_both_latches_judge_alike(steps: list[tuple[object, ...]]) -> None:
    python, native, now = Latch(), _twins.Latch(), 0.0
    for step in steps:
        match step:
            case (int(generation), Evidence() as evidence):
                sources = pack_networks(evidence.sources)
                refused = pack_networks(evidence.refused)
                likely = pack_networks(evidence.likely)
                armed = native.arm(
                    generation, sources, refused, evidence.probation, evidence.several, likely
                )
                assert python.arm(generation, evidence) is armed
            case (TransportAddress() as source, bytes(datagram), float(later)):
                now += later
                verdict = python.observe(source, classify(datagram), now)
                assert native.observe(pack(source), datagram, now) == verdict


NEAR = st.tuples(
    st.builds(TransportAddress.of, st.just("192.0.2.1"), st.integers(1, 2)),
    st.integers(1, 3),
    st.sampled_from([0.02, 0.02, 0.5, 0.98, 1.0]),
)


@settings(max_examples=400)
@given(st.sampled_from([1, 5]), st.lists(NEAR, min_size=8, max_size=60))
def test_both_heal_a_remapped_stream_alike(
    probation: int, packets: list[tuple[TransportAddress, int, float]]
) -> None:
    """One stream that goes on, from two ports of one address, with pauses around the limits."""
    evidence = Evidence(SourceAuth.PROBATION, (ip_network("192.0.2.0/24"),), probation=probation)
    python, native, now, sequence = Latch(), _twins.Latch(), 0.0, 0
    python.arm(0, evidence)
    native.arm(0, pack_networks(evidence.sources), b"", probation, False)
    for source, ahead, later in packets:
        now += later
        sequence += ahead
        datagram = rtp(sequence)
        verdict = python.observe(source, classify(datagram), now)
        assert native.observe(pack(source), datagram, now) == verdict


FORGED = st.tuples(
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0, 101, 127]),
    st.sampled_from([0.02, 0.02, 0.3, 1.0]),
)


@settings(max_examples=400)
@given(
    st.booleans(),
    st.sampled_from([(), (101,), (0, 127)]),
    st.lists(FORGED, min_size=8, max_size=80),
)
def test_both_follow_the_streams_of_one_source_alike(
    several: bool, events: tuple[int, ...], packets: list[tuple[int, int, int, float]]
) -> None:
    """Streams of three SSRCs from the learned source, with pauses around the limits."""
    source = TransportAddress.of("192.0.2.1", 1)
    evidence = Evidence(
        SourceAuth.SIGNALLING_ADDRESS, (ip_network("192.0.2.0/24"),), several=several, events=events
    )
    python, native, now = Latch(), _twins.Latch(), 0.0
    python.arm(0, evidence)
    sources = pack_networks(evidence.sources)
    native.arm(0, sources, b"", 1, several, b"", False, 3.0, bytes(events))
    sequences = dict.fromkeys((1, 2, 3), 0)
    for ssrc, ahead, payload_type, later in packets:
        now += later
        sequences[ssrc] += ahead
        datagram = rtp(sequences[ssrc], ssrc, payload_type)
        verdict = python.observe(source, classify(datagram), now)
        assert native.observe(pack(source), datagram, now) == verdict


@settings(max_examples=500)
@given(st.one_of(DATAGRAMS, st.binary(max_size=64)))
def test_both_classify_alike(datagram: bytes) -> None:
    header = classify(datagram)
    told = header.kind, header.ssrc, header.sequence, header.payload_type
    assert _twins.classify(datagram) == told


def media(payload_type: int, sequence: int, timestamp: int, ssrc: int) -> bytes:
    return struct.pack(">BBHII", 0x80, payload_type, sequence, timestamp, ssrc)


NTP = st.sampled_from([0, 1, 2, 0xFFFFFFFF])
STREAMED = st.one_of(
    st.builds(
        media,
        st.sampled_from([0, 8, 17, 26, 96]),
        st.integers(0, 200),
        st.integers(0, 9000),
        st.just(1),
    ),
    st.builds(
        media, st.just(111), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(1, 2)
    ),
    st.builds(report, NTP, NTP, st.sampled_from([0, 1, 0x4000, 0x90000])),
    st.builds(
        lambda cut, extra: (report(1, 1) + report(2, 2))[:cut] + extra,
        st.integers(0, 104),
        st.binary(max_size=40),
    ),
    st.builds(lambda rest: b"\x82\xc9" + rest, st.binary(min_size=6, max_size=80)),
)
HEARD = st.tuples(st.integers(0, 1), STREAMED, st.sampled_from([0.0, 0.01, 0.02, 0.3, 4.0]))


@settings(max_examples=600)
@given(st.lists(HEARD, max_size=80))
def test_both_measure_a_call_alike(packets: list[tuple[int, bytes, float]]) -> None:
    python, native, now = (StreamMeter(), StreamMeter()), (_twins.Stream(), _twins.Stream()), 0.0
    for side, datagram, later in packets:
        now += later
        python[side].observe(classify(datagram), datagram, now, python[1 - side])
        native[side].observe(datagram, now, native[1 - side])
        assert read_quality(native[side].quality()) == python[side].quality


SENT = st.tuples(st.integers(0, 65507), st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0, 9.0]))


@settings(max_examples=300)
@given(st.sampled_from([0, 8, 4000]), st.sampled_from([0, 1, 3, 50]), st.lists(SENT, max_size=80))
def test_both_police_alike(kbps: int, pps: int, packets: list[tuple[int, float]]) -> None:
    python, native, now = Bucket(MediaLimits(kbps, pps)), _twins.Bucket(kbps, pps), 0.0
    for length, later in packets:
        now += later
        assert native.admits(length, now) is python.admits(length, now)


AGO = st.sampled_from([0.0, 0.5, 3.9, 4.0, 4.1, 20.0, 29.9, 30.0, 300.0, 599.9, 600.0, 601.0])
LINGER = st.sampled_from([0.0, 0.5, 4.0, 30.0, 900.0])


@settings(max_examples=300)
@given(st.none() | AGO, AGO, AGO, LINGER, st.sampled_from([20.0, 600.0]))
def test_both_keep_a_released_port_alike(
    heard_ago: float | None, busy_ago: float, released_ago: float, linger_s: float, cap_s: float
) -> None:
    now = 1000.0
    heard_at = None if heard_ago is None else now - heard_ago
    since = idle_since(heard_at, now, linger_s)
    assert _twins.idle_since(heard_at, now, linger_s) == since
    times = (now - busy_ago, now - released_ago, linger_s, cap_s, now)
    assert _twins.is_free(*times) is is_free(*times)


def test_a_port_that_is_always_busy_is_free_after_the_cap() -> None:
    for free in (is_free, _twins.is_free):
        assert not free(699.9, 100.0, 30.0, LINGER_CAP_S, 699.9)
        assert free(700.0, 100.0, 30.0, LINGER_CAP_S, 700.0)


@given(SOURCES)
def test_addresses_survive_the_seam(address: TransportAddress) -> None:
    assert unpack(pack(address)) == address


@pytest.mark.parametrize("networks", [b"x", b"\x05" + bytes(17), b"\x04\x21" + bytes(16)])
def test_networks_that_are_none_are_refused(networks: bytes) -> None:
    with pytest.raises(ValueError, match="network"):
        _twins.Latch().arm(0, networks, b"", 1, False)


NOTED = st.tuples(
    st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1"]),
    st.sampled_from([0.0, 0.01, 3.0, 6.0, 290.0, 301.0]),
    st.booleans(),
)


@settings(max_examples=300)
@given(st.lists(NOTED, max_size=60), st.booleans())
def test_both_bar_alike(steps: list[tuple[str, float, bool]], crowded: bool) -> None:
    python, native, now = Bars(), _twins.Bars(), 0.0
    for n in range(MOST if crowded else 0):
        other = TransportAddress.of(f"10.0.{n // 256}.{n % 256}", 1)
        assert native.note(pack(other), now) == python.note(other.ip, now)
    for text, later, notes in steps:
        now += later
        source = TransportAddress.of(text, 1)
        if notes:
            assert native.note(pack(source), now) == python.note(source.ip, now)
        assert native.has(pack(source), now) == python.has(source.ip, now)


def test_what_is_installed_has_the_engine_and_nothing_of_the_tests() -> None:
    assert {name for name in vars(_engine) if not name.startswith("__")} == {"Engine", "RECORDS"}
