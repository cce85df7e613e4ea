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
import sys
from typing import Any
from xml.etree import ElementTree as ET

from tests.lab.rtp import Component
from tests.lab.xmpp_actors import JINGLE, Client, Disconnected, as_text, unique

JINGLE_ERRORS = "urn:xmpp:jingle:errors:1"
LONGEST_COMMAND = 1 << 22
RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
DESCRIPTION = (
    '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
    '<payload-type id="0" name="PCMU" clockrate="8000"/></description>'
)


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
        self.client: Client | None = None
        self.components: list[Component] = []
        self.sid = ""
        self.peer = ""
        self.generation = 0
        self.answer = options.answer
        self.port = options.port

    async def run(self) -> None:
        host, _, port = self.options.server.rpartition(":")
        self.client = await Client.login(
            _Endpoint((host, int(port))), self.options.jid, self.options.password
        )
        say("online")
        listening = asyncio.create_task(self._listen(self.client))
        try:
            await self._obey()
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            for component in self.components:
                await component.close()
            await self.client.close()

    # Stanzas

    async def _listen(self, client: Client) -> None:
        with contextlib.suppress(Disconnected):
            while True:
                with contextlib.suppress(TimeoutError):
                    await self._receive(client, await client.next())

    async def _receive(self, client: Client, stanza: ET.Element) -> None:
        say("stanza", xml=as_text(stanza))
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
            case "session-accept":
                self._send_media(jingle)
                say("accepted")
            case "transport-info":
                self._send_media(jingle)
            case "session-terminate":
                self._stop()
                say("ended")

    async def _rung(self, caller: str, jingle: ET.Element) -> None:
        self.peer, self.sid = caller, jingle.get("sid", "")
        say("ringing", peer=caller, sid=self.sid)
        if self.answer == "accept":
            await self._open()
            self._request("session-accept", self._content())
            self._send_media(jingle)
        elif self.answer == "decline":
            self._request("session-terminate", "<reason><decline/></reason>")

    def _request(self, action: str, payload: str) -> None:
        assert self.client is not None
        self.client.request(self.peer, action, self.sid, payload)

    def _content(self, description: str = DESCRIPTION) -> str:
        candidates = "".join(
            f'<candidate component="{c}" generation="{self.generation}" id="{unique("c")}"'
            f' ip="{self.options.address}" port="{self.port + c - 1}"/>'
            for c in (1, 2)
        )
        transport = f'<transport xmlns="{RAW_UDP}">{candidates}</transport>'
        return f'<content creator="initiator" name="voice">{description}{transport}</content>'

    # Media

    async def _open(self, moving: bool = False) -> None:
        """Sockets for a call; a call that moves goes on with its streams and counts."""
        stream = self.options.jid.encode().ljust(16, b"\0")[:16]
        ssrc = sum(stream) * 2654435761 % 2**32
        before = self.components
        self.components = [Component(stream, ssrc, control) for control in (False, True)]
        for component in before:
            await component.close()
        for number, component in enumerate(self.components):
            if moving:
                component.heard, component.sent_at = before[number].heard, before[number].sent_at
            component.heard.expected = self.peer.encode().ljust(16, b"\0")[:16]
            await component.open(self.options.address, self.port + number)

    def _send_media(self, jingle: ET.Element) -> None:
        for candidate in jingle.iter(f"{{{RAW_UDP}}}candidate"):
            component = self.components[int(candidate.get("component", "1")) - 1]
            component.start((candidate.get("ip", ""), int(candidate.get("port", "0"))))

    def _stop(self) -> None:
        for component in self.components:
            component.stop()

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
                self.peer, self.sid = command["to"], command.get("sid") or unique("call")
                await self._open()
                self._request("session-initiate", self._content())
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
            case "stats":
                say("stats", components=[_stats(component) for component in self.components])

    async def _move(self, port: int) -> None:
        """Take other ports and tell the peer, as a client does whose socket broke."""
        destinations = [c.heard.sources.most_common(1) for c in self.components]
        self.port, self.generation = port, self.generation + 1
        await self._open(moving=True)
        self._request("transport-info", self._content(description=""))
        for component, destination in zip(self.components, destinations, strict=True):
            if destination:
                component.start(destination[0][0])


def _stats(component: Component) -> dict[str, Any]:
    heard = component.heard
    return {
        "sent": len(component.sent_at),
        "settled": component.settled,
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
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", default="secret")
    parser.add_argument("--server", required=True, help="IP:PORT")
    parser.add_argument("--address", required=True, help="the address to offer")
    parser.add_argument("--port", type=int, default=7078, help="RTP port; RTCP is the next")
    parser.add_argument("--answer", choices=("accept", "decline", "ring"), default="accept")
    asyncio.run(Phone(parser.parse_args()).run())


if __name__ == "__main__":
    main()
