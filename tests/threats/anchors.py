"""What is attacked: a relay that is given calls, and ours, session core and plane as in production.

Every relay (rtpengine is in `theirs.py`) is given the same calls: parties behind NATs, who signal
the addresses that they have inside. We are told, as by a server module, where their XMPP
connections come from.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol

from jingle_hnt.app.plane_link import PLANE_RETRY_S
from jingle_hnt.app.signalling import drawn
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Effect, Release, Remember
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.errors import PlaneError, PortTaken
from jingle_hnt.jingle.effects import Answer, Bounce, Moved, Opened, Pass, Replace, Request
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.jingle.policy import LimitPolicy, RelayPolicy, SessionPolicy
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import (
    RTCP,
    RTP,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Crypto,
    Ice,
    RawUdp,
    TagKey,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.process.fd_store import CHANNEL, DescriptorStore
from jingle_hnt.relay.binding import Arm, BindingSpec, Event, Gate, Rivalry, Side
from jingle_hnt.relay.evidence import UNTOLD, Sighting
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.policy import PeerPolicy
from jingle_hnt.relay.ports import LOCAL, PortPool
from jingle_hnt.relay.srtp import read_keys
from jingle_hnt.store.journal import Journal
from tests.lab.world import RELAY, STRANGER, Lab
from tests.threats.guards import SUITE, Guard, Terms, agreed, credentials, master

DOMAIN = "example.org"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
KEY = ContentKey(Creator.INITIATOR, "voice")
PORTS = (24000, 26767)
USERS = 1000
"""Callers, who call in turn: limits by the minute remember each of them."""
START_S = 10.0
TICK_S = 0.1
Addresses = tuple[tuple[str, int], tuple[str, int]]
"""What the caller, and the callee, signal for RTP; RTCP is the next port."""

CONFIGURATION = """\
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
secret = "unused"
[relay]
interfaces = [{{ address = "{relay}" }}]
ports = "{ports[0]}-{ports[1]}"
[state]
directory = "{directory}"
runtime_directory = "{directory}"
"""


Start = Callable[[bool, socket.socket], Awaitable[tuple[Process, Path]]]
"""Starts a plane, or one that stands by, with its end of a channel to who holds its sockets: its
process, and the socket where it will listen."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made: the relay's RTP and RTCP ports that face the caller, and the callee."""

    number: int
    ports: tuple[tuple[int, int], tuple[int, int]]
    terms: tuple[Terms, Terms] = ({}, {})

    @property
    def live(self) -> tuple[int, ...]:
        """All its ports."""
        return self.ports[0] + self.ports[1]


@dataclass(frozen=True, slots=True)
class Seen:
    """Datagrams of strangers: those that the process had to look at, and those that the kernel
    dropped before it had."""

    process: int
    kernel: int


class Anchor(Protocol):
    """A relay under attack."""

    name: str

    @property
    def pid(self) -> int:
        """The process that is attacked."""

    async def call(self, number: int, signalled: Addresses, known: tuple[str, str]) -> Call:
        """Offer and accept; `known` holds where the parties' signalling comes from. Raises Refused
        where the relay will not have such a call."""

    async def offer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        """The first half of a call: the relay's RTP and RTCP ports that face the callee."""

    async def answer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        """The second half: the relay's ports that face the caller."""

    async def move(
        self, number: int, leg: int, signalled: tuple[str, int], generation: int
    ) -> None:
        """A party signals another transport address; the relay's ports stay."""

    async def guarded(self, number: int, signalled: Addresses, guard: Guard) -> Call:
        """A call with media that can be told from an attacker's."""

    async def reconnected(self, number: int, leg: int, address: str) -> None:
        """A party's signalling comes from another address now; it signals nothing else."""

    async def hang_up(self, number: int) -> None:
        """End a call."""

    async def seen(self) -> Seen | None:
        """What strangers have sent, where the relay tells."""


class Refused(Exception):
    """The relay does not make this call."""


class ByHalves:
    """Makes a call of an offer and an answer."""

    async def call(self: Anchor, number: int, signalled: Addresses, known: tuple[str, str]) -> Call:
        offered = await self.offer(number, signalled[0], known)
        return Call(number, (await self.answer(number, signalled[1], known), offered))


class Ours(ByHalves):
    """The session core and the plane, driven as `app` drives them, without XMPP between."""

    name = "jingle-hnt"

    client: PlaneClient
    process: Process

    def __init__(
        self, start: Start, policy: SessionPolicy, journal: Journal, address: str = RELAY
    ) -> None:
        self._address = ip_address(address)
        self._start = start
        self._policy = policy
        self._journal = journal
        self._numbers = iter(range(1, 1 << 30))
        self.registry = self._fresh_registry()
        self._tokens = iter(range(1, 1 << 30))
        self._answers: dict[int, Answer] = {}
        self._settling = asyncio.Lock()
        self._safe = DescriptorStore()
        self._names: dict[int, str] = {}
        # By the call's number, what its contents say besides, and where its caller was seen.
        self.described: dict[int, dict[str, Any]] = {}
        self.seen_at: dict[int, tuple[Sighting, ...]] = {}
        self.rivals: list[Rivalry] = []

    def _fresh_registry(
        self,
        ports: int = PORTS[1] - PORTS[0] + 1,
        choose: Callable[[int], int] = secrets.randbelow,
    ) -> Registry:
        interfaces = [Interface(self._address, self._address)]
        pool = PortPool(interfaces, PORTS[0], PORTS[0] + ports - 1, choose)
        return Registry(
            self._policy, Calls(Planes.of(pool), lambda: f"t{next(self._numbers)}", drawn)
        )

    @property
    def pid(self) -> int:
        """The plane's."""
        return self.process.pid

    async def start(self) -> None:
        """Start the plane and another that stands by, and meet it, as supervisor and `app` do."""
        self.process, end = await self._another(stands_by=False)
        await self._safe.give(end)
        self._spare, self._spare_end = await self._another(stands_by=True)
        await self._meet()

    async def _another(self, stands_by: bool) -> tuple[Process, socket.socket]:
        ours, theirs = self._safe.open()
        with theirs:
            process, self._path = await self._start(stands_by, theirs)
        return process, ours

    async def _meet(self) -> None:
        self.client = await _connected(self._path, self.on_event)
        reconcile(self.registry.calls, await self.client.snapshot(), time.monotonic())
        await self._settle()

    async def watch(self) -> None:
        """Hold some free ports open, as `app` does, to see who sprays."""
        sides: tuple[Side, Side] = (0, 1)
        for lease in self.registry.calls.planes[LOCAL].watch():
            pair = lease.bound(RTP), lease.bound(RTCP)
            spec = BindingSpec(f"watch.{lease.port}", pair)
            await self.client.bind([spec], [Arm(spec.name, side, 0, UNTOLD) for side in sides])

    async def crash(self) -> None:
        """Kill the plane; the one that stands by takes over, as the supervisor has it."""
        self.process.kill()
        await self.process.wait()
        self.process = self._spare
        assert self.process.stdin is not None
        self.process.stdin.write(b"begin\n")
        await self._safe.give(self._spare_end)
        await self.client.close()
        await self._meet()
        self._spare, self._spare_end = await self._another(stands_by=True)

    async def stop(self) -> None:
        """Kill the planes."""
        for process in (self.process, self._spare):
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._safe.close()
        await self.client.close()

    async def offer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        caller, callee = _parties(number)
        return _ports_in(
            await self._ask(Action.SESSION_INITIATE, number, caller, callee, signalled, known)
        )

    async def answer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        caller, callee = _parties(number)
        return _ports_in(
            await self._ask(Action.SESSION_ACCEPT, number, callee, caller, signalled, known[::-1])
        )

    async def rings(self, caller: str, number: int) -> bool:
        """Somebody calls, and nobody answers; whether the call was refused."""
        jingle = Jingle(
            Action.SESSION_INITIATE, f"f{number}", contents=(content((STRANGER, 9000)),)
        )
        callee = JID.of(f"b{number}@{DOMAIN}/x")
        answer = await self._request(jingle, JID.of(caller), callee, (STRANGER, ""))
        return isinstance(answer, Bounce)

    async def move(
        self, number: int, leg: int, signalled: tuple[str, int], generation: int
    ) -> None:
        """A party signals another transport address (transport-info)."""
        parties = _parties(number)
        jingle = Jingle(
            Action.TRANSPORT_INFO, f"s{number}", contents=(content(signalled, generation),)
        )
        await self._request(jingle, parties[leg], parties[1 - leg], ("", ""))

    async def informs(self, number: int, leg: int, info: Info) -> None:
        """A party holds the call, or goes on (session-info)."""
        parties = _parties(number)
        jingle = Jingle(Action.SESSION_INFO, f"s{number}", info=info)
        await self._request(jingle, parties[leg], parties[1 - leg], ("", ""))

    async def guarded(self, number: int, signalled: Addresses, guard: Guard) -> Call:
        """Keys and credentials pass: each party is told the other's."""
        parties, ports = _parties(number), []
        for leg, action in enumerate((Action.SESSION_INITIATE, Action.SESSION_ACCEPT)):
            jingle = Jingle(
                action, f"s{number}", contents=(_guarded(signalled[leg], guard, "ab"[leg], number),)
            )
            answer = await self._request(jingle, parties[leg], parties[1 - leg], ("", ""))
            if not isinstance(answer, Replace):
                raise Refused(f"{action.value}: {answer}")
            ports.append(_ports_in(answer))
        return Call(number, (ports[1], ports[0]), agreed(number, guard))

    async def reconnected(self, number: int, leg: int, address: str) -> None:
        """As the server module reports a resumed stream."""
        moved = Moved(_parties(number)[leg], ip_address(address))
        self.registry.moved(moved, time.monotonic())
        await self._settle()

    async def hang_up(self, number: int) -> None:
        caller, callee = _parties(number)
        jingle = Jingle(Action.SESSION_TERMINATE, f"s{number}")
        await self._request(jingle, caller, callee, ("", ""))

    def allow(self, limits: LimitPolicy | None = None, **times: float) -> None:
        """What calls that are made from now on may (`session.policy.Times`, `LimitPolicy`)."""
        policy = self.registry.policy
        relay = RelayPolicy(times.pop("linger_s", policy.relay.quarantine_s))
        times_ = replace(policy.times, **times)
        self.registry.policy = replace(
            policy, relay=relay, times=times_, limits=limits or policy.limits
        )

    def only(self, ports: int, choose: Callable[[int], int] = secrets.randbelow) -> None:
        """Have so many ports from now on, chosen so, and no call."""
        self.registry = self._fresh_registry(ports, choose)

    @property
    def log_text(self) -> str:
        """What the planes have logged."""
        return self._path.with_name("log").read_text()

    async def forget_and_remember(self) -> float:
        """The signalling process dies, and the next reads the journal; how long that takes."""
        await self.client.close()
        started = time.monotonic()
        self.registry = self._fresh_registry()
        now = time.monotonic()
        for record in self._journal.records():
            self.registry.restore(load(record, self.registry, now), now)
        self.client = await _connected(self._path, self.on_event)
        reconcile(self.registry.calls, await self.client.snapshot(), now)
        await self._settle()
        return time.monotonic() - started

    async def seen(self) -> Seen:
        process = kernel = 0
        for binding in await self.client.snapshot():
            for pinhole in binding.pinholes:
                process += pinhole.counters.dropped_stranger
                kernel += pinhole.counters.dropped_kernel
        return Seen(process, kernel)

    def on_event(self, event: Event) -> None:
        """An event of the plane."""
        if isinstance(event, Rivalry):
            self.rivals.append(event)
        self.registry.calls.on_event(event, time.monotonic())

    async def keep(self) -> None:
        """Let time pass, and carry out what it brings about."""
        while True:
            await asyncio.sleep(TICK_S)
            self.registry.calls.expire(time.monotonic())
            await self._settle()

    async def _ask(
        self,
        action: Action,
        number: int,
        sender: JID,
        recipient: JID,
        signalled: tuple[str, int],
        known: tuple[str, str],
    ) -> Replace:
        said = replace(content(signalled), **self.described.get(number, {}))
        jingle = Jingle(action, f"s{number}", contents=(said,))
        seen = self.seen_at.get(number, ()) if action is Action.SESSION_INITIATE else ()
        answer = await self._request(jingle, sender, recipient, known, seen)
        if not isinstance(answer, Replace):
            raise Refused(f"{action.value}: {answer}")
        return answer

    async def _request(
        self,
        jingle: Jingle,
        sender: JID,
        recipient: JID,
        known: tuple[str, str],
        seen: tuple[Sighting, ...] = (),
    ) -> Answer | None:
        token = next(self._tokens)
        ips = [ip_address(text) if text else None for text in known]
        request = Request(token, sender, recipient, jingle, *ips, sender_seen=seen)
        self.registry.receive(request, time.monotonic())
        while token not in self._answers:
            await self._settle()
        return self._answers.pop(token)

    async def _settle(self) -> None:
        async with self._settling:
            while effects := self.registry.calls.effects():
                for effect in effects:
                    await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Bind():
                try:
                    await self.client.bind(effect.specs, effect.orders)
                except PlaneError as error:
                    known = isinstance(error, PortTaken)
                    taken = effect.addresses(error.address) if known else ()
                    now = time.monotonic()
                    self.registry.calls.unbound(effect.session, effect.number, taken, now)
                else:
                    self.registry.calls.bound(effect.session, effect.number, time.monotonic())
            case Arm():
                await self.client.arm([effect])
            case Gate():
                await self.client.gate([effect])
            case Release(names=names):
                await self.client.release(names, self.registry.policy.relay.quarantine_s)
            case Remember(session=name):
                session = self.registry.find(name)
                if session is not None:
                    self._journal.put(name, dump(session, time.monotonic()))
            case Ended(session=name):
                self._journal.forget(name)
            case Pass() | Replace() | Bounce() | Opened():
                self._answers[effect.token] = effect


def _parties(number: int) -> tuple[JID, JID]:
    number %= USERS
    return JID.of(f"a{number}@{DOMAIN}/x"), JID.of(f"b{number}@{DOMAIN}/x")


def content(signalled: tuple[str, int], generation: int = 0) -> Content:
    """Audio, with candidates for RTP there and for RTCP at the next port."""
    host, port = signalled
    candidates = tuple(
        Candidate(c, generation, TransportAddress.of(host, port + c - 1), f"c{c}") for c in (1, 2)
    )
    return Content(KEY, None, RawUdp(candidates), "audio")


def _guarded(signalled: tuple[str, int], guard: Guard, party: str, number: int) -> Content:
    made = content(signalled)
    if guard is Guard.SDES:
        return replace(made, crypto=(Crypto("1", _keys(master(party, number))),))
    assert isinstance(made.transport, RawUdp)
    agent = credentials(party, number)
    candidates = made.transport.candidates
    return replace(made, transport=Ice(ICE_UDP, *agent, candidates, frozenset({1, 2}), 0))


def _keys(key: str) -> tuple[TagKey, ...]:
    return read_keys(SUITE, f"inline:{key}", "")


def _ports_in(answer: Replace) -> tuple[int, int]:
    rtp, rtcp = answer.substitution[KEY]
    return rtp.address.port, rtcp.address.port


@contextlib.asynccontextmanager
async def ours(
    lab: Lab | None, linger_s: float = 30.0, node: str = "relay", address: str = RELAY
) -> AsyncIterator[Ours]:
    """Our relay on this node of the lab; the lab's internet counts as public.

    Without a lab it runs on this host, as anybody.
    """
    nets = ("198.51.100.0/24", "203.0.113.0/24")
    peers = PeerPolicy(own=(ip_address(address),), allow_networks=tuple(map(ip_network, nets)))
    policy = SessionPolicy(frozenset({DOMAIN}), peers, RelayPolicy(linger_s))
    with tempfile.TemporaryDirectory(prefix="hnt-threats-") as name:
        file = Path(name) / "jingle-hnt.toml"
        file.write_text(CONFIGURATION.format(relay=address, ports=PORTS, directory=name))
        words = [sys.executable, "-m", "jingle_hnt", "plane", "--config", str(file)]

        async def start(stands_by: bool, end: socket.socket) -> tuple[Process, Path]:
            with (Path(name) / "log").open("ab") as log:
                command = lab.command(node, words) if lab else list(words)
                command += ["--standby"] * stands_by
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stderr=log,
                    stdin=asyncio.subprocess.PIPE,
                    env=os.environ | {CHANNEL: str(end.fileno())},
                    pass_fds=(end.fileno(),),
                )
            return process, Path(name) / "plane.sock"

        journal = Journal(Path(name) / "journal.sqlite")
        relay = Ours(start, policy, journal, address)
        await relay.start()
        keeping = asyncio.create_task(relay.keep())
        try:
            yield relay
        finally:
            keeping.cancel()
            await relay.stop()
            journal.close()


async def _connected(path: Path, on_event: Any) -> PlaneClient:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await PlaneClient.connect(path, on_event, lambda: None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PLANE_RETRY_S)
