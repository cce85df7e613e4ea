"""A phone for the lab whose media is aioice's: a full ICE agent that shares no code with us.

Like `caller.py` it runs inside a client's namespace, takes JSON lines and writes JSON lines. It
offers what aioice gathers and takes every candidate it is told. It has no TURN server, and a STUN
server only where it is given one: whatever else it connects through is the relay's doing.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Coroutine, Iterable
from typing import Any
from xml.etree import ElementTree as ET

import aioice

from tests.lab.caller import LONGEST_COMMAND, RTP_INFO, Habits, _Endpoint, enter, say, themselves
from tests.lab.rtp import RTP_INTERVAL_S, Heard, mark, rtcp, rtp
from tests.lab.xmpp_actors import JINGLE, Client, Disconnected, as_text, unique

ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
ATTRIBUTES = ("component", "foundation", "generation", "id", "ip", "network", "port", "priority")
"""What XEP-0176 requires of a candidate, beside protocol and type."""
MEDIA = {"voice": "audio", "camera": "video"}
"""The contents that a phone knows; each has a path of its own."""
LINGER_S = 1.0
"""How long the agent before a restart still hears."""


class Stream:
    """The marked packets of one component, sent and heard.

    With `like_raw` they are those of a phone over raw UDP: both components have one mark, and the
    second is RTCP.
    """

    def __init__(
        self, own: str, peer: str, component: int, like_raw: bool, content: str = "voice"
    ) -> None:
        letter = content[0] if like_raw else f"{content[0]}{component}"
        self.make = rtcp if like_raw and component == 2 else rtp
        self.name = f"{letter}{own}".encode().ljust(16, b"\0")[:16]
        self.ssrc = sum(self.name) * 2654435761 % 2**32
        self.heard = Heard(f"{letter}{peer}".encode().ljust(16, b"\0")[:16])
        self.sent_at: list[float] = []
        self.first_at: float | None = None

    def next(self) -> bytes:
        self.sent_at.append(time.monotonic())
        return self.make(self.name, self.ssrc, len(self.sent_at) - 1)

    def hear(self, datagram: bytes) -> None:
        found = mark(datagram)
        if found is None or found[0] != self.heard.expected:
            self.heard.foreign += 1
        else:
            self.heard.numbers[found[1]] += 1
            self.first_at = self.first_at or time.monotonic()


class Content:
    """One content of a call: its agent, the one that takes its place, and its streams."""

    def __init__(self, name: str, creator: str, streams: dict[int, Stream]) -> None:
        self.name = name
        self.creator = creator
        self.streams = streams
        self.agent: aioice.Connection | None = None
        self.fresh: aioice.Connection | None = None
        self.generation = 0
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, *doing: Coroutine[Any, Any, None]) -> None:
        """Have this done for as long as the content is there."""
        self.tasks += map(asyncio.create_task, doing)

    async def close(self) -> None:
        """End all that is done, and the agents."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        for agent in (self.agent, self.fresh):
            if agent is not None:
                await agent.close()
        self.agent = self.fresh = None


class IcePhone:
    """One user, one call at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.client: Client | None = None
        self.peer = self.sid = ""
        self.role = "initiator"
        self.answer = "accept"
        self.habits = Habits()
        self.contents: dict[str, Content] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.sending = True

    async def run(self) -> None:
        host, _, port = self.options.server.rpartition(":")
        endpoint = _Endpoint((host, int(port)))
        self.client = await Client.login(endpoint, self.options.jid, self.options.password)
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
            await self._stop()
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
        client.acknowledge(stanza)
        names = _names(jingle)
        match jingle.get("action"):
            case "session-initiate":
                self.peer, self.sid = stanza.get("from", ""), jingle.get("sid", "")
                self.role = "responder"
                await self._renew(names)
                await self._learn(jingle)
                if self.answer == "ring":
                    say("ringing", peer=self.peer, sid=self.sid)
                    return
                if self.options.rings:
                    self._begin(names)
                    self.tasks.append(asyncio.create_task(self._answer_later(names)))
                    return
                self._offer("session-accept", names, answers=True)
                self._begin(names)
            case "session-accept" | "content-accept":
                await self._learn(jingle)
                say("accepted", contents=names)
                self._begin(names)
            case "content-add":
                await self._gather(names, self._other)
                await self._learn(jingle)
                self._offer("content-accept", names, answers=True)
                self._begin(names)
            case "content-remove":
                await self._close(names)
                say("removed", contents=names)
            case "content-modify":
                say("modified", contents=names)
            case "session-info":
                say("informed", of=[child.tag.rpartition("}")[2] for child in jingle])
            case "transport-info":
                await self._told(jingle)
            case "session-terminate":
                await self._stop()
                say("ended", xml=as_text(jingle))

    @property
    def _other(self) -> str:
        return "initiator" if self.role == "responder" else "responder"

    def _offer(self, action: str, names: Iterable[str], answers: bool = False) -> None:
        """Our credentials and candidates; trickled one by one where that is wanted."""
        whole = not self.options.trickle
        contents = [self.contents[name] for name in names]
        self._request(action, "".join(self._content(c, whole, True, answers) for c in contents))
        for content in () if whole else contents:
            assert content.agent is not None
            for candidate in content.agent.local_candidates:
                self._request("transport-info", self._written(content, content.agent, [candidate]))

    def _content(self, content: Content, whole: bool, described: bool, answers: bool) -> str:
        assert content.agent is not None
        candidates = content.agent.local_candidates if whole else []
        mux = "<rtcp-mux/>" if self.options.components == 1 else ""
        description = (
            f'<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="{MEDIA[content.name]}">'
            f'<payload-type id="0" name="PCMU" clockrate="8000"/>{mux}</description>'
        )
        return self._written(content, content.agent, candidates, description, answers)

    def _written(
        self,
        content: Content,
        agent: aioice.Connection,
        candidates: list[aioice.Candidate],
        description: str = "",
        answers: bool = False,
    ) -> str:
        written = "".join(_written(candidate, content.generation) for candidate in candidates)
        return (
            f'{self._head(content, answers)}{description}<transport xmlns="{ICE_UDP}"'
            f' ufrag="{agent.local_username}" pwd="{agent.local_password}">'
            f"{written}</transport></content>"
        )

    def _head(self, content: Content, answers: bool = False) -> str:
        return self.habits.head(content.name, content.creator, self.role, answers)

    def _request(self, action: str, payload: str) -> None:
        assert self.client is not None
        self.client.request(self.peer, action, self.sid, payload)

    # Media

    async def _renew(self, names: Iterable[str]) -> None:
        """Begin a call with these contents."""
        await self._stop()
        self.contents.clear()
        self.sending = True
        await self._gather(names, "initiator")

    async def _gather(self, names: Iterable[str], creator: str) -> None:
        own, peer = self.options.jid, themselves(self.peer, self.options)
        for name in names:
            streams = {
                number: Stream(own, peer, number, self.options.like_raw, name)
                for number in range(1, self.options.components + 1)
            }
            content = self.contents[name] = Content(name, creator, streams)
            content.agent = await self._gathered()

    async def _gathered(self) -> aioice.Connection:
        stun = (self.options.stun, 3478) if self.options.stun else None
        agent = aioice.Connection(
            self.role == "initiator",
            components=self.options.components,
            stun_server=stun,
            use_ipv4=not self.options.six,
            use_ipv6=self.options.six,
        )
        await agent.gather_candidates()
        return agent

    async def _learn(self, jingle: ET.Element) -> None:
        for content in jingle.iter(f"{{{JINGLE}}}content"):
            await self._take(self.contents[content.get("name", "")].agent, content)

    async def _take(self, agent: aioice.Connection | None, content: ET.Element) -> None:
        """What the peer says of its agent."""
        assert agent is not None
        for transport in content.iter(f"{{{ICE_UDP}}}transport"):
            agent.remote_username = transport.get("ufrag")
            agent.remote_password = self.options.sign_with or transport.get("pwd")
            for candidate in transport.iter(f"{{{ICE_UDP}}}candidate"):
                if int(candidate.get("component", "")) <= self.options.components:
                    await agent.add_remote_candidate(_read(candidate))

    async def _told(self, jingle: ET.Element) -> None:
        """More candidates, or an ICE restart (XEP-0176 section 5.10)."""
        for told in jingle.iter(f"{{{JINGLE}}}content"):
            content = self.contents.get(told.get("name", ""))
            if content is None or content.agent is None:
                continue
            if not _is_restarted(content, told):
                await self._take(content.agent, told)
                continue
            if content.fresh is None:
                await self._restart(content)
            await self._take(content.fresh, told)
            content.begin(self._move_to(content, content.fresh))

    # The call goes on meanwhile, as far as it can

    async def _restart(self, content: Content) -> None:
        """Gather anew, on other sockets, and tell the peer."""
        content.generation += 1
        content.fresh = await self._gathered()
        candidates = content.fresh.local_candidates
        self._request("transport-info", self._written(content, content.fresh, candidates))

    async def _move_to(self, content: Content, fresh: aioice.Connection | None) -> None:
        assert fresh is not None
        try:
            async with asyncio.timeout(self.options.patience):
                await fresh.connect()
        except (ConnectionError, TimeoutError):
            say("unconnected", content=content.name)
            return
        before, content.agent, content.fresh = content.agent, fresh, None
        say("connected", content=content.name, paths=paths(fresh))
        content.begin(self._hear(content, fresh))
        if before is not None:
            await asyncio.sleep(LINGER_S)
            await before.close()

    async def _answer_later(self, names: list[str]) -> None:
        """Like QXmpp's, the agent has checked since the offer; its retries are slow by now."""
        await asyncio.sleep(self.options.rings)
        say("answering", at=time.monotonic())
        self._offer("session-accept", names, answers=True)

    def _begin(self, names: Iterable[str]) -> None:
        for name in names:
            content = self.contents[name]
            content.begin(self._talk(content))

    async def _talk(self, content: Content) -> None:
        assert content.agent is not None
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.options.patience):
                await content.agent.connect()
        except (ConnectionError, TimeoutError):
            say("unconnected", content=content.name)
            return
        took = round(time.monotonic() - started, 3)
        say("connected", content=content.name, paths=paths(content.agent), took_s=took)
        content.begin(self._hear(content, content.agent))
        await self._speak(content)

    async def _speak(self, content: Content) -> None:
        with contextlib.suppress(ConnectionError):
            while content.agent is not None:
                for number, stream in content.streams.items():
                    if self.sending:
                        await content.agent.sendto(stream.next(), number)
                await asyncio.sleep(RTP_INTERVAL_S)

    async def _hear(self, content: Content, agent: aioice.Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                datagram, component = await agent.recvfrom()
                content.streams[component].hear(datagram)

    async def _close(self, names: Iterable[str]) -> None:
        for name in names:
            if (content := self.contents.pop(name, None)) is not None:
                await content.close()

    async def _stop(self) -> None:
        """End the call's doing; its contents stay, for what they heard is asked for afterwards."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        for content in self.contents.values():
            await content.close()

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
                self.role = "initiator"
                await self._renew(["voice"])
                self._offer("session-initiate", ["voice"])
            case "patience":
                self.options.patience = command["seconds"]
            case "answer":
                self.answer = command["how"]
            case "accept":
                self._offer("session-accept", self.contents, answers=True)
                self._begin(self.contents)
            case "habits":
                self.habits = Habits(command["creator"], command["senders"])
            case "add":
                await self._gather([command["content"]], self.role)
                self._offer("content-add", [command["content"]])
            case "remove":
                head = self._head(self.contents[command["content"]])
                await self._close([command["content"]])
                self._request("content-remove", f"{head}</content>")
            case "modify":
                head = self._head(self.contents[command["content"]])[:-1]
                self._request("content-modify", f'{head} senders="{command["senders"]}"/>')
            case "info":
                self._request("session-info", f'<{command["what"]} xmlns="{RTP_INFO}"/>')
            case "restart":
                for content in self.contents.values():
                    await self._restart(content)
            case "quiet":
                self.sending = False
            case "hangup":
                await self._stop()
                self._request("session-terminate", "<reason><success/></reason>")
            case "stats":
                contents = self.contents.items()
                media = {name: list(map(_stats, c.streams.values())) for name, c in contents}
                say("stats", media=media)


def paths(agent: aioice.Connection) -> list[str]:
    """The remote address of each component's pair."""
    pairs = agent._nominated  # there is no public way to ask
    return [f"{pairs[n].remote_addr[0]}:{pairs[n].remote_addr[1]}" for n in sorted(pairs)]


def _names(jingle: ET.Element) -> list[str]:
    return [content.get("name", "") for content in jingle.iter(f"{{{JINGLE}}}content")]


def _is_restarted(content: Content, told: ET.Element) -> bool:
    """Whether the peer's agent has other credentials than those in use."""
    names = {t.get("ufrag") for t in told.iter(f"{{{ICE_UDP}}}transport")}
    assert content.agent is not None
    return content.agent.remote_username is not None and names != {content.agent.remote_username}


def _written(candidate: aioice.Candidate, generation: int) -> str:
    values = (
        candidate.component,
        candidate.foundation,
        generation,
        unique("c"),
        candidate.host,
        0,
        candidate.port,
        candidate.priority,
    )
    attributes = "".join(f' {n}="{v}"' for n, v in zip(ATTRIBUTES, values, strict=True))
    return f'<candidate{attributes} protocol="udp" type="{candidate.type}"/>'


def _read(candidate: ET.Element) -> aioice.Candidate:
    """As strict as the schema: what it requires must be there."""
    assert all(candidate.get(name) is not None for name in ATTRIBUTES)
    return aioice.Candidate(
        foundation=candidate.attrib["foundation"],
        component=int(candidate.attrib["component"]),
        transport=candidate.attrib["protocol"],
        priority=int(candidate.attrib["priority"]),
        host=candidate.attrib["ip"],
        port=int(candidate.attrib["port"]),
        type=candidate.attrib["type"],
    )


def _stats(stream: Stream) -> dict[str, Any]:
    numbers = stream.heard.numbers
    return {
        "sent": len(stream.sent_at),
        "sent_at": stream.sent_at,
        "first_at": stream.first_at,
        "numbers": sorted(numbers),
        "duplicates": sum(numbers.values()) - len(numbers),
        "foreign": stream.heard.foreign,
    }


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    asyncio.run(IcePhone(parser.parse_args()).run())


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every phone that is an ICE agent is told at its start."""
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", default="secret")
    parser.add_argument("--server", required=True, help="IP:PORT")
    parser.add_argument("--address", help="not needed: aioice finds the host's addresses")
    parser.add_argument("--port", help="not needed: aioice takes ports as they come")
    parser.add_argument("--components", type=int, choices=(1, 2), default=1)
    parser.add_argument("--six", action="store_true", help="use IPv6 only")
    parser.add_argument("--room", default="", help="a room to be in (XEP-0045)")
    parser.add_argument("--stun", help="the address of a STUN server")
    parser.add_argument("--sign-with", help="sign checks with this, not with what is signalled")
    parser.add_argument("--trickle", action="store_true")
    parser.add_argument("--like-raw", action="store_true", help="send what raw phones expect")
    parser.add_argument("--rings", type=float, default=0.0, help="seconds of checks, then answer")
    parser.add_argument("--patience", type=float, default=40.0, help="seconds to connect in")


if __name__ == "__main__":
    main()
