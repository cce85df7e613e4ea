"""Descriptions and commands of real phones and proxies, as the tests use them."""

from typing import Any

from jingle_hnt.fronts.ng.bencode import Encodable, encode

CALL_ID = "1-3021@198.51.100.1"
RECEIVED_A, RECEIVED_B = "198.51.100.1", "198.51.100.2"

SIPP = (
    b"v=0\r\no=user1 53655765 2353687637 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"
    b"m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)

BARESIP = (
    b"v=0\r\no=- 3797372563 1211398723 IN IP4 192.168.1.20\r\ns=-\r\nc=IN IP4 192.168.1.20\r\n"
    b"t=0 0\r\na=tool:baresip 1.0.0\r\nm=audio 20714 RTP/AVP 96 0 8 101\r\nb=AS:125\r\n"
    b"a=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1;sprop-stereo=1\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    b"a=rtcp:20715\r\na=sendrecv\r\na=label:1\r\na=rtcp-rsize\r\na=ssrc:1736410921 cname:x\r\n"
    b"a=ptime:20\r\n"
)

LINPHONE = (
    b"v=0\r\no=alice 2890 2890 IN IP4 192.0.2.7\r\ns=Talk\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n"
    b"a=ice-pwd:0012aaaaaaaaaaaaaaaaaaaa\r\na=ice-ufrag:1e5\r\n"
    b"a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics\r\n"
    b"a=record:off\r\nm=audio 7078 RTP/SAVP 96 0\r\na=rtpmap:96 opus/48000/2\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR\r\n"
    b"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"
    b" UNENCRYPTED_SRTP UNAUTHENTICATED_SRTP\r\n"
    b"a=candidate:1 1 UDP 2130706303 10.1.1.7 7078 typ host\r\n"
    b"a=candidate:1 2 UDP 2130706302 10.1.1.7 7079 typ host\r\n"
    b"a=candidate:2 1 UDP 1694498687 192.0.2.7 7078 typ srflx raddr 10.1.1.7 rport 7078\r\n"
    b"a=candidate:2 2 UDP 1694498686 192.0.2.7 7079 typ srflx raddr 10.1.1.7 rport 7079\r\n"
)

CHROME = (
    b"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    b"a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n"
    b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
    b"a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\na=ice-options:trickle\r\n"
    b"a=fingerprint:sha-256 00:11\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    b"a=rtpmap:111 opus/48000/2\r\na=candidate:1 1 udp 2113937151 192.168.34.75 60017 typ host\r\n"
    b"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
    b"a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\na=fingerprint:sha-256 00:11\r\n"
    b"a=setup:actpass\r\na=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"
    b"a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
)

FAX = (
    b"v=0\no=- 1 2 IN IP4 10.0.0.2\ns=-\nc=IN IP4 10.0.0.2\nt=0 0\n"
    b"m=image 6000 udptl t38\na=T38FaxVersion:0\n"
)

ALL = {
    "sipp": SIPP,
    "baresip": BARESIP,
    "linphone": LINPHONE,
    "chrome": CHROME,
    "fax": FAX,
}

DEFAULT_FLAGS = ("replace-origin", "replace-session-connection")


def offer(sdp: bytes = SIPP, /, **changes: Any) -> dict[str, Encodable]:
    """What Debian's Kamailio sends for an INVITE by its shipped configuration (captured)."""
    return {
        "supports": ["load limit"],
        "sdp": sdp,
        "replace": ["origin", "session-connection"],
        "call-id": CALL_ID,
        "received-from": ["IP4", RECEIVED_A],
        "from-tag": "3021SIPpTag001",
        "command": "offer",
    } | changes


def answer(sdp: bytes = BARESIP, /, **changes: Any) -> dict[str, Encodable]:
    """What it sends for the response."""
    return {
        "supports": ["load limit"],
        "sdp": sdp,
        "replace": ["origin", "session-connection"],
        "call-id": CALL_ID,
        "received-from": ["IP4", RECEIVED_B],
        "from-tag": "3021SIPpTag001",
        "to-tag": "callee-1",
        "command": "answer",
    } | changes


def delete(**changes: Any) -> dict[str, Encodable]:
    """What it sends for BYE, CANCEL and failures."""
    return {
        "supports": ["load limit"],
        "call-id": CALL_ID,
        "received-from": ["IP4", RECEIVED_A],
        "from-tag": "3021SIPpTag001",
        "command": "delete",
    } | changes


def unsorted(message: dict[str, Encodable]) -> bytes:
    """Bencode whose keys come in the order in which a proxy makes them."""
    pairs = (encode(key) + encode(value) for key, value in message.items())
    return b"d" + b"".join(pairs) + b"e"
