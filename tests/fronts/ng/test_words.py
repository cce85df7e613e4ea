"""What a proxy asks, in both ways in which proxies write it, and what is refused in words."""

import pytest

from jingle_hnt.fronts.ng.bencode import Encodable, decode
from jingle_hnt.fronts.ng.unsupported import demand_same_encryption, demand_supported
from jingle_hnt.fronts.ng.words import NgCommand, Refused, read, refusal
from jingle_hnt.model.address import literal
from tests.fronts.ng.samples import offer, unsorted


def command(**changes: Encodable) -> NgCommand:
    return read(decode(unsorted(offer(**changes))))


def test_a_captured_offer() -> None:
    told = command(flags=["SIP-source-address"])
    assert told.name == "offer"
    assert told.call_id == "1-3021@198.51.100.1"
    assert told.flags == {"sip-source-address"}
    assert told.replace == {"origin", "session-connection"}
    assert told.received_from == literal("198.51.100.1")
    assert told.knows_load_limit
    assert not told.is_provisional


@pytest.mark.parametrize("flag", ["SIP source address", "sip_source_address", "SIP-source-address"])
def test_spaces_hyphens_and_letters_make_no_difference(flag: str) -> None:
    assert "sip-source-address" in command(flags=[flag]).flags


def test_raw_flags_of_a_newer_proxy_mean_the_same() -> None:
    raw = "replace-origin replace-session-connection ICE=remove trust-address RTP/AVP rtcp-mux-x"
    told = read(decode(unsorted(offer(**{"rtpp-flags": raw, "replace": []}))))
    assert told.replace == {"origin", "session-connection"}
    assert told.option("ice") == "remove"
    assert told.option("transport-protocol") == "RTP/AVP"
    assert "trust-address" in told.flags


def test_an_option_that_comes_twice_has_two_words() -> None:
    told = read(decode(unsorted(offer(**{"rtpp-flags": "direction=in direction=out"}))))
    assert told.options["direction"] == ("in", "out")


@pytest.mark.parametrize("where", ["", "example.org", "10.0.0.300", "IP4"])
def test_what_is_no_address_proves_nothing(where: str) -> None:
    assert command(**{"received-from": ["IP4", where]}).received_from is None


@pytest.mark.parametrize("code", [183, b"183"])
def test_a_provisional_response_is_known_where_its_code_is_told(code: int | bytes) -> None:
    assert command(**{"SIP code": code}).is_provisional


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"le", "Could not decode bencode dictionary"),
        (b"d1:a0:e", 'no key "command"'),
        (b"d7:command9:play.mp4 e", "Unrecognized command"),
        (b"d7:commandi1ee", "command is no text"),
        (b"d7:call-idle7:command5:offere", "call-id is no text"),
        (b"d7:call-id300:" + b"x" * 300 + b"7:command5:offere", "more than 255 bytes"),
        (b"d7:command5:offer3:sdp40000:" + b"x" * 40000 + b"e", "Failed to parse SDP"),
    ],
)
def test_what_is_no_command(body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(decode(body))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"flags": ["codec-transcode-PCMA"]}, "does not change codecs"),
        ({"codec": {"transcode": ["PCMA"]}}, "does not change codecs"),
        ({"flags": ["record call"]}, "does not record"),
        ({"record call": "on"}, "does not record"),
        ({"flags": ["asymmetric"]}, "hears the party from"),
        ({"T.38": ["decode"]}, "fax"),
        ({"ICE": "force"}, "ng.ice"),
        ({"media address": "192.0.2.1"}, "relay.interfaces"),
        ({"ptime": 20}, "repacketise"),
    ],
)
def test_what_this_relay_does_not_do_is_said(changes: dict[str, Encodable], why: str) -> None:
    with pytest.raises(Refused, match=why):
        demand_supported(command(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": ["trust-address", "symmetric", "loop-protect", "port-latching", "nonsense"]},
        {"ICE": "remove", "DTLS": "passive", "SDES": ["off"], "rtcp-mux": ["demux"]},
        {"record call": "off", "direction": ["a", "b"], "TOS": 184},
    ],
)
def test_what_only_tunes_passes(changes: dict[str, Encodable]) -> None:
    demand_supported(command(**changes))


@pytest.mark.parametrize(
    ("wanted", "has", "why"),
    [
        ("RTP/AVP", "UDP/TLS/RTP/SAVPF", "DTLS-SRTP"),
        ("RTP/SAVPF", "RTP/AVP", "SRTP"),
        ("UDP/TLS/RTP/SAVPF", "RTP/SAVP", "DTLS-SRTP"),
        ("OSRTP", "RTP/AVP", "it knows RTP/AVP"),
    ],
)
def test_to_bridge_encryption_is_refused(wanted: str, has: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        demand_same_encryption(command(**{"transport-protocol": wanted}), [has])


def test_a_profile_of_the_same_encryption_is_written() -> None:
    told = command(**{"transport-protocol": "RTP/AVP"})
    assert demand_same_encryption(told, ["RTP/AVPF"]) == "RTP/AVP"
    assert demand_same_encryption(command(), ["RTP/AVPF"]) == ""


def test_a_full_node_is_told_in_the_way_that_the_proxy_knows() -> None:
    full = Refused("Ran out of ports", is_load=True)
    assert refusal(full, command()) == {"result": "load limit", "message": "Ran out of ports"}
    assert refusal(full, command(supports=[])) == {
        "result": "error",
        "error-reason": "Ran out of ports",
    }
