"""The whole stage: a lab with a real server, jingle-hnt beside it, and phones behind NATs."""

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.lab.ejabberd import Ejabberd
from tests.lab.ejabberd_cluster import EjabberdCluster
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.world import (
    RELAY,
    RELAY6,
    SERVER,
    SERVER6,
    SERVER_ABROAD,
    SERVER_TOO,
    Lab,
    NatKind,
)

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
"""For whatever has to happen: how busy the machine is is never what is tried."""
SETTLING_S = 0.1
MUTUAL_S = 0.5
"""Within which the parties of a call hear each other, however busy the machine is."""
SETTLED_S = 0.3
"""So long, and longer than the interval of RTCP, nothing has come where nothing is on its way."""
LONGEST_ANSWER = 1 << 24
DOMAIN, COMPONENT, SECRET = "example.org", "hnt.example.org", "hush"
ABROAD = "elsewhere.example"
ROOMS = "rooms.example.org"
COMPONENTS = ("rtp", "rtcp")

Event = dict[str, Any]

SERVERS: dict[str, type[LocalServer]] = {"prosody": Prosody, "ejabberd": Ejabberd}
in_use: type[LocalServer] = Prosody
"""The server of the stages that are built from now on."""

CONFIGURATION = """\
[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "{server}:5347"
secret_file = "{directory}/secret"
allow_plaintext_to = ["203.0.113.0/24"]  # the lab's own wire

[relay]
interfaces = [{interfaces}]
ports = "{ports}"
quarantine_s = {quarantine_s}
allow_networks = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]  # the lab's internet
engine = "{engine}"
{relay_extra}

[state]
directory = "{state}"
runtime_directory = "{directory}"

[log]
redact = false
{extra}
"""


class Caller:
    """Drives one phone program (`caller.py`) and keeps everything that it says."""

    def __init__(self, jid: str, process: asyncio.subprocess.Process, public: str) -> None:
        self.jid = jid
        self.public = public
        self.events: list[Event] = []
        self._process = process
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def tell(self, do: str, **members: object) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **members}).encode() + b"\n")

    async def expect(
        self,
        event: str,
        having: Callable[[Event], bool] = lambda _: True,
        after: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> Event:
        """The first event of this name, or of one that ``|`` joins, after so many of all events;
        waits for it if need be."""
        async with asyncio.timeout(patience_s):
            while True:
                for said in self.events[after:]:
                    if said["event"] in event.split("|") and having(said):
                        return said
                self._news.clear()
                await self._news.wait()

    async def stats(self, content: str = "voice") -> dict[str, Event]:
        """What its components of a content sent and heard; empty where it has none."""
        after = len(self.events)
        self.tell("stats")
        said = await self.expect("stats", after=after)
        return dict(zip(COMPONENTS, said["media"].get(content, ()), strict=False))

    async def hears(
        self,
        packets: int,
        content: str = "voice",
        component: str = "rtp",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Wait until it has heard so many packets more than it has by now."""
        heard = before = len((await self.stats(content))[component]["numbers"])
        async with asyncio.timeout(patience_s):
            while heard < before + packets:
                await asyncio.sleep(0.05)
                heard = len((await self.stats(content))[component]["numbers"])

    async def settled(self, content: str = "voice") -> dict[str, Event]:
        """Its stats when it hears nothing any more: what is on its way is there by then."""
        before: dict[str, Event] = {}
        after = await self.stats(content)
        async with asyncio.timeout(PATIENCE_S):
            while [s["numbers"] for s in before.values()] != [s["numbers"] for s in after.values()]:
                await asyncio.sleep(SETTLED_S)
                before, after = after, await self.stats(content)
        return after

    @property
    def stanzas(self) -> list[str]:
        """Every stanza it received, as XML text."""
        return [said["xml"] for said in self.events if said["event"] == "stanza"]

    async def quit(self) -> None:
        """Let it go offline and end."""
        if self._process.returncode is None:
            with contextlib.suppress(ConnectionError):
                self.tell("quit")
            try:
                async with asyncio.timeout(5):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reading

    async def vanish(self) -> None:
        """Let it end as a device whose battery is empty: without a word."""
        self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.events.append(json.loads(line))
            self._news.set()


class Commands(Protocol):
    """Where programs run."""

    def command(self, node: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs something on a node."""


def _is_ready(status: Event) -> bool:
    return bool(status["ready"])


def _is_linked(status: Event) -> bool:
    """Without a module calls pass by, and it is never ready."""
    return bool(status["connected"] and status["plane"]["up"])


class Relay:
    """jingle-hnt in the relay's namespace, its two processes apart so that each can be ended."""

    def __init__(self, lab: Commands, directory: Path, node: str = "relay") -> None:
        self._lab = lab
        self._node = node
        self.directory = directory
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(
        self,
        *names: str,
        until: Callable[[Event], bool] = _is_ready,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Start these processes (both by default) and wait until calls would be relayed."""
        for name in names or ("plane", "signalling"):
            command = [sys.executable, "-m", "jingle_hnt", name]
            command += ["--config", str(self.directory / "jingle-hnt.toml")]
            with (self.directory / f"{name}.log").open("ab") as output:
                self.processes[name] = await asyncio.create_subprocess_exec(
                    *self._lab.command(self._node, command), stderr=output, cwd=ROOT
                )
        await self.until(until, patience_s)

    async def end(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one process."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.send_signal(how)
        await process.wait()

    async def stop(self) -> None:
        """End what runs, signalling first."""
        for name in sorted(self.processes, reverse=True):
            await self.end(name, signal.SIGTERM)

    def log_text(self) -> str:
        """What both processes have logged."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    async def status(self) -> Event:
        """The answer to `jingle-hnt status`; raises OSError while nobody answers."""
        return await self.ask("status")

    async def calls(self) -> list[Event]:
        """The calls that `jingle-hnt calls` lists."""
        answer = await self.ask("calls")
        found: list[Event] = answer["calls"]
        return found

    async def until(
        self,
        holds: Callable[[Event], bool],
        patience_s: float = PATIENCE_S,
        command: str = "status",
    ) -> Event:
        """Wait until the status (the answer to a command) is as wanted; returns it."""
        deadline = time.monotonic() + patience_s
        status: Event = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                status = await self.ask(command)
                if holds(status):
                    return status
            await asyncio.sleep(0.05)
        raise TimeoutError(f"status stays {status}\n{self.log_text()[-3000:]}")

    async def ask(self, command: str, **fields: object) -> Event:
        """The answer to a command; raises OSError while nobody answers."""
        path, limit = self.directory / "admin.sock", LONGEST_ANSWER
        reader, writer = await asyncio.open_unix_connection(path, limit=limit)
        try:
            writer.write(json.dumps({"command": command, **fields}).encode() + b"\n")
            answer: Event = json.loads(await reader.readline() or b"{}")
        except ValueError as error:
            raise OSError("no answer") from error
        finally:
            writer.close()
        if not answer:
            raise OSError("no answer")
        return answer


class Stage:
    """See the module's text; made by `stage`."""

    def __init__(
        self,
        lab: Lab,
        server: LocalServer,
        relay: Relay,
        domain: str = DOMAIN,
        abroad: LocalServer | None = None,
    ) -> None:
        self.lab = lab
        self.domain = domain
        self.server = server
        self.abroad = abroad
        self.relay = relay
        self.callers: list[Caller] = []

    async def phone(self, user: str, kind: NatKind, *extra: str) -> Caller:
        """A user at home behind a NAT of this kind, online; `extra` are options of the program."""
        known = any(caller.jid.startswith(f"{user}@") for caller in self.callers)
        node = f"{user}{len(self.callers)}" if known else user
        address, public = self.lab.site(node, kind)
        return await self.phone_at(node, user, address, public, extra=extra)

    async def ice_phone(
        self, user: str, kind: NatKind, *extra: str, program: str = "tests.lab.ice_phone"
    ) -> Caller:
        """The same with a phone that is an ICE agent."""
        address, public = self.lab.site(user, kind)
        return await self.phone_at(user, user, address, public, extra=extra, program=program)

    async def phone_at(
        self,
        node: str,
        user: str,
        address: str,
        public: str,
        port: int = 7078,
        server: str | None = None,
        extra: Sequence[str] = (),
        program: str = "tests.lab.caller",
        patience_s: float = PATIENCE_S,
    ) -> Caller:
        """A user online on a node that is there already; `program` is the phone's module."""
        jid = f"{user}@{self.domain}/phone"
        command = [sys.executable, "-m", program, "--jid", jid]
        command += [
            "--server",
            f"{server or self.server.c2s[0]}:5222",
            "--address",
            address,
            "--port",
            str(port),
            *extra,
        ]
        process = await asyncio.create_subprocess_exec(
            *self.lab.command(node, command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            limit=1 << 22,
        )
        caller = Caller(jid, process, public)
        self.callers.append(caller)
        await caller.expect("online", patience_s=patience_s)
        return caller


@contextlib.asynccontextmanager
async def stage(
    users: tuple[str, ...] = ("alice", "bob"),
    *,
    fail: str = "open",
    timeout_s: float = 3.0,
    engine: str = "auto",
    ports: str = "30000-30999",
    quarantine_s: float = 1.0,
    relay_extra: str = "",
    extra: str = "",
    relayed: bool = True,
    module: bool = True,
    six: bool = False,
    web: bool = False,
    rooms: bool = False,
    abroad: Sequence[str] = (),
    limited_but: Sequence[str] | None = None,
    processes: Sequence[str] = (),
    state_bytes: int = 0,
) -> AsyncIterator[Stage]:
    """A stage with server and relay up; everything is ended and removed afterwards.

    With `relayed` False the server has no module and jingle-hnt does not run; with `module`
    False it has none, and jingle-hnt runs; with `six` server and relay have IPv6 addresses beside
    their IPv4 ones; with `web` browsers can log in at its port 5280; with `rooms` it has rooms at
    ROOMS; with `limited_but` the server limits traffic as Debian's package has it, but not that of
    these users. `abroad` are users of a second server without us, at ABROAD, and `limited_but`
    limits them all. `processes` are those of jingle-hnt, where it is to be run in another way. With
    `state_bytes` the state directory is a disk of its own, of that size.
    """
    with (
        Lab() as lab,
        tempfile.TemporaryDirectory(prefix="hnt-stage-") as name,
        contextlib.ExitStack() as disks,
    ):
        directory = Path(name)
        lab.public("server", SERVER)
        lab.public("relay", RELAY)
        servers, relays = [SERVER], [RELAY]
        if issubclass(in_use, EjabberdCluster):
            lab.add_address("server", SERVER_TOO)
            servers.append(SERVER_TOO)
        if six:
            servers.append(lab.also("server", SERVER6))
            relays.append(lab.also("relay", RELAY6))
        (directory / "secret").write_text(SECRET)
        if state_bytes:
            disks.enter_context(_disk(directory / "state", state_bytes))
        values: Mapping[str, object] = {
            "component": COMPONENT,
            "domain": DOMAIN,
            "server": SERVER,
            "interfaces": ", ".join(f'{{ address = "{relay}" }}' for relay in relays),
            "directory": directory,
            "state": directory / "state" if state_bytes else directory,
            "engine": engine,
            "ports": ports,
            "quarantine_s": quarantine_s,
            "relay_extra": relay_extra,
            "extra": extra,
        }
        (directory / "jingle-hnt.toml").write_text(CONFIGURATION.format(**values))
        host = VirtualHost(
            DOMAIN,
            {user: "secret" for user in users},
            component=COMPONENT if relayed and module else None,
            fail=fail,
            timeout_s=timeout_s,
        )
        other: LocalServer | None = None
        if abroad:
            lab.public("abroad", SERVER_ABROAD)
            other = in_use(
                [VirtualHost(ABROAD, {user: "secret" for user in abroad})],
                {f"gateway.{ABROAD}": SECRET},
                listen=[SERVER_ABROAD],
                namespace=lab.namespace("abroad"),
                routes={DOMAIN: (SERVER, 5269), COMPONENT: (SERVER, 5269)},
                limited_but=None if limited_but is None else (),
            )
        server = in_use(
            [host],
            {COMPONENT: SECRET},
            listen=servers,
            namespace=lab.namespace("server"),
            web=5280 if web else None,
            rooms=ROOMS if rooms else None,
            routes={ABROAD: (SERVER_ABROAD, 5269)} if abroad else None,
            limited_but=limited_but,
        )
        await asyncio.to_thread(server.start)
        if other is not None:
            await asyncio.to_thread(other.start)
        made = Stage(lab, server, Relay(lab, directory), abroad=other)
        try:
            if relayed:
                await made.relay.start(*processes, until=_is_ready if module else _is_linked)
            yield made
        finally:
            await asyncio.gather(*(caller.quit() for caller in made.callers))
            await made.relay.stop()
            if other is not None:
                await asyncio.to_thread(other.close)
            await asyncio.to_thread(server.close)


@contextlib.contextmanager
def _disk(path: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes at this path."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


async def phones(at: Stage) -> tuple[Caller, Caller]:
    """Alice and Bob at home, behind a NAT each."""
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
    return alice, await at.phone("bob", NatKind.SYMMETRIC)


async def in_a_call(at: Stage) -> tuple[Caller, Caller]:
    """Alice has called Bob, and both hear each other."""
    alice, bob = await phones(at)
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted")
    await asyncio.sleep(1)
    return alice, bob


def delivered(sender: Event, receiver: Event, patience_s: float = MUTUAL_S) -> float:
    """The part of a component's packets that the other side heard, once the two hear each other.

    What is sent before, and in the first moments after, may meet a gate or a latch that waits for
    its order; so long after both have begun to send all counts, whoever is heard.
    """
    if not sender["sent_at"] or not receiver["sent_at"]:
        return 0.0
    began_at = max(sender["sent_at"][0], receiver["sent_at"][0])
    pairs = ((sender, receiver), (receiver, sender))
    first = [one["sent_at"][min(other["numbers"])] for one, other in pairs if other["numbers"]]
    mutual_at = max(first) if len(first) == len(pairs) else math.inf
    settled_at = max(began_at, min(mutual_at, began_at + patience_s)) + SETTLING_S
    wanted = {number for number, at in enumerate(sender["sent_at"]) if at > settled_at}
    return len(wanted & set(receiver["numbers"])) / len(wanted) if wanted else 0.0


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
