"""What is read of a description, beside sdp-transform, and what of it stays byte for byte."""

import random

import pytest
import sdp_transform
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.fronts.ng.rewriting import Place, rewritten
from jingle_hnt.fronts.ng.sdp import MOST_LINES, MOST_MEDIA, Description, Media, read
from jingle_hnt.fronts.ng.words import Refused
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate
from tests.fronts.ng.samples import ALL, BARESIP, CHROME, FAX, LINPHONE, SIPP

BOTH = frozenset({"origin", "session-connection"})
RELAY = TransportAddress.of("203.0.113.9", 40000)
RELAY_RTCP = TransportAddress.of("203.0.113.9", 40001)
HERE = Place(RELAY, RELAY_RTCP)


def audio(sdp: bytes) -> Media:
    return read(sdp).media[0]


def everywhere(description: Description, place: Place = HERE) -> dict[int, Place]:
    return {media.index: place for media in description.media}


def lines(sdp: bytes) -> list[str]:
    return sdp.decode("latin-1").splitlines()


@pytest.mark.parametrize("name", ALL)
def test_it_reads_what_another_library_reads(name: str) -> None:
    sdp = ALL[name]
    ours, theirs = read(sdp), sdp_transform.parse(sdp.decode())
    assert len(ours.media) == len(theirs["media"])
    for own, other in zip(ours.media, theirs["media"], strict=True):
        assert own.kind == other["type"]
        assert own.port == other["port"]
        assert own.protocol == other["protocol"]
        assert len(own.candidates) == len(other.get("candidates", ()))
        assert [c.address.port for c in own.candidates] == [
            c["port"] for c in other.get("candidates", ())
        ]
        assert own.mux == ("rtcpMux" in other)
        assert len(own.crypto) == len(other.get("crypto", ()))
        assert own.direction == other.get("direction", "sendrecv")
        connection = other.get("connection") or theirs.get("connection")
        assert own.connection is not None
        assert str(own.connection.ip) == connection["ip"]


def test_names_that_look_like_numbers_stay_as_they_are() -> None:
    """Why sdp-transform does not do the reading: it makes 100000.0 and 12 of these."""
    media = audio(LINPHONE)
    assert (media.ufrag, media.pwd) == ("1e5", "0012aaaaaaaaaaaaaaaaaaaa")
    assert sdp_transform.parse("v=0\r\na=ice-ufrag:1e5\r\n")["iceUfrag"] == 100000.0


def test_a_key_whose_packets_cannot_be_checked_is_known_as_such() -> None:
    first, second = audio(LINPHONE).crypto
    assert len(first.keys) == 1
    assert second.keys == ()


def test_what_a_browser_says() -> None:
    description = read(CHROME)
    voice, video = description.media
    assert description.bundles == (("0", "1"),)
    assert description.leader(video) is voice
    assert voice.has_ice
    assert voice.has_fingerprint
    assert voice.mux
    assert voice.ip is None
    assert video.several
    assert not voice.several


def test_events_have_a_payload_type_of_their_own() -> None:
    assert audio(BARESIP).events == {101}


@pytest.mark.parametrize(
    ("line", "port"),
    [("a=rtcp:7000", 7000), ("a=rtcp:7000 IN IP4 10.0.0.9", 7000), ("a=x", 6001)],
)
def test_where_rtcp_goes(line: str, port: int) -> None:
    media = audio(SIPP + line.encode() + b"\r\n")
    assert media.addresses()[2].port == port


def test_t38_has_one_port() -> None:
    media = audio(FAX)
    assert not media.is_rtp
    assert media.is_relayable
    assert list(media.addresses()) == [1]


@pytest.mark.parametrize(
    "sdp",
    [
        b"",
        b"\r\n",
        b"m=audio 1 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio\r\n",
        b"v=0\r\nm=audio x RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio -1 RTP/AVP 0\r\n",
        b"v=0\r\nm=audio 5000/x RTP/AVP 0\r\n",
        "v=0\r\nm=audio \u0663 RTP/AVP 0\r\n".encode(),
        b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * (MOST_MEDIA + 1),
        b"v=0\r\n" + b"a=x\r\n" * MOST_LINES,
    ],
)
def test_what_cannot_be_relayed_is_refused(sdp: bytes) -> None:
    with pytest.raises(Refused, match="Failed to parse SDP"):
        read(sdp)


@pytest.mark.parametrize("name", ALL)
def test_nothing_changes_where_nothing_is_relayed(name: str) -> None:
    assert rewritten(read(ALL[name]), {}, BOTH) == ALL[name]


def test_the_plain_case() -> None:
    description = read(SIPP)
    assert rewritten(description, everywhere(description), BOTH) == (
        b"v=0\r\no=user1 53655765 2353687637 IN IP4 203.0.113.9\r\ns=-\r\n"
        b"c=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )


def test_what_the_proxy_does_not_ask_to_replace_stays() -> None:
    """The media gets a line of its own then (rtpengine's way)."""
    description = read(SIPP)
    written = rewritten(description, everywhere(description), frozenset())
    assert lines(written)[1:8] == [
        "o=user1 53655765 2353687637 IN IP4 10.0.0.2",
        "s=-",
        "c=IN IP4 10.0.0.2",
        "t=0 0",
        "m=audio 40000 RTP/AVP 0",
        "c=IN IP4 203.0.113.9",
        "a=rtpmap:0 PCMU/8000",
    ]


def test_a_title_stays_before_the_address() -> None:
    sdp = SIPP.replace(b"RTP/AVP 0\r\n", b"RTP/AVP 0\r\ni=mine\r\n")
    written = lines(rewritten(read(sdp), {0: HERE}, frozenset()))
    assert written[6:8] == ["i=mine", "c=IN IP4 203.0.113.9"]


def test_ice_is_taken_out_and_the_rest_of_a_browser_stays() -> None:
    description = read(CHROME)
    written = rewritten(description, everywhere(description), BOTH)
    assert b"candidate" not in written
    assert b"a=ice-" not in written
    kept = [line for line in lines(CHROME) if line.startswith(("a=fingerprint", "a=mid", "a=rtpm"))]
    assert [line for line in lines(written) if line in kept] == kept


def test_a_held_address_stays_zero_unless_the_proxy_asks() -> None:
    sdp = SIPP.replace(b"c=IN IP4 10.0.0.2", b"c=IN IP4 0.0.0.0")
    held = rewritten(read(sdp), {0: HERE}, BOTH)
    assert b"c=IN IP4 0.0.0.0\r\n" in held
    assert b"m=audio 40000" in held
    asked = rewritten(read(sdp), {0: HERE}, BOTH | {"zero-address"})
    assert b"c=IN IP4 203.0.113.9\r\n" in asked


def test_candidates_are_appended_and_the_agents_own_stay() -> None:
    description = read(LINPHONE)
    ours = (Candidate(1, 0, RELAY, "ours", priority=255),)
    written = rewritten(description, {0: Place(RELAY, RELAY_RTCP, appended=ours)}, BOTH)
    assert "a=candidate:ours 1 udp 255 203.0.113.9 40000 typ host" in lines(written)
    own = [line for line in lines(LINPHONE) if "candidate" in line or "ice-" in line]
    assert [line for line in lines(written) if line in own] == own


def test_where_ice_ends_at_the_relay_nothing_of_the_agent_passes() -> None:
    description = read(LINPHONE)
    place = Place(RELAY, RELAY_RTCP, own=(Candidate(1, 0, RELAY, "o"),), ufrag="u", pwd="p")
    written = rewritten(description, {0: place}, BOTH)
    assert [line for line in lines(written) if "ice-" in line or "candidate" in line] == [
        "a=ice-ufrag:u",
        "a=ice-pwd:p",
        "a=candidate:o 1 udp 0 203.0.113.9 40000 typ host",
    ]


def test_another_family_is_written_as_such() -> None:
    place = Place(TransportAddress.of("2001:db8::9", 40000), TransportAddress.of("2001:db8::9", 1))
    written = lines(rewritten(read(SIPP), {0: place}, BOTH))
    assert "c=IN IP6 2001:db8::9" in written
    assert "o=user1 53655765 2353687637 IN IP6 2001:db8::9" in written


def test_media_by_tcp_keeps_its_address() -> None:
    sdp = SIPP + b"m=message 7654 TCP/MSRP *\r\n"
    written = lines(rewritten(read(sdp), {0: HERE}, BOTH))
    assert written[3] == "c=IN IP4 10.0.0.2"
    assert written[-1] == "m=message 7654 TCP/MSRP *"
    assert "c=IN IP4 203.0.113.9" in written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a=rtcp:6001", "a=rtcp:40001"),
        ("a=rtcp:6001 IN IP4 10.0.0.2", "a=rtcp:40001 IN IP4 203.0.113.9"),
        ("a=rtcp:6000\r\na=rtcp-mux", "a=rtcp:40000"),
        ("a=rtcp:6001\r\na=rtcp-mux", "a=rtcp:40001"),
    ],
)
def test_where_rtcp_is_to_go(said: str, written: str) -> None:
    assert written in lines(rewritten(read(SIPP + said.encode() + b"\r\n"), {0: HERE}, BOTH))


def test_odd_spaces_and_letters_stay() -> None:
    sdp = b"v=0\nm=audio  6000  RTP/AVP 0\nX\na=\xff\xfe:\xe9\nno line\n"
    written = rewritten(read(sdp), {0: HERE}, BOTH)
    assert written == (
        b"v=0\nm=audio  40000  RTP/AVP 0\nc=IN IP4 203.0.113.9\nX\na=\xff\xfe:\xe9\nno line\n"
    )


WORDS = [line + b"\r\n" for sdp in ALL.values() for line in sdp.splitlines()]


@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=30), max_size=40), st.integers())
def test_of_any_description_only_what_tells_addresses_changes(parts: list[bytes], n: int) -> None:
    sdp = b"v=0\r\n" + b"".join(parts)
    try:
        description = read(sdp)
    except Refused:
        return
    assert description.raw == sdp
    relayed = [m.index for m in description.media if random.Random(n + m.index).random() < 0.7]
    written = rewritten(description, dict.fromkeys(relayed, HERE), BOTH)
    about = (
        b"m=",
        b"c=",
        b"o=",
        b"a=rtcp",
        b"a=ice",
        b"a=candidate",
        b"a=end-of-cand",
        b"a=remote",
    )
    kept = [line for line in sdp.splitlines(keepends=True) if not line.lower().startswith(about)]
    new = [line for line in written.splitlines(keepends=True) if not line.lower().startswith(about)]
    assert [line.rstrip(b"\r\n") for line in new] == [line.rstrip(b"\r\n") for line in kept]
    read(written)
