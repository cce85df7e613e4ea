"""A phone for the lab: an XMPP client that speaks raw-udp (XEP-0177), as a program of its own.

It shares no code with the product. It runs inside a client's namespace, takes JSON lines on
standard input and writes JSON lines on standard output, among them every stanza that it receives.
It is as plain as the clients that need a relay: it offers the addresses that it has, and it sends
to the candidates that it is told.
"""

import argparse
import asyncio
import contextlib
import json
import struct
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from tests.lab.rtp import Component, rtcp, rtp
from tests.lab.slixmpp_client import SlixmppClient
from tests.lab.xmpp_actors import JINGLE, Client, Disconnected, as_text, bare_name, unique

JINGLE_ERRORS = "urn:xmpp:jingle:errors:1"
LONGEST_COMMAND = 1 << 22
RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
PROPOSALS = "urn:xmpp:jingle-message:0"
NODES = "http://jabber.org/protocol/jinglenodes#channel"
RTP_INFO = "urn:xmpp:jingle:apps:rtp:info:1"
DESCRIPTIONS = {
    "voice": '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
    '<payload-type id="0" name="PCMU" clockrate="8000"/></description>',
    "camera": '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="video">'
    '<payload-type id="96" name="VP8" clockrate="90000"/></description>',
}
"""The contents that a phone knows; each has two ports, one pair behind the other."""


@dataclass(slots=True)
class Habits:
    """How a client writes who created a content, and who sends of it (see docs/clients.md).

    `creator` is ``right``, ``initiator`` for whoever it was, ``own`` for who writes, or ``none``;
    `senders` is what an accept says, whatever is so.
    """

    creator: str = "right"
    senders: str = ""

    def head(self, name: str, creator: str, role: str, answers: bool = False) -> str:
        """The beginning of a content, which this role writes."""
        said = {"right": creator, "initiator": "initiator", "own": role, "none": ""}[self.creator]
        written = f'<content name="{name}"' + (f' creator="{said}"' if said else "")
        return written + (f' senders="{self.senders}">' if answers and self.senders else ">")


class _Endpoint:
    """What `Client.login` needs of a server."""

    def __init__(self, c2s: tuple[str, int]) -> None:
        self.c2s = c2s
        self.component = c2s

    def log_text(self) -> str:
        return ""

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        raise RuntimeError("a phone does not administer its server")


class Phone:
    """One user, one call at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.client: Client | SlixmppClient | None = None
        self.media: dict[str, list[Component]] = {}
        self.sid = ""
        self.channel: tuple[str, int] | None = None
        self.awaited: dict[str, asyncio.Future[ET.Element]] = {}
        self.peer = ""
        self.role = "initiator"
        self.offer: ET.Element | None = None
        self.habits = Habits()
        self.creators: dict[str, str] = {}
        self.generation = 0
        self.answer = options.answer
        self.port = options.port

    async def run(self) -> None:
        host, _, port = self.options.server.rpartition(":")
        endpoint = _Endpoint((host, int(port)))
        jid, password = self.options.jid, self.options.password
        if self.options.slixmpp:
            self.client = await SlixmppClient.login(endpoint, jid, password)
        else:
            self.client = await Client.login(endpoint, jid, password, local=self.options.local)
            if self.options.room:
                await enter(self.client, self.options.room)
        say("online")
        listening = asyncio.create_task(self._listen(self.client))
        try:
            await self._obey()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            await self._close()
            await self.client.close()

    # Stanzas

    async def _listen(self, client: Client | SlixmppClient) -> None:
        with contextlib.suppress(Disconnected):
            while True:
                with contextlib.suppress(TimeoutError):
                    await self._receive(client, await client.next())

    async def _receive(self, client: Client | SlixmppClient, stanza: ET.Element) -> None:
        say("stanza", xml=as_text(stanza))
        if (waiting := self.awaited.get(stanza.get("id", ""))) is not None:
            waiting.set_result(stanza)
        await self._told(stanza)
        jingle = stanza.find(f"{{{JINGLE}}}jingle")
        if stanza.get("type") != "set" or jingle is None:
            return
        ringing = jingle.get("action") == "session-initiate"
        known = stanza.get("from") == self.peer and jingle.get("sid") == self.sid
        if not ringing and not known:
            client.reject(stanza, extra=f'<unknown-session xmlns="{JINGLE_ERRORS}"/>')
            return
        client.acknowledge(stanza)
        match jingle.get("action"):
            case "session-initiate":
                await self._rung(stanza.get("from", ""), jingle)
            case "session-accept" | "content-accept":
                self._send_media(jingle)
                say("accepted", contents=_names(jingle))
            case "content-add":
                await self._added(jingle)
            case "content-remove":
                await self._close(_names(jingle))
                say("removed", contents=_names(jingle))
            case "transport-info":
                self._send_media(jingle)
            case "content-modify":
                say("modified", contents=_names(jingle))
            case "session-info":
                say("informed", of=[child.tag.rpartition("}")[2] for child in jingle])
            case "session-terminate":
                self._stop()
                say("ended", xml=as_text(jingle))

    async def _told(self, message: ET.Element) -> None:
        """A proposal rings and is welcome; who may proceed calls (XEP-0353)."""
        if message.get("type") == "error":
            return  # which may have in it what we proposed ourselves
        for said in message:
            match said.tag.removeprefix(f"{{{PROPOSALS}}}"):
                case "propose":
                    say("proposed", peer=message.get("from"), sid=said.get("id"))
                    for answer in ("ringing", "proceed"):
                        self._message(message.get("from", ""), answer, said.get("id", ""))
                case "proceed" if said.get("id") == self.sid:
                    await self._call(message.get("from", ""), self.sid)

    def _message(self, to: str, action: str, sid: str, inside: str = "") -> None:
        assert self.client is not None
        said = f'<{action} xmlns="{PROPOSALS}" id="{sid}">{inside}</{action}>'
        id_ = unique("message")
        self.client.send(f'<message to="{to}" id="{id_}" type="chat">{said}</message>')

    async def _call(self, to: str, sid: str) -> None:
        self.peer, self.sid, self.role = to, sid, "initiator"
        await self._open("voice", "initiator")
        self._request("session-initiate", self._content("voice"))

    async def _rung(self, caller: str, jingle: ET.Element) -> None:
        self.peer, self.sid, self.role = caller, jingle.get("sid", ""), "responder"
        self.offer = jingle
        await self._close()
        say("ringing", peer=caller, sid=self.sid)
        if self.answer == "accept":
            await self._accept()
        elif self.answer == "early":
            await self._open("voice", "initiator")
            self._send_media(jingle)
        elif self.answer == "decline":
            self._request("session-terminate", "<reason><decline/></reason>")

    async def _accept(self) -> None:
        assert self.offer is not None
        if "voice" not in self.media:
            await self._open("voice", "initiator")
            self._send_media(self.offer)
        self._request("session-accept", self._content("voice", answers=True))

    async def _added(self, jingle: ET.Element) -> None:
        """Every further content is welcome."""
        creator = "initiator" if self.role == "responder" else "responder"
        for name in _names(jingle):
            await self._open(name, creator)
            self._request("content-accept", self._content(name, answers=True))
        self._send_media(jingle)

    def _request(self, action: str, payload: str) -> None:
        assert self.client is not None
        self.client.request(self.peer, action, self.sid, payload)

    def _content(self, name: str, described: bool = True, answers: bool = False) -> str:
        candidates = "".join(
            f'<candidate component="{c}" generation="{self.generation}" id="{unique("c")}"'
            f' ip="{self.options.address}" port="{self._port(name) + c - 1}"/>'
            for c in (1, 2)
        )
        transport = f'<transport xmlns="{RAW_UDP}">{candidates}</transport>'
        description = DESCRIPTIONS[name] if described else ""
        return f"{self._head(name, answers)}{description}{transport}</content>"

    def _head(self, name: str, answers: bool = False) -> str:
        return self.habits.head(name, self.creators[name], self.role, answers)

    # Media

    def _port(self, name: str) -> int:
        """The RTP port of a content; RTCP is the next."""
        port: int = self.port + 2 * list(DESCRIPTIONS).index(name)
        return port

    async def _open(self, name: str, creator: str, moving: bool = False) -> None:
        """Sockets for a content; one that moves goes on with its streams and counts."""
        self.creators[name] = creator
        stream = f"{name[0]}{self.options.jid}".encode().ljust(16, b"\0")[:16]
        expected = f"{name[0]}{themselves(self.peer, self.options)}".encode().ljust(16, b"\0")[:16]
        ssrc = sum(stream) * 2654435761 % 2**32
        before = self.media.pop(name, [])
        self.media[name] = [Component(stream, ssrc, control) for control in (False, True)]
        for component in before:
            await component.close()
        for number, component in enumerate(self.media[name]):
            if moving:
                component.heard, component.sent_at = before[number].heard, before[number].sent_at
            component.heard.expected = expected
            await component.open(self.options.address, self._port(name) + number)

    def _send_media(self, jingle: ET.Element) -> None:
        if self.options.mute:
            return
        if self.channel is not None:
            host, port = self.channel
            for number, component in enumerate(self.media["voice"]):
                component.start((host, port + number))
            return
        for content in jingle.iter(f"{{{JINGLE}}}content"):
            for candidate in content.iter(f"{{{RAW_UDP}}}candidate"):
                components = self.media[content.get("name", "")]
                component = components[int(candidate.get("component", "1")) - 1]
                component.start((candidate.get("ip", ""), int(candidate.get("port", "0"))))

    def _stop(self) -> None:
        for components in self.media.values():
            for component in components:
                component.stop()

    async def _close(self, names: Iterable[str] = tuple(DESCRIPTIONS)) -> None:
        for name in names:
            for component in self.media.pop(name, []):
                await component.close()

    # Commands

    async def _obey(self) -> None:
        reader = asyncio.StreamReader(limit=LONGEST_COMMAND)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            if command["do"] == "quit":
                return
            await self._carry_out(command)

    async def _carry_out(self, command: dict[str, Any]) -> None:
        match command["do"]:
            case "call":
                await self._call(command["to"], command.get("sid") or unique("call"))
            case "propose":
                self.sid = command.get("sid") or unique("call")
                self._message(command["to"], "propose", self.sid, DESCRIPTIONS["voice"])
            case "call-by-node":
                await self._call_by_node(command["to"], command["node"])
            case "habits":
                self.habits = Habits(command["creator"], command["senders"])
            case "accept":
                await self._accept()
            case "add":
                await self._open(command["content"], self.role)
                self._request("content-add", self._content(command["content"]))
            case "modify":
                self._request("content-modify", self._modified(**command))
            case "remove":
                await self._remove(command["content"])
            case "info":
                self._request("session-info", f'<{command["what"]} xmlns="{RTP_INFO}"/>')
            case "hangup":
                self._stop()
                self._request("session-terminate", "<reason><success/></reason>")
            case "quiet":
                self._stop()
            case "answer":
                self.answer = command["how"]
            case "move":
                await self._move(command["port"])
            case "send":
                assert self.client is not None
                self.client.send(command["xml"])
            case "emit":
                await self._emit(**{k: v for k, v in command.items() if k != "do"})
            case "stats":
                media = {name: [_stats(c) for c in two] for name, two in self.media.items()}
                say("stats", media=media)

    async def _emit(
        self,
        to: str,
        count: int,
        kind: str = "rtp",
        interval: float = 0.02,
        port: int = 0,
        address: str = "",
    ) -> None:
        """Send packets of the voice's stream there by hand, from its port for RTP, or from another
        port, perhaps of another address of this host."""
        component = self.media["voice"][0]
        sender = component
        if port:
            sender = Component(component.stream, component.ssrc, control=False)
            await sender.open(address or self.options.address, port)
        host, _, number = to.rpartition(":")
        make = {"rtp": rtp, "rtcp": rtcp, "stun": _binding}[kind]
        for _ in range(count):
            sender.send(
                make(component.stream, component.ssrc, len(component.sent_at)), (host, int(number))
            )
            component.sent_at.append(time.monotonic())
            await asyncio.sleep(interval)
        say("emitted")

    async def _call_by_node(self, to: str, node: str) -> None:
        """Ask for a relay channel first (XEP-0278); its far end is offered, its near end used."""
        assert self.client is not None
        id_ = unique("channel")
        self.awaited[id_] = asyncio.get_running_loop().create_future()
        self.client.send(
            f'<iq type="get" to="{node}" id="{id_}"><channel xmlns="{NODES}" protocol="udp"/></iq>'
        )
        channel = (await self.awaited[id_]).find(f"{{{NODES}}}channel")
        if channel is None:
            return
        say("channel", **channel.attrib)
        self.channel = (channel.get("host", ""), int(channel.get("localport", "0")))
        self.peer, self.sid, self.role = to, unique("call"), "initiator"
        await self._open("voice", "initiator")
        far = int(channel.get("remoteport", "0"))
        self._request("session-initiate", self._relayed_content(channel.get("host", ""), far))

    def _relayed_content(self, host: str, port: int) -> str:
        candidates = "".join(
            f'<candidate component="{c}" generation="0" id="{unique("n")}" type="relay"'
            f' ip="{host}" port="{port + c - 1}"/>'
            for c in (1, 2)
        )
        inside = f'{DESCRIPTIONS["voice"]}<transport xmlns="{RAW_UDP}">{candidates}</transport>'
        return f'<content creator="initiator" name="voice">{inside}</content>'

    async def _remove(self, name: str) -> None:
        await self._close([name])
        self._request("content-remove", f"{self._head(name)}</content>")

    def _modified(self, content: str, senders: str, **_: object) -> str:
        return f'{self._head(content)[:-1]} senders="{senders}"/>'

    async def _move(self, port: int) -> None:
        """Take other ports and tell the peer, as a client does whose socket broke."""
        destinations = [c.heard.sources.most_common(1) for c in self.media["voice"]]
        self.port, self.generation = port, self.generation + 1
        await self._open("voice", self.creators["voice"], moving=True)
        content = self._content("voice", described=False)
        self._request("transport-info", content)
        for component, destination in zip(self.media["voice"], destinations, strict=True):
            if destination:
                component.start(destination[0][0])


def _binding(stream: bytes, ssrc: int, number: int) -> bytes:
    """A STUN Binding indication (RFC 5389 section 6), as clients keep their NAT open with."""
    return struct.pack(">HHI", 0x0011, 0, 0x2112A442) + struct.pack(">III", ssrc, number, 0)


async def enter(client: Client, room: str) -> None:
    """Be an occupant of a room (XEP-0045 section 7.2), named by the own local part."""
    occupant = f"{room}/{client.jid.partition('@')[0]}"
    joins = '<x xmlns="http://jabber.org/protocol/muc"/>'
    client.send(f'<presence/><presence to="{occupant}">{joins}</presence>')
    await client.next(lambda e: bare_name(e) == "presence" and e.get("from") == occupant)


def themselves(jid: str, options: argparse.Namespace) -> str:
    """Who is behind an escaped address (XEP-0106), or an occupant of the room that we are in;
    anybody else as they are."""
    local, _, rest = jid.partition("@")
    if options.room and jid.startswith(f"{options.room}/"):
        domain: str = options.jid.partition("@")[2]
        return f"{jid.rpartition('/')[2]}@{domain}"
    return local.replace("\\40", "@") + "/" + rest.partition("/")[2] if "\\40" in local else jid


def _names(jingle: ET.Element) -> list[str]:
    return [content.get("name", "") for content in jingle.iter(f"{{{JINGLE}}}content")]


def _stats(component: Component) -> dict[str, Any]:
    heard = component.heard
    return {
        "sent": len(component.sent_at),
        "sent_at": component.sent_at,
        "numbers": sorted(heard.numbers),
        "duplicates": sum(heard.numbers.values()) - len(heard.numbers),
        "foreign": heard.foreign,
        "sources": [f"{ip}:{port}" for ip, port in heard.sources],
    }


def say(event: str, **members: object) -> None:
    """One line to whoever drives us."""
    print(json.dumps({"event": event, **members}), flush=True)


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    asyncio.run(Phone(parser.parse_args()).run())


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every phone that speaks raw-udp is told at its start."""
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", default="secret")
    parser.add_argument("--server", required=True, help="IP:PORT")
    parser.add_argument("--address", required=True, help="the address to offer")
    parser.add_argument("--port", type=int, default=7078, help="RTP port; RTCP is the next")
    parser.add_argument("--mute", action="store_true", help="never send media")
    parser.add_argument("--from", dest="local", help="where the XMPP connection comes from")
    parser.add_argument("--room", default="", help="a room to be in (XEP-0045)")
    parser.add_argument("--slixmpp", action="store_true", help="slixmpp on the stream")
    parser.add_argument(
        "--answer", choices=("accept", "early", "decline", "ring"), default="accept"
    )


if __name__ == "__main__":
    main()
