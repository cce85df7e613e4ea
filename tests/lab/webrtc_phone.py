"""A phone for the lab that is WebRTC's: aiortc with DTLS-SRTP, an audio track and a data channel.

It takes the commands of `ice_phone.py` and writes what that writes. Audio and data share one path
(BUNDLE), as browsers and their XMPP clients have it. The fingerprints that it was told are those
that the handshake has to show: aiortc refuses to connect otherwise.
"""

import argparse
import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from aiortc import (
    AudioStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import MediaDescription, SessionDescription

from tests.lab.caller import say
from tests.lab.ice_phone import ICE_UDP, IcePhone, add_options, paths
from tests.lab.xmpp_actors import JINGLE, unique

RTP = "urn:xmpp:jingle:apps:rtp:1"
DATA = "urn:xmpp:jingle:apps:webrtc-datachannel:0"
DTLS = "urn:xmpp:jingle:apps:dtls:0"
SCTP = "urn:xmpp:jingle:transports:dtls-sctp:1"
GROUPING = "urn:xmpp:jingle:apps:grouping:0"
ENOUGH_FRAMES = 50
"""One second of audio."""
GREETING = "Can you read me?"


class WebrtcPhone(IcePhone):
    """One user, one call at a time: audio in content 0, a data channel in content 1."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self.peer_connection: RTCPeerConnection | None = None
        self.connected = asyncio.Event()

    @property
    def connection(self) -> RTCPeerConnection:
        assert self.peer_connection is not None
        return self.peer_connection

    async def _gather(self, names: Iterable[str], creator: str) -> None:
        self.connected.clear()
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        connection = self.peer_connection = RTCPeerConnection(configuration)
        connection.on("connectionstatechange", self._note_state)
        connection.on("track", self._take_track)
        connection.on("datachannel", self._answer_greetings)
        if self.role == "initiator":
            connection.addTrack(AudioStreamTrack())
            channel = connection.createDataChannel("chat")
            channel.on("open", lambda: channel.send(GREETING))
            channel.on("message", lambda text: say("read", text=text))
            await connection.setLocalDescription(await connection.createOffer())

    def _note_state(self) -> None:
        if self.connection.connectionState == "connected":
            self.connected.set()

    def _take_track(self, track: MediaStreamTrack) -> None:
        self.tasks.append(asyncio.create_task(self._listen_to(track)))

    async def _listen_to(self, track: MediaStreamTrack) -> None:
        frames = 0
        with contextlib.suppress(MediaStreamError):
            while True:
                await track.recv()
                frames += 1
                if frames == ENOUGH_FRAMES:
                    say("heard")

    def _answer_greetings(self, channel: RTCDataChannel) -> None:
        channel.on("message", lambda text: channel.send(f"I read: {text}"))

    async def _told(self, jingle: ET.Element) -> None:
        """All candidates come at once."""

    async def _learn(self, jingle: ET.Element) -> None:
        kind = "offer" if jingle.get("action") == "session-initiate" else "answer"
        description = RTCSessionDescription("\r\n".join(_sdp(jingle)) + "\r\n", kind)
        await self.connection.setRemoteDescription(description)
        if kind == "offer":
            self.connection.addTrack(AudioStreamTrack())
            await self.connection.setLocalDescription(await self.connection.createAnswer())

    def _offer(self, action: str, names: Iterable[str], answers: bool = False) -> None:
        described = SessionDescription.parse(self.connection.localDescription.sdp)
        bundled = "".join(f'<content name="{media.rtp.muxId}"/>' for media in described.media)
        group = f'<group xmlns="{GROUPING}" semantics="BUNDLE">{bundled}</group>'
        self._request(action, group + "".join(map(_content, described.media)))

    def _begin(self, names: Iterable[str]) -> None:
        self.tasks.append(asyncio.create_task(self._connect()))

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self.options.patience):
                await self.connected.wait()
        except TimeoutError:
            say("unconnected", state=self.connection.connectionState)
            return
        assert self.connection.sctp is not None
        dtls = self.connection.sctp.transport
        prints = sorted(f.value for f in dtls.getLocalParameters().fingerprints)
        say("connected", paths=paths(dtls.transport._connection), fingerprints=prints)

    async def _stop(self) -> None:
        if self.peer_connection is not None:
            await self.peer_connection.close()
            self.peer_connection = None
        await super()._stop()

    async def _carry_out(self, command: dict[str, Any]) -> None:
        if command["do"] == "stats":
            say("stats", media={})
        else:
            await super()._carry_out(command)


# Jingle from SDP (XEP-0167, XEP-0176, XEP-0320)


def _content(media: MediaDescription) -> str:
    assert media.ice is not None
    assert media.ice.usernameFragment is not None
    assert media.ice.password is not None
    assert media.dtls is not None
    candidates = "".join(
        f'<candidate component="{c.component}" foundation="{c.foundation}" generation="0"'
        f' id="{unique("c")}" ip="{c.ip}" network="0" port="{c.port}" priority="{c.priority}"'
        f' protocol="{c.protocol}" type="{c.type}"/>'
        for c in media.ice_candidates
    )
    setup = {"auto": "actpass", "client": "active", "server": "passive"}[media.dtls.role]
    prints = "".join(
        f'<fingerprint xmlns="{DTLS}" hash="{f.algorithm}" setup="{setup}">{f.value}</fingerprint>'
        for f in media.dtls.fingerprints
    )
    sctp = f'<sctpmap xmlns="{SCTP}" number="5000" protocol="webrtc-datachannel" streams="1024"/>'
    return (
        f'<content creator="initiator" name="{media.rtp.muxId}">{_description(media)}'
        f'<transport xmlns="{ICE_UDP}" ufrag={quoteattr(media.ice.usernameFragment)}'
        f" pwd={quoteattr(media.ice.password)}>{prints}"
        f"{'' if media.kind == 'audio' else sctp}{candidates}</transport></content>"
    )


def _description(media: MediaDescription) -> str:
    if media.kind != "audio":
        return f'<description xmlns="{DATA}"/>'
    types = "".join(
        f'<payload-type id="{codec.payloadType}" name="{codec.name}"'
        f' clockrate="{codec.clockRate}" channels="{codec.channels or 1}"/>'
        for codec in media.rtp.codecs
    )
    return f'<description xmlns="{RTP}" media="audio">{types}<rtcp-mux/></description>'


# SDP from Jingle


def _sdp(jingle: ET.Element) -> Iterator[str]:
    contents = jingle.findall(f"{{{JINGLE}}}content")
    yield from ("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0")
    yield "a=group:BUNDLE " + " ".join(content.attrib["name"] for content in contents)
    for content in contents:
        yield from _media(content)
        transport = content.find(f"{{{ICE_UDP}}}transport")
        assert transport is not None
        yield from _transport(transport)


def _media(content: ET.Element) -> Iterator[str]:
    types = list(content.iter(f"{{{RTP}}}payload-type"))
    if content.find(f"{{{DATA}}}description") is not None:
        yield "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
        yield "a=sctp-port:5000"
    else:
        yield "m=audio 9 UDP/TLS/RTP/SAVPF " + " ".join(each.attrib["id"] for each in types)
        yield from ("a=sendrecv", "a=rtcp-mux")
        for each in types:
            rate = f"{each.attrib['name']}/{each.attrib['clockrate']}"
            channels = "" if each.attrib["channels"] == "1" else f"/{each.attrib['channels']}"
            yield f"a=rtpmap:{each.attrib['id']} {rate}{channels}"
    yield f"a=mid:{content.attrib['name']}"


def _transport(transport: ET.Element) -> Iterator[str]:
    yield f"a=ice-ufrag:{transport.attrib['ufrag']}"
    yield f"a=ice-pwd:{transport.attrib['pwd']}"
    for each in transport.iter(f"{{{DTLS}}}fingerprint"):
        yield f"a=fingerprint:{each.attrib['hash']} {each.text}"
        setup = each.attrib["setup"]
    yield f"a=setup:{setup}"
    for each in transport.iter(f"{{{ICE_UDP}}}candidate"):
        names = ("foundation", "component", "protocol", "priority", "ip", "port")
        told = " ".join(each.attrib[name] for name in names)
        yield f"a=candidate:{told} typ {each.attrib['type']}"


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    asyncio.run(WebrtcPhone(parser.parse_args()).run())


if __name__ == "__main__":
    main()
