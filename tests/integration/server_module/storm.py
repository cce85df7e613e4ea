"""Storms: numbered requests between two hosts of one server while all around them comes and goes.

Clients of both hosts send each other Jingle requests, the component answers after a while and in
no order, and meanwhile modules are reloaded and upgraded, their processes killed, the component cut
off; in the end the server is stopped in an orderly way. Afterwards each request is looked for: it
is with its recipient, once and in order, or its sender has an error.

``scripts/storm`` plays long ones; the tests play short ones.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise

from tests.integration.server_module.stage import KINDS, jingle_text
from tests.lab.ejabberd import PACKAGE, Ejabberd, options_of
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import (
    INTERCEPT,
    JINGLE,
    Client,
    Component,
    Disconnected,
    Element,
    Refused,
    Stream,
    bare_name,
    unique,
)

ONE, TWO = "one.example.org", "two.example.org"
HOLD_S = 1.5
ANSWER_S = 0.04
"""The component answers after a random time of up to this."""
UNANSWERED = 0.001
"""The part of all questions that it never answers."""
TICK_S = 0.01
SETTLE_S = 30.0
ACTIONS = ("session-initiate", "transport-info", "session-info", "session-terminate")

Act = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Pair:
    """Requests from one client to another, by number."""

    name: str
    sender: Client
    recipient: Client
    sent: int = 0
    asked: set[int] = field(default_factory=set)
    arrived: list[int] = field(default_factory=list)
    answers: dict[int, list[str]] = field(default_factory=dict)

    def send(self) -> None:
        """The next request."""
        number, self.sent = self.sent, self.sent + 1
        name = f"{self.name}#{number}"
        self.sender.request(self.recipient.jid, ACTIONS[number % 4], name, stanza_id=name)

    def is_settled(self) -> bool:
        """Whether each request has an answer."""
        return len(self.answers) == self.sent


@dataclass(frozen=True, slots=True)
class Toll:
    """What became of the requests; all but `sent`, `arrived` and `refused` must be 0."""

    sent: int
    arrived: int
    refused: int
    lost: int
    """Neither with the recipient nor answered to the sender."""
    doubled: int
    reordered: int
    untrue: int
    """Answered by an error although they arrived, or by a result although they did not."""
    unanswered: int
    """Arrived and acknowledged, but the sender never heard."""

    def is_none(self) -> bool:
        """Whether nothing went wrong."""
        wrong = self.lost, self.doubled, self.reordered, self.untrue, self.unanswered
        return wrong == (0, 0, 0, 0, 0)


def toll(pairs: list[Pair], stopped: bool = False) -> Toll:
    """Count.

    If the server was stopped, only what the component was asked about counts as lost, for nobody
    knows what else the server had read, and acknowledgements may be under way for ever.
    """
    lost = doubled = reordered = untrue = unanswered = refused = 0
    for pair in pairs:
        times = Counter(pair.arrived)
        doubled += sum(n - 1 for n in times.values())
        doubled += sum(len(answers) - 1 for answers in pair.answers.values())
        reordered += sum(a > b for a, b in pairwise(pair.arrived))
        due = range(pair.sent) if not stopped else pair.asked
        lost += sum(n not in times and n not in pair.answers for n in due)
        for number, answers in pair.answers.items():
            refused += answers != ["result"]
            untrue += ("result" in answers) != (number in times)
        if not stopped:
            unanswered += sum(number not in pair.answers for number in times)
    return Toll(
        sum(pair.sent for pair in pairs),
        sum(len(set(pair.arrived)) for pair in pairs),
        refused,
        lost,
        doubled,
        reordered,
        untrue,
        unanswered,
    )


class Storm:
    """One server with two hosts, four pairs of clients between them, and a component."""

    def __init__(
        self, server: LocalServer, actors: AsyncExitStack, components: list[str], seed: int
    ) -> None:
        self.server = server
        self.pairs: list[Pair] = []
        self.acts: Counter[str] = Counter()
        self._actors = actors
        self._domains = components
        self._components: dict[str, Component] = {}
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    async def begin(self) -> None:
        """Everybody comes."""
        for domain in self._domains:
            await self.connect(domain)
        for caller in (ONE, TWO):
            for callee in (ONE, TWO):
                alice, bob = (
                    await self._client(f"alice@{caller}"),
                    await self._client(f"bob@{callee}"),
                )
                pair = Pair(unique("pair"), alice, bob)
                self.pairs.append(pair)
                self._spawn(self._hear(pair, alice))
                self._spawn(self._hear(pair, bob))

    async def end(self) -> None:
        """Nobody listens any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def blow(self, seconds: float, rate: float, acts: dict[str, Act]) -> None:
        """Send so many requests a second, as far as the machine can, while `acts` happen."""
        sent, started = 0, time.monotonic()
        ends = started + seconds
        acting = asyncio.create_task(self._act(acts, ends)) if acts else None
        while (now := time.monotonic()) < ends:
            # Who was held up catches up with no more than a burst.
            due = min(int((now - started) * rate) - sent, int(rate / 10))
            pairs = [pair for pair in self.pairs if pair.sender.is_open]
            for _ in range(due if pairs else 0):
                self._random.choice(pairs).send()
            sent = int((now - started) * rate)
            await asyncio.sleep(TICK_S)
        if acting is not None:
            await acting

    async def settled(self) -> None:
        """Wait until every request is answered, or nothing more will come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while not all(pair.is_settled() for pair in self.pairs):
                    self._news.clear()
                    await self._news.wait()

    async def blow_into_a_stop(self, rate: float) -> None:
        """Send on while the server is stopped in an orderly way."""
        blowing = asyncio.create_task(self.blow(20, rate, {}))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.server.stop)
        blowing.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await blowing
        for pair in self.pairs:
            for client in (pair.sender, pair.recipient):
                with suppress(TimeoutError):
                    await client.ended()
        await asyncio.sleep(0.1)

    # What happens meanwhile

    async def connect(self, domain: str) -> None:
        """The component connects, and takes the place of an earlier connection of its."""
        with suppress(Refused, Disconnected, ConnectionError):
            component = await Component.connect(self.server, domain)
            self._actors.push_async_callback(component.abort)
            self._components[domain] = component
            self._spawn(self._answer(component))

    async def cut(self) -> None:
        """The component's connection is cut; it comes back."""
        domain = self._random.choice(self._domains)
        await self._components[domain].abort()
        await asyncio.sleep(self._random.uniform(0, 0.1))
        await self.connect(domain)

    async def replace(self) -> None:
        """The component connects a second time."""
        await self.connect(self._random.choice(self._domains))

    async def reload_one(self) -> None:
        """The module of one host is loaded anew from its file."""
        await self.server.reload_module(True, self._random.choice((ONE, TWO)))

    async def off_and_on(self) -> None:
        """The module of one host is unloaded, and loaded a little later."""
        domain = self._random.choice((ONE, TWO))
        await self.server.reload_module(False, domain)
        await asyncio.sleep(self._random.uniform(0, 0.1))
        await self.server.reload_module(True, domain)

    async def kill(self) -> None:
        """The process of one host's module is killed (ejabberd)."""
        domain = self._random.choice((ONE, TWO))
        process = f'whereis(gen_mod:get_module_proc(<<"{domain}">>, mod_jingle_hnt))'
        await self._evaluate(f"catch exit({process}, kill).")
        await asyncio.sleep(0.2)  # ten within a second, and ejabberd starts all modules anew

    async def upgrade(self) -> None:
        """The module is compiled and put in the place of the one that runs (ejabberd)."""
        await self._evaluate('ext_mod:upgrade(<<"mod_jingle_hnt">>).')

    async def reload_config(self) -> None:
        """The server reads its configuration again (ejabberd)."""
        await self._evaluate("ejabberd_config:reload().")

    def acts_of(self) -> dict[str, Act]:
        """What can happen at this server."""
        acts: dict[str, Act] = {
            "cut": self.cut,
            "replace": self.replace,
            "reload": self.reload_one,
            "off and on": self.off_and_on,
        }
        if isinstance(self.server, Ejabberd):
            more = {"kill": self.kill, "upgrade": self.upgrade, "reload_config": self.reload_config}
            acts.update(more)
        return acts

    async def _act(self, acts: dict[str, Act], ends: float) -> None:
        # Each in turn and in no order, so that a short storm has every one.
        while time.monotonic() < ends:
            for name in self._random.sample(sorted(acts), len(acts)):
                if time.monotonic() < ends:
                    await acts[name]()
                    self.acts[name] += 1
                    await asyncio.sleep(self._random.uniform(0, 0.15))

    async def _evaluate(self, expressions: str) -> None:
        assert isinstance(self.server, Ejabberd)
        await self.server.evaluate(expressions)

    # Actors

    async def _client(self, bare: str) -> Client:
        login = Client.login(self.server, f"{bare}/{unique('r')}")
        client = await self._actors.enter_async_context(await login)
        return client

    async def _hear(self, pair: Pair, client: Client) -> None:
        async for stanza in _stanzas(client):
            if bare_name(stanza) != "iq":
                continue
            name, _, number = stanza.get("id", "").rpartition("#")
            if name != pair.name:
                continue
            if client is pair.recipient:
                pair.arrived.append(int(number))
                if client.is_open:
                    client.acknowledge(stanza)
            else:
                pair.answers.setdefault(int(number), []).append(stanza.get("type", ""))
                self._news.set()

    async def _answer(self, component: Component) -> None:
        loop = asyncio.get_running_loop()
        async for stanza in _stanzas(component):
            jingle = stanza.find(f".//{{{JINGLE}}}jingle")
            if bare_name(stanza) != "iq" or stanza.get("type") != "set" or jingle is None:
                continue
            name, _, number = jingle.get("sid", "").rpartition("#")
            for pair in self.pairs:
                if pair.name == name:
                    pair.asked.add(int(number))
            if self._random.random() >= UNANSWERED:
                delay = self._random.uniform(0, ANSWER_S)
                loop.call_later(delay, _say, component, _answer_to(stanza, jingle, int(number)))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _stanzas(stream: Stream) -> AsyncIterator[Element]:
    with suppress(Disconnected):
        while True:
            yield await stream.next(patience_s=3600)


def _answer_to(question: Element, jingle: Element, number: int) -> str:
    action, inside = "pass", ""
    if number % 3 == 0:
        payload = jingle_text(jingle.get("sid", ""), "<r xmlns='r'/>", jingle.get("action", ""))
        iq = f"<iq xmlns='jabber:client'>{payload}</iq>"
        action, inside = "replace", f"<forwarded xmlns='urn:xmpp:forward:0'>{iq}</forwarded>"
    return (
        f"<iq type='result' from='{question.get('to')}' to='{question.get('from')}'"
        f" id='{question.get('id')}'><intercept xmlns='{INTERCEPT}' action='{action}'>"
        f"{inside}</intercept></iq>"
    )


def _say(component: Component, text: str) -> None:
    if component.is_open:
        component.send(text)


def new_server(kind: str, components: list[str]) -> LocalServer:
    """Two hosts, of which one lets go on and one refuses what the component does not answer.

    ejabberd's module is installed by its own installer, so that it can be upgraded.
    """
    users = {"alice": "secret", "bob": "secret"}
    hosts = [
        VirtualHost(domain, users, components[number % len(components)], fail, HOLD_S)
        for number, (domain, fail) in enumerate(((ONE, "open"), (TWO, "closed")))
    ]
    secrets = dict.fromkeys(components, "secret")
    if kind != "ejabberd":
        # A stopping server resets the connection of who still writes, and with that throws away
        # what its kernel holds back (Nagle): all else reaches the client.
        return KINDS[kind](hosts, secrets, settings={"network_settings": {"nagle": False}})
    return Ejabberd([VirtualHost(h.domain, users) for h in hosts], secrets, module_on_path=False)


async def prepare(server: LocalServer, components: list[str]) -> None:
    """Install what `new_server` left out."""
    if isinstance(server, Ejabberd):
        source = server.directory / "modules" / "sources" / PACKAGE.name
        shutil.copytree(PACKAGE, source)
        hosts = [
            VirtualHost(domain, {}, components[number % len(components)], fail, HOLD_S)
            for number, (domain, fail) in enumerate(((ONE, "open"), (TWO, "closed")))
        ]
        text = {
            "append_host_config": {
                h.domain: {"modules": {"mod_jingle_hnt": options_of(h)}} for h in hosts
            }
        }
        (source / "conf" / "mod_jingle_hnt.yml").write_text(json.dumps(text))
        await server.evaluate('ext_mod:install(<<"mod_jingle_hnt">>).')


@dataclass(frozen=True, slots=True)
class Report:
    """What a storm did, and what became of the requests before and during the stop."""

    server: str
    acts: dict[str, int]
    seconds: float
    storm: Toll
    stop: Toll

    def is_calm(self) -> bool:
        """Whether nothing went wrong."""
        return self.storm.is_none() and self.stop.is_none()


async def storm(
    kind: str,
    seconds: float,
    *,
    rate: float = 600.0,
    components: int = 1,
    seed: int = 0,
    only: list[str] | None = None,
) -> Report:
    """Play one."""
    domains = [f"hnt{number}.example.org" for number in range(components)]
    async with new_server(kind, domains) as server, AsyncExitStack() as actors:
        await prepare(server, domains)
        storm = Storm(server, actors, domains, seed)
        await storm.begin()
        started = time.monotonic()
        acts = {n: act for n, act in storm.acts_of().items() if only is None or n in only}
        await storm.blow(seconds, rate, acts)
        took = time.monotonic() - started
        await storm.settled()
        before = toll(storm.pairs)
        if not before.is_none():
            sys.stderr.write(server.log_text()[-20000:])
        for pair in storm.pairs:
            pair.name, pair.sent = unique("pair"), 0
            pair.asked.clear()
            pair.arrived.clear()
            pair.answers.clear()
        await storm.blow_into_a_stop(rate)
        after = toll(storm.pairs, stopped=True)
        await storm.end()
        return Report(kind, dict(storm.acts), round(took, 1), before, after)


def main(arguments: list[str]) -> int:
    """Play storms as told; 1 if something went wrong in one of them."""
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("--server", choices=list(KINDS), help="both unless told")
    parser.add_argument("--seconds", type=float, default=60, help="of each storm (%(default)s)")
    parser.add_argument("--storms", type=int, default=2, help="of each server (%(default)s)")
    parser.add_argument("--rate", type=float, default=600, help="requests a second (%(default)s)")
    parser.add_argument("--components", type=int, choices=(1, 2), help="one, then two, unless told")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", metavar="ACT", help="nothing but these happen")
    options = parser.parse_args(arguments)
    calm = True
    for kind in [options.server] if options.server else KINDS:
        for number in range(options.storms):
            report = asyncio.run(
                storm(
                    kind,
                    options.seconds,
                    rate=options.rate,
                    components=options.components or 1 + number % 2,
                    seed=options.seed + number,
                    only=options.only,
                )
            )
            calm = calm and report.is_calm()
            sys.stdout.write(json.dumps(asdict(report)) + "\n")
            sys.stdout.flush()
    return 0 if calm else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
