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
from typing import Any
from xml.etree import ElementTree as ET

import aioice

from tests.lab.caller import LONGEST_COMMAND, _Endpoint, say
from tests.lab.rtp import RTP_INTERVAL_S, Heard, mark, rtcp, rtp
from tests.lab.xmpp_actors import JINGLE, Client, Disconnected, as_text, unique

ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
ATTRIBUTES = ("component", "foundation", "generation", "id", "ip", "network", "port", "priority")
"""What XEP-0176 requires of a candidate, beside protocol and type."""


LINGER_S = 1.0
"""How long the agent before a restart still hears."""


class Stream:
    """The marked packets of one component, sent and heard.

    With `like_raw` they are those of a phone over raw UDP: both components have one mark, and the
    second is RTCP.
    """

    def __init__(self, own: str, peer: str, component: int, like_raw: bool) -> None:
        letter = "v" if like_raw else str(component)
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


class IcePhone:
    """One user, one call at a time, one content."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.client: Client | None = None
        self.peer = self.sid = ""
        self.agent: aioice.Connection | None = None
        self.fresh: aioice.Connection | None = None
        self.controlling = False
        self.generation = 0
        self.streams: dict[int, Stream] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.sending = False

    async def run(self) -> None:
        host, _, port = self.options.server.rpartition(":")
        endpoint = _Endpoint((host, int(port)))
        self.client = await Client.login(endpoint, self.options.jid, self.options.password)
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
        match jingle.get("action"):
            case "session-initiate":
                self.peer, self.sid = stanza.get("from", ""), jingle.get("sid", "")
                await self._gather(controlling=False)
                await self._learn(jingle)
                if self.options.rings:
                    self._begin()
                    self.tasks.append(asyncio.create_task(self._answer_later()))
                    return
                self._offer("session-accept")
                self._begin()
            case "session-accept":
                await self._learn(jingle)
                say("accepted")
                self._begin()
            case "transport-info" if self._is_restarted(jingle):
                if self.fresh is None:
                    await self._restart()
                await self._learn(jingle, self.fresh)
                self.tasks.append(asyncio.create_task(self._move_to(self.fresh)))
            case "transport-info":
                await self._learn(jingle)
            case "session-terminate":
                await self._stop()
                say("ended", xml=as_text(jingle))

    def _offer(self, action: str) -> None:
        """Our credentials and candidates; trickled one by one where that is wanted."""
        assert self.agent is not None
        candidates = self.agent.local_candidates
        if not self.options.trickle:
            self._request(action, self._content(candidates, described=True))
            return
        self._request(action, self._content([], described=True))
        for candidate in candidates:
            self._request("transport-info", self._content([candidate], described=False))

    def _content(
        self,
        candidates: list[aioice.Candidate],
        described: bool,
        agent: aioice.Connection | None = None,
    ) -> str:
        agent = agent or self.agent
        assert agent is not None
        mux = "<rtcp-mux/>" if self.options.components == 1 else ""
        description = (
            '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
            f'<payload-type id="0" name="PCMU" clockrate="8000"/>{mux}</description>'
        )
        written = "".join(_written(candidate, self.generation) for candidate in candidates)
        return (
            '<content creator="initiator" name="voice">'
            f'{description if described else ""}<transport xmlns="{ICE_UDP}"'
            f' ufrag="{agent.local_username}" pwd="{agent.local_password}">'
            f"{written}</transport></content>"
        )

    def _request(self, action: str, payload: str) -> None:
        assert self.client is not None
        self.client.request(self.peer, action, self.sid, payload)

    # Media

    async def _gather(self, controlling: bool) -> None:
        await self._stop()
        self.controlling, self.generation = controlling, 0
        self.streams = {
            number: Stream(self.options.jid, self.peer, number, self.options.like_raw)
            for number in range(1, self.options.components + 1)
        }
        self.agent = await self._gathered()

    async def _gathered(self) -> aioice.Connection:
        stun = (self.options.stun, 3478) if self.options.stun else None
        agent = aioice.Connection(
            self.controlling,
            components=self.options.components,
            stun_server=stun,
            use_ipv4=not self.options.six,
            use_ipv6=self.options.six,
        )
        await agent.gather_candidates()
        return agent

    async def _learn(self, jingle: ET.Element, agent: aioice.Connection | None = None) -> None:
        agent = agent or self.agent
        assert agent is not None
        for transport in jingle.iter(f"{{{ICE_UDP}}}transport"):
            agent.remote_username = transport.get("ufrag")
            agent.remote_password = self.options.sign_with or transport.get("pwd")
            for candidate in transport.iter(f"{{{ICE_UDP}}}candidate"):
                if int(candidate.get("component", "")) <= self.options.components:
                    await agent.add_remote_candidate(_read(candidate))

    # ICE restart (XEP-0176 section 5.10): the call goes on meanwhile, as far as it can

    def _is_restarted(self, jingle: ET.Element) -> bool:
        """Whether the peer's agent has other credentials than those in use."""
        names = {t.get("ufrag") for t in jingle.iter(f"{{{ICE_UDP}}}transport")}
        assert self.agent is not None
        return self.agent.remote_username is not None and names != {self.agent.remote_username}

    async def _restart(self) -> None:
        """Gather anew, on other sockets, and tell the peer."""
        self.generation += 1
        self.fresh = await self._gathered()
        candidates = self.fresh.local_candidates
        self._request("transport-info", self._content(candidates, False, self.fresh))

    async def _move_to(self, fresh: aioice.Connection | None) -> None:
        assert fresh is not None
        await fresh.connect()
        before, self.agent, self.fresh = self.agent, fresh, None
        say("connected", paths=self._paths())
        self.tasks.append(asyncio.create_task(self._hear(fresh)))
        if before is not None:
            await asyncio.sleep(LINGER_S)
            await before.close()

    async def _answer_later(self) -> None:
        """Like QXmpp's, the agent has checked since the offer; its retries are slow by now."""
        await asyncio.sleep(self.options.rings)
        say("answering", at=time.monotonic())
        self._offer("session-accept")

    def _begin(self) -> None:
        self.tasks.append(asyncio.create_task(self._talk()))

    async def _talk(self) -> None:
        assert self.agent is not None
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.options.patience):
                await self.agent.connect()
        except (ConnectionError, TimeoutError):
            say("unconnected")
            return
        took = round(time.monotonic() - started, 3)
        say("connected", paths=self._paths(), took_s=took)
        self.sending = True
        self.tasks.append(asyncio.create_task(self._hear(self.agent)))
        await self._speak()

    def _paths(self) -> list[str]:
        """The remote address of each component's pair."""
        assert self.agent is not None
        pairs = self.agent._nominated  # there is no public way to ask
        return [f"{pairs[n].remote_addr[0]}:{pairs[n].remote_addr[1]}" for n in sorted(pairs)]

    async def _speak(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self.agent is not None:
                for number, stream in self.streams.items():
                    if self.sending:
                        await self.agent.sendto(stream.next(), number)
                await asyncio.sleep(RTP_INTERVAL_S)

    async def _hear(self, agent: aioice.Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                datagram, component = await agent.recvfrom()
                self.streams[component].hear(datagram)

    async def _stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        for agent in (self.agent, self.fresh):
            if agent is not None:
                await agent.close()
        self.agent = self.fresh = None

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
                await self._gather(controlling=True)
                self._offer("session-initiate")
            case "restart":
                await self._restart()
            case "quiet":
                self.sending = False
            case "hangup":
                await self._stop()
                self._request("session-terminate", "<reason><success/></reason>")
            case "stats":
                say("stats", media={"voice": [_stats(s) for s in self.streams.values()]})


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
    parser.add_argument("--stun", help="the address of a STUN server")
    parser.add_argument("--sign-with", help="sign checks with this, not with what is signalled")
    parser.add_argument("--trickle", action="store_true")
    parser.add_argument("--like-raw", action="store_true", help="send what raw phones expect")
    parser.add_argument("--rings", type=float, default=0.0, help="seconds of checks, then answer")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to connect in")


if __name__ == "__main__":
    main()
