"""Fuzz: stanzas of any kind from clients, another server and components, with honest ones among.

The component answers what it likes, but to honest requests. All honest ones have to arrive, once
and in order; the module must not crash, nor write more than a line of log a second.

``python -m tests.integration.server_module.fuzz`` plays long ones; the tests play short ones.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TypeVar

from tests.integration.server_module.stage import HNT, KINDS, USERS, jingle_text
from tests.lab.server import Endpoint, LocalServer, VirtualHost
from tests.lab.xmpp_actors import (
    CLIENT,
    CONDITIONS,
    FORWARD,
    INTERCEPT,
    JINGLE,
    Client,
    Component,
    Disconnected,
    Element,
    Refused,
    bare_name,
    unique,
)

A = TypeVar("A", bound=Client | Component)

HOME, AWAY = "home.example.org", "away.example.net"
OTHER = "other.example.org"
HONEST_S = 0.05
SETTLE_S = 20.0
BATCH = 20

NAMES = ("jingle", "intercept", "forwarded", "iq", "error", "message", "retract", "x", "query")
SPACES = (JINGLE, INTERCEPT, FORWARD, CLIENT, CONDITIONS, "urn:xmpp:jingle-message:0", "x", "")
ACTIONS = ("session-initiate", "session-accept", "session-terminate", "transport-info", "pass")
ATTRIBUTES = ("action", "sid", "id", "event", "jid", "type", "from", "to", "xmlns:a", "via")
TEXTS = ("", "x", "s1", "&#252;", "&lt;&amp;", "hnt-", "\u202e", "0", "-1", "y" * 3000)


class Fuzz:
    """Makes stanzas of any kind, well-formed as far as a stream needs it."""

    def __init__(self, seed: int, targets: list[str]) -> None:
        self.random = random.Random(seed)
        self.targets = targets
        self.ids = ["", "1"]

    def text(self) -> str:
        """Of an attribute or element."""
        return self.random.choice((*TEXTS, *ACTIONS, *self.targets))

    def element(self, depth: int = 3) -> str:
        """With anything inside."""
        name, space = self.random.choice(NAMES), self.random.choice(SPACES)
        names = self.random.sample(ATTRIBUTES, self.random.randint(0, 3))
        attributes = " ".join(f"{n}='{self.text()}'" for n in names)
        inside = ""
        if depth:
            inside = "".join(self.element(depth - 1) for _ in range(self.random.randint(0, 2)))
        return f"<{name} xmlns='{space}' {attributes}>{inside}</{name}>"

    def payload(self) -> str:
        """More often one that we look at."""
        chance = self.random.random()
        if chance < 0.5:
            inside = self.element(2) if self.random.random() < 0.5 else ""
            return jingle_text(self.text(), inside, self.random.choice(ACTIONS))
        if chance < 0.7:
            name = self.random.choice(("inject", "address", "module", "intercept"))
            return f"<{name} xmlns='{INTERCEPT}' jid='{self.text()}'>{self.element(2)}</{name}>"
        return self.element()

    def stanza(self, sender: str = "") -> str:
        """From this address, if it has to be named."""
        name = self.random.choice(("iq", "iq", "iq", "message"))
        kinds = ("set", "set", "get", "result", "error")
        kind = self.random.choice(kinds if name == "iq" else ("chat", "error", "headline"))
        stanza_id = self.random.choice(self.ids) or unique("fuzz")
        times = self.random.choice((0, 1, 1, 1, 1, 2, 5))
        inside = "".join(self.payload() for _ in range(times))
        to = self.random.choice(self.targets)
        origin = f"from='{sender}' " if sender else ""
        return f"<{name} {origin}type='{kind}' to='{to}' id='{stanza_id}'>{inside}</{name}>"

    def answer(self) -> str:
        """What the component may say to a question."""
        action = self.random.choice(("pass", "replace", "bounce", "drop", "", "x"))
        inside = self.random.choice(("", self.payload(), self.element()))
        if self.random.random() < 0.4:
            iq = f"<iq xmlns='{CLIENT}'>{self.payload()}</iq>"
            inside = f"<forwarded xmlns='{FORWARD}'>{iq}</forwarded>"
        return f"<intercept xmlns='{INTERCEPT}' action='{action}'>{inside}</intercept>"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `lost`, `doubled`, `crashes` and `reordered` must be 0."""

    server: str
    seconds: float
    fuzzed: int
    answers: int
    honest: int
    lost: int
    doubled: int
    reordered: int
    slowest_s: float
    crashes: int
    log_lines: int

    def is_fine(self) -> bool:
        """Whether nothing went wrong."""
        wrong = self.lost, self.doubled, self.reordered, self.crashes
        return wrong == (0, 0, 0, 0) and self.log_lines <= self.seconds


class _Play:
    def __init__(self, servers: list[LocalServer], actors: AsyncExitStack, seed: int) -> None:
        self.home, self.away = servers
        self.actors = actors
        self.fuzz = Fuzz(seed, [])
        self.fuzzed = self.answers = 0
        self.sent: list[float] = []
        self.arrived: list[int] = []
        self.slowest = 0.0
        self.until = 0.0

    async def play(self, seconds: float) -> None:
        hnt = await self._enter(Component.connect(self.home, HNT))
        alice = await self._enter(Client.login(self.home, f"alice@{HOME}/honest"))
        bob = await self._enter(Client.login(self.home, f"bob@{HOME}/honest"))
        victim = await self._enter(Client.login(self.home, f"bob@{HOME}/victim"))
        self.fuzz.targets += [
            *(victim.jid, f"bob@{HOME}", HOME, HNT, f"carol@{AWAY}/fuzz", f"bob@{HOME}/none"),
            *(f"u@{HNT}/x", f"u@{OTHER}/x", bob.jid),
        ]
        self.until = time.monotonic() + seconds
        hearing = [asyncio.create_task(each) for each in (self._hear(bob), self._answer(hnt))]
        client = Client.login
        await asyncio.gather(
            self._be_honest(alice, bob),
            self._send(lambda: client(self.home, f"carol@{HOME}/fuzz")),
            self._send(lambda: client(self.away, f"carol@{AWAY}/fuzz")),
            self._send(lambda: Component.connect(self.home, OTHER), f"u@{OTHER}/x"),
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while len(set(self.arrived)) < len(self.sent):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)

    async def _enter(self, login: Awaitable[A]) -> A:
        actor = await login
        self.actors.push_async_callback(actor.abort)
        return actor

    async def _be_honest(self, alice: Client, bob: Client) -> None:
        while time.monotonic() < self.until:
            self.sent.append(time.monotonic())
            alice.request(bob.jid, "session-info", f"honest#{len(self.sent) - 1}")
            await asyncio.sleep(HONEST_S)

    async def _hear(self, bob: Client) -> None:
        async for stanza in _stanzas(bob):
            jingle = stanza.find(f"{{{JINGLE}}}jingle")
            sid = "" if jingle is None else jingle.get("sid", "")
            if stanza.get("type") == "set" and sid.startswith("honest#"):
                number = int(sid.partition("#")[2])
                self.arrived.append(number)
                self.slowest = max(self.slowest, time.monotonic() - self.sent[number])
                bob.acknowledge(stanza)

    async def _answer(self, hnt: Component) -> None:
        async for stanza in _stanzas(hnt):
            if bare_name(stanza) != "iq" or stanza.get("type") not in ("set", "get"):
                continue
            if stanza.find(f"{{{INTERCEPT}}}intercept") is None or not stanza.get("id"):
                continue
            self.answers += 1
            path = f".//{{{FORWARD}}}forwarded/{{{CLIENT}}}iq/{{{JINGLE}}}jingle"
            jingle = stanza.find(path)
            if jingle is not None and jingle.get("sid", "").startswith("honest#"):
                says = [f"<intercept xmlns='{INTERCEPT}' action='pass'/>"]
            else:
                says = [self.fuzz.answer() for _ in range(self.fuzz.random.choice((0, 1, 1, 1, 2)))]
            for inside in says:
                hnt.send(
                    f"<iq type='result' from='{HNT}' to='{stanza.get('from')}'"
                    f" id='{stanza.get('id')}'>{inside}</iq>"
                )

    async def _send(
        self, login: Callable[[], Awaitable[Client | Component]], sender: str = ""
    ) -> None:
        """Fuzz; who is thrown out comes again."""
        while time.monotonic() < self.until:
            with suppress(Disconnected, Refused, ConnectionError, TimeoutError):
                actor = await self._enter(login())
                while actor.is_open and time.monotonic() < self.until:
                    for _ in range(BATCH):
                        actor.send(self.fuzz.stanza(sender))
                    self.fuzzed += BATCH
                    await actor.flushed()
                    await asyncio.sleep(0.03)
                    actor.inbox.clear()
            await asyncio.sleep(0.05)


async def _stanzas(stream: Client | Component) -> AsyncIterator[Element]:
    with suppress(Disconnected):
        while True:
            yield await stream.next(patience_s=3600)


def _servers(kind: str) -> list[LocalServer]:
    routes: dict[str, Endpoint] = {}
    home = VirtualHost(HOME, USERS, component=HNT, timeout_s=0.5)
    secrets = {HNT: "secret", OTHER: "secret"}
    made = [
        KINDS[kind]([home], secrets, routes=routes),
        KINDS[kind]([VirtualHost(AWAY, USERS)], {f"x.{AWAY}": "secret"}, routes=routes),
    ]
    for server, domain in zip(made, (HOME, AWAY), strict=True):
        routes[domain] = server.s2s
    return made


def crashes(log: str) -> int:
    """How often the module failed, by the server's log: a line each, of whatever server."""
    lines = log.splitlines()
    ended = sum("terminating" in line and "jingle_hnt" in line for line in lines)
    return ended + sum("mod_jingle_hnt.lua:" in line for line in lines)


def lines_of_ours(log: str) -> int:
    """Lines above debug that the module wrote; ejabberd's lab has each twice."""
    lines = [line for line in log.splitlines() if "jingle_hnt" in line and "debug" not in line]
    return len([line for line in lines if "\twarn\t" in line or "@mod_jingle_hnt" in line])


async def fuzz(kind: str, seconds: float, seed: int = 0) -> Outcome:
    """Play one."""
    servers = _servers(kind)
    async with servers[0], servers[1], AsyncExitStack() as actors:
        play = _Play(servers, actors, seed)
        before = len(servers[0].log_text())
        await play.play(seconds)
        log = servers[0].log_text()[before:]
        arrived = play.arrived
        return Outcome(
            kind,
            seconds,
            play.fuzzed,
            play.answers,
            len(play.sent),
            len(play.sent) - len(set(arrived)),
            len(arrived) - len(set(arrived)),
            sum(a > b for a, b in pairwise(arrived)),
            round(play.slowest, 2),
            crashes(log),
            lines_of_ours(log),
        )


def main(arguments: list[str]) -> int:
    """Play as told; 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=list(KINDS), help="both unless told")
    parser.add_argument("--seconds", type=float, default=60, help="of each (%(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(arguments)
    fine = True
    for kind in [options.server] if options.server else KINDS:
        outcome = asyncio.run(fuzz(kind, options.seconds, options.seed))
        fine = fine and outcome.is_fine()
        sys.stdout.write(json.dumps({"seed": options.seed, **asdict(outcome)}) + "\n")
        sys.stdout.flush()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
