"""The relays that are attacked: our session core and plane as in production, and rtpengine.

Both are given the same calls: parties behind NATs, who signal the addresses that they have inside.
We are told, as by a server module, where their XMPP connections come from; rtpengine has no word
for that, is run as its documentation advises against this attack (strict source, heuristic endpoint
learning), and is told what a SIP proxy would tell it.
"""

import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol

from benchmarks.network import udp_socket
from benchmarks.rtpengine import CONTROL, NOTHING_ELSE, Rtpengine, until_ready
from jingle_hnt.app import PLANE_RETRY_S
from jingle_hnt.errors import PlaneError, PortTaken
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, ContentKey, Creator, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, Event, Gate
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy
from jingle_hnt.relay.ports import PortPool
from jingle_hnt.session.effects import Answer, Bind, Effect, Release, Replace, Request
from jingle_hnt.session.policy import SessionPolicy, Times
from jingle_hnt.session.reconcile import reconcile
from jingle_hnt.session.registry import Registry
from tests.lab.world import RELAY, Lab

DOMAIN = "example.org"
KEY = ContentKey(Creator.INITIATOR, "voice")
PORTS = (30000, 32767)
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


Start = Callable[[], Awaitable[tuple[Process, Path]]]
"""Starts a plane: its process, and the socket where it will listen."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made: the relay's RTP and RTCP ports that face the caller, and the callee."""

    number: int
    ports: tuple[tuple[int, int], tuple[int, int]]

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

    async def hang_up(self, number: int) -> None:
        """End a call."""

    async def seen(self) -> Seen | None:
        """What strangers have sent, where the relay tells."""


class Refused(Exception):
    """The relay does not make this call."""


class Ours:
    """The session core and the plane, driven as `app` drives them, without XMPP between."""

    name = "jingle-hnt"

    client: PlaneClient
    process: Process

    def __init__(self, start: Start, policy: SessionPolicy) -> None:
        pool = PortPool(
            [Interface(ip_address(RELAY), ip_address(RELAY))], *PORTS, secrets.randbelow
        )
        names = iter(range(1, 1 << 30))
        self._start = start
        self.registry = Registry(policy, pool, lambda: f"t{next(names)}")
        self._tokens = iter(range(1, 1 << 30))
        self._answers: dict[int, Answer] = {}
        self._settling = asyncio.Lock()
        self._names: dict[int, str] = {}

    @property
    def pid(self) -> int:
        """The plane's."""
        return self.process.pid

    async def start(self) -> None:
        """Start the plane and meet it, as `app` does."""
        self.process, path = await self._start()
        self.client = await _connected(path, self.told)
        reconcile(self.registry, await self.client.snapshot(), time.monotonic())
        await self._settle()

    async def crash(self) -> None:
        """Kill the plane and start it again, as the supervisor does at once with a steady one."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Kill the plane."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.client.close()

    async def call(self, number: int, signalled: Addresses, known: tuple[str, str]) -> Call:
        offered = await self.offer(number, signalled[0], known)
        return Call(number, (await self.answer(number, signalled[1], known), offered))

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

    async def move(
        self, number: int, leg: int, signalled: tuple[str, int], generation: int
    ) -> None:
        """A party signals another transport address (transport-info)."""
        parties = _parties(number)
        jingle = Jingle(
            Action.TRANSPORT_INFO, f"s{number}", contents=(_content(signalled, generation),)
        )
        await self._request(jingle, parties[leg], parties[1 - leg], ("", ""))

    async def hang_up(self, number: int) -> None:
        caller, callee = _parties(number)
        jingle = Jingle(Action.SESSION_TERMINATE, f"s{number}")
        await self._request(jingle, caller, callee, ("", ""))

    async def seen(self) -> Seen:
        process = kernel = 0
        for binding in await self.client.snapshot():
            for pinhole in binding.pinholes:
                process += pinhole.counters.dropped_stranger
                kernel += pinhole.counters.dropped_kernel
        return Seen(process, kernel)

    def told(self, event: Event) -> None:
        """An event of the plane."""
        self.registry.told(event, time.monotonic())

    async def keep(self) -> None:
        """Let time pass, and carry out what it brings about."""
        while True:
            await asyncio.sleep(TICK_S)
            self.registry.expire(time.monotonic())
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
        jingle = Jingle(action, f"s{number}", contents=(_content(signalled),))
        answer = await self._request(jingle, sender, recipient, known)
        if not isinstance(answer, Replace):
            raise Refused(f"{action.value}: {answer}")
        return answer

    async def _request(
        self, jingle: Jingle, sender: JID, recipient: JID, known: tuple[str, str]
    ) -> Answer | None:
        token = next(self._tokens)
        ips = [ip_address(text) if text else None for text in known]
        self.registry.receive(Request(token, sender, recipient, jingle, *ips), time.monotonic())
        while token not in self._answers:
            await self._settle()
        return self._answers.pop(token)

    async def _settle(self) -> None:
        async with self._settling:
            while effects := self.registry.effects():
                for effect in effects:
                    await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Bind():
                try:
                    await self.client.bind(effect.specs, effect.orders)
                except PlaneError as error:
                    taken, now = isinstance(error, PortTaken), time.monotonic()
                    self.registry.unbound(effect.session, effect.number, taken, now)
                else:
                    self.registry.bound(effect.session, effect.number, time.monotonic())
            case Arm():
                await self.client.arm([effect])
            case Gate():
                await self.client.gate([effect])
            case Release(names=names):
                await self.client.release(names, self.registry.policy.times.linger_s)
            case _ if hasattr(effect, "token"):
                self._answers[effect.token] = effect  # type: ignore[assignment]


def _parties(number: int) -> tuple[JID, JID]:
    return JID.of(f"a{number}@{DOMAIN}/x"), JID.of(f"b{number}@{DOMAIN}/x")


def _content(signalled: tuple[str, int], generation: int = 0) -> Content:
    host, port = signalled
    candidates = tuple(
        Candidate(c, generation, TransportAddress.of(host, port + c - 1), f"c{c}") for c in (1, 2)
    )
    return Content(KEY, None, RawUdp(candidates), "audio")


def _ports_in(answer: Replace) -> tuple[int, int]:
    rtp, rtcp = answer.substitution[KEY]
    return rtp.address.port, rtcp.address.port


class Theirs:
    """Debian's rtpengine, in userspace."""

    name = "rtpengine"

    def __init__(self, daemon: Rtpengine) -> None:
        self._daemon = daemon
        self.pid = daemon.pid

    async def call(self, number: int, signalled: Addresses, known: tuple[str, str]) -> Call:
        offered = await self.offer(number, signalled[0], known)
        return Call(number, (await self.answer(number, signalled[1], known), offered))

    async def offer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        return await self._ask(number, "offer", signalled)

    async def answer(
        self, number: int, signalled: tuple[str, int], known: tuple[str, str]
    ) -> tuple[int, int]:
        return await self._ask(number, "answer", signalled)

    async def move(
        self, number: int, leg: int, signalled: tuple[str, int], generation: int
    ) -> None:
        await self._ask(number, ("offer", "answer")[leg], signalled)

    async def _ask(self, number: int, command: str, signalled: tuple[str, int]) -> tuple[int, int]:
        order: dict[str, Any] = {
            "command": command,
            "call-id": f"call-{number}",
            "from-tag": "caller",
            "flags": ["strict source"],
            "replace": ["origin"],
            "ICE": "remove",
            "sdp": _sdp(signalled),
        }
        if command == "answer":
            order["to-tag"] = "callee"
        try:
            told = await asyncio.to_thread(self._daemon.ask, order)
        except (RuntimeError, TimeoutError) as error:
            raise Refused(str(error)) from error
        return _ports_of(told["sdp"])

    async def hang_up(self, number: int) -> None:
        order: dict[str, Any] = {"command": "delete", "call-id": f"call-{number}"}
        order |= {"from-tag": "caller", "delete-delay": 0}
        await asyncio.to_thread(self._daemon.ask, order)

    async def seen(self) -> None:
        return None


def _sdp(signalled: tuple[str, int]) -> str:
    host, port = signalled
    where = f"IN IP{6 if ':' in host else 4} {host}"
    return (
        f"v=0\r\no=- 1 1 {where}\r\ns=-\r\nc={where}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0\r\na=rtcp:{port + 1}\r\n"
    )


def _ports_of(sdp: str) -> tuple[int, int]:
    lines = sdp.splitlines()
    rtp = next(int(line.split()[1]) for line in lines if line.startswith("m=audio"))
    rtcp = (int(line[7:].split()[0]) for line in lines if line.startswith("a=rtcp:"))
    return rtp, next(rtcp, rtp + 1)


@contextlib.asynccontextmanager
async def ours(lab: Lab, linger_s: float = 30.0) -> AsyncIterator[Ours]:
    """Our relay in the lab's relay namespace; the lab's internet counts as public."""
    nets = ("198.51.100.0/24", "203.0.113.0/24")
    peers = PeerPolicy(own=(ip_address(RELAY),), allowed=tuple(map(ip_network, nets)))
    times = Times(linger_s=linger_s)
    policy = SessionPolicy(frozenset({DOMAIN}), peers, times=times)
    with tempfile.TemporaryDirectory(prefix="hnt-threats-") as name:
        file = Path(name) / "jingle-hnt.toml"
        file.write_text(CONFIGURATION.format(relay=RELAY, ports=PORTS, directory=name))
        words = [sys.executable, "-m", "jingle_hnt", "plane", "--config", str(file)]

        async def start() -> tuple[Process, Path]:
            with (Path(name) / "log").open("ab") as log:
                command = lab.command("relay", words)
                process = await asyncio.create_subprocess_exec(*command, stderr=log)
            return process, Path(name) / "plane.sock"

        relay = Ours(start, policy)
        await relay.start()
        keeping = asyncio.create_task(relay.keep())
        try:
            yield relay
        finally:
            keeping.cancel()
            await relay.stop()


async def _connected(path: Path, on_event: Any) -> PlaneClient:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await PlaneClient.connect(path, on_event, lambda: None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PLANE_RETRY_S)


@contextlib.asynccontextmanager
async def theirs(lab: Lab, linger_s: float = 0.0) -> AsyncIterator[Theirs]:
    """rtpengine in the lab's relay namespace."""
    words = ["rtpengine", *NOTHING_ELSE, "--table=-1", f"--interface={RELAY}"]
    words += [f"--listen-ng={CONTROL[0]}:{CONTROL[1]}", "--endpoint-learning=heuristic"]
    words += [f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}"]
    with udp_socket(lab.namespace("relay")) as control:
        control.settimeout(0.5)
        control.connect(CONTROL)
        process = await asyncio.create_subprocess_exec(
            *lab.command("relay", words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            daemon = Rtpengine(process.pid, control)
            await until_ready(daemon, process)
            yield Theirs(daemon)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
