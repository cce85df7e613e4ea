"""What goes wrong: each kind is a function that breaks something for a while and mends it.

All of a fault is drawn at random before it begins, so that a seed makes the same faults again.
"""

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.network import udp_socket
from tests.chaos.phones import Exchange, Town
from tests.chaos.verdict import Reach, Window
from tests.lab.play import DOMAIN, Stage
from tests.lab.processes import roles
from tests.lab.world import RELAY

POLL_S, ANSWER_S = 0.1, 1.0
BACK_S = 30.0
"""Until everything works again after a fault, however busy the machine is."""
WRITTEN_S = 5.0
"""From space on a full disk until all is written (row F30)."""
COMPONENT_PORT = 5347
FOREIGN_PORTS = 40
BLOCK = 1 << 16
HOGS = 3


class Say(Protocol):
    """Logs what happens; `began_at` is when its first second began."""

    began_at: float

    def __call__(self, event: str, **members: object) -> None: ...


@dataclass
class World:
    """What faults are done to, and what is known of it."""

    stage: Stage
    exchange: Exchange
    towns: tuple[Town, Town]
    state: Path
    say: Say
    windows: list[Window] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tracebacks: int = 0
    crossed: int = 0
    status: dict[str, Any] = field(default_factory=dict)
    worked_at: float = 0.0
    """When it was asked last whether calls would be relayed, if they would be; else 0."""
    is_drained: bool = False
    recovered: dict[str, list[float]] = field(default_factory=dict)
    disk: asyncio.Lock = field(default_factory=asyncio.Lock)
    server: asyncio.Lock = field(default_factory=asyncio.Lock)
    whole: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who does something to the disk, the server, the supervisor."""

    async def watch(self) -> None:
        """Keep `status` and `worked_at` up to date."""
        while True:
            asked_at = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S):
                    self.status = await self.stage.relay.status()
                works = self.status["connected"] and self.status["plane"]["up"]
            except (OSError, TimeoutError):
                works = False
            self.worked_at = asked_at if works else 0.0
            await asyncio.sleep(POLL_S)

    async def works(self, since: float) -> None:
        """Wait until everything works, and has been seen to after this moment."""
        while self.worked_at <= since:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S / 4)

    async def flowing(self) -> None:
        """Wait until no fault goes on that holds up media."""
        while any(w.reach is Reach.MEDIA and w.end == float("inf") for w in self.windows):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    @contextlib.asynccontextmanager
    async def during(self, kind: str, reach: Reach) -> AsyncIterator[None]:
        """A fault of this kind; it lasts until everything works again."""
        window = Window(kind, reach, time.monotonic())
        self.windows.append(window)
        try:
            yield
            mended_at = time.monotonic()
            if reach is not Reach.NOTHING:
                async with asyncio.timeout(BACK_S):
                    await self.works(mended_at)
            self.recovered.setdefault(kind, []).append(time.monotonic() - mended_at)
        except TimeoutError:
            self.fail(f"{kind}: it does not work again within {BACK_S:g} s: {self.status}")
        finally:
            window.end = time.monotonic()

    def fail(self, what: str) -> None:
        """Something is not as it must be."""
        self.failures.append(what)
        self.say("failure", what=what)

    # Processes

    @property
    def supervisor(self) -> int:
        return self.stage.relay.processes["run"].pid

    def pid_of(self, role: str) -> int | None:
        """The process that works as this: "signalling", "plane", or "spare"."""
        return roles(self.supervisor, self.stage.relay.directory).get(role)

    def send(self, number: signal.Signals, *roles: str) -> list[int]:
        """A signal to these processes; returns those that there are."""
        found = [pid for role in roles if (pid := self.pid_of(role)) is not None]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    async def ask(self, command: str, **fields: object) -> dict[str, Any]:
        """A command's answer, as soon as somebody answers."""
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    return await self.stage.relay.ask(command, **fields)
            await asyncio.sleep(POLL_S)


Fault = Callable[[World, random.Random], Awaitable[None]]


def _killing(*roles: str, reach: Reach) -> Fault:
    kind = "kill-" + "-".join(roles)

    async def kill(world: World, chance: random.Random) -> None:
        async with world.during(kind, reach):
            world.send(signal.SIGKILL, *roles)
            await asyncio.sleep(POLL_S)

    return kill


def _stopping(*roles: str, reach: Reach, most_s: float) -> Fault:
    kind = "stop-" + "-".join(roles)

    async def stop(world: World, chance: random.Random) -> None:
        seconds = chance.uniform(0.3, most_s)
        async with world.during(kind, reach):
            stopped = world.send(signal.SIGSTOP, *roles)
            await asyncio.sleep(seconds)
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    return stop


async def kill_again(world: World, chance: random.Random) -> None:
    """The signalling process dies again as soon as it is back."""
    pauses = [chance.uniform(0, 1.5) for _ in range(chance.randint(2, 3))]
    async with world.during("kill-again", Reach.SIGNALLING):
        for pause_s in pauses:
            world.send(signal.SIGKILL, "signalling")
            await asyncio.sleep(pause_s)


async def kill_plane_again(world: World, chance: random.Random) -> None:
    """The plane dies, and so does whoever has taken its place."""
    pause_s = chance.uniform(0.1, 1)
    async with world.during("kill-plane-again", Reach.MEDIA):
        for _ in range(2):
            world.send(signal.SIGKILL, "plane")
            await asyncio.sleep(pause_s)


async def kill_run(world: World, chance: random.Random) -> None:
    """The supervisor is killed, and everything with it; it is started again."""
    pause_s = chance.uniform(0, 1)
    async with world.whole, world.during("kill-run", Reach.MEDIA):
        await _start_again(world, pause_s)


async def kill_run_of_a_stopped_plane(world: World, chance: random.Random) -> None:
    """The supervisor is killed while its plane stands still."""
    pause_s = chance.uniform(0, 1)
    async with world.whole, world.during("kill-run-stopped", Reach.MEDIA):
        world.send(signal.SIGSTOP, "plane", "signalling")
        await asyncio.sleep(pause_s)
        await _start_again(world, 0.0)


async def _start_again(world: World, pause_s: float) -> None:
    await world.stage.relay.end("run")
    world.is_drained = False
    await asyncio.sleep(pause_s)
    await world.stage.relay.start("run", until=lambda _: True, patience_s=BACK_S)


async def stop_run(world: World, chance: random.Random) -> None:
    """The supervisor stands still, and starts nobody."""
    seconds, dies = chance.uniform(0.5, 4), chance.random() < 0.5
    reach = Reach.SIGNALLING if dies else Reach.NOTHING
    async with world.whole, world.during("stop-run", reach):
        os.kill(world.supervisor, signal.SIGSTOP)
        if dies:
            world.send(signal.SIGKILL, "signalling")
        await asyncio.sleep(seconds)
        os.kill(world.supervisor, signal.SIGCONT)


async def restart_server(world: World, chance: random.Random) -> None:
    """The XMPP server is stopped and started."""
    how, pause_s = chance.random() < 0.5, chance.uniform(0, 2)
    server = world.stage.server
    async with world.server, world.during("restart-server", Reach.SIGNALLING):
        await asyncio.to_thread(server.kill if how else server.stop)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(2 * POLL_S)
        async with asyncio.timeout(BACK_S):
            await world.exchange.all_online()


async def stop_server(world: World, chance: random.Random) -> None:
    """The XMPP server stands still."""
    seconds = chance.uniform(0.5, 5)
    async with world.server, world.during("stop-server", Reach.SIGNALLING):
        os.kill(world.stage.server.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(world.stage.server.pid, signal.SIGCONT)


async def cut_link(world: World, chance: random.Random) -> None:
    """The component's connection is cut, and both ends are told, or neither is."""
    seconds, reset = chance.uniform(0.3, 6), chance.random() < 0.5
    async with world.server, world.during("cut-link", Reach.SIGNALLING):
        lab = world.stage.lab
        await asyncio.to_thread(lab.cut, "server", COMPONENT_PORT, reset)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(lab.mend, "server")


async def reload_module(world: World, chance: random.Random) -> None:
    """The server's module is loaded anew."""
    async with world.server, world.during("reload-module", Reach.SIGNALLING):
        await world.stage.server.reload_module(on=True)


async def flush_nat(world: World, chance: random.Random) -> None:
    """A NAT forgets its mappings; what comes next comes from other ports."""
    town = chance.choice(world.towns)
    town.flushed.append(time.monotonic())
    await asyncio.to_thread(world.stage.lab.remap, town.name)
    town.flushed.append(time.monotonic())


async def unplug(world: World, chance: random.Random) -> None:
    """The relay's wire and its address are gone for a while."""
    seconds = chance.uniform(0.3, 3)
    async with world.whole, world.server, world.during("unplug", Reach.MEDIA):
        await asyncio.to_thread(world.stage.lab.unplug, "relay", RELAY)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(world.stage.lab.plug, "relay", RELAY)
        await asyncio.sleep(1.0)


async def full_disk(world: World, chance: random.Random) -> None:
    """The disk of the state directory is full for a while."""
    await _full(world, chance.uniform(1, 8))


async def full_disk_and_kill(world: World, chance: random.Random) -> None:
    """The signalling process, or the whole, dies while the disk is full."""
    seconds, whole, pause_s = chance.uniform(1, 6), chance.random() < 0.3, chance.uniform(0, 4)

    async def die() -> None:
        await asyncio.sleep(pause_s)
        if whole:
            await kill_run(world, chance)
        else:
            async with world.during("full-disk-kill", Reach.SIGNALLING):
                world.send(signal.SIGKILL, "signalling")
                await asyncio.sleep(POLL_S)

    await _full(world, seconds, die)


async def _full(
    world: World, seconds: float, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> None:
    async with world.disk:
        ballast = world.state / "ballast"
        async with world.during("full-disk", Reach.NOTHING):
            _fill(ballast)
            if meanwhile is not None:
                await meanwhile()
            for _ in range(int(seconds / POLL_S)):
                await asyncio.sleep(POLL_S)
                _fill(ballast)
        ballast.unlink()
        space_at = time.monotonic()
        while not (world.status["journal_healthy"] and world.status["history_healthy"]):
            await asyncio.sleep(POLL_S)
            if not world.worked_at:  # it is away, and writes when it is back
                space_at = time.monotonic()
            if time.monotonic() > space_at + WRITTEN_S:
                world.fail(f"not written {WRITTEN_S:g} s after space: {world.status}")
                return


def _fill(ballast: Path) -> None:
    """Take all that is left, to the last byte."""
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        size = BLOCK
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2


async def bad_file(world: World, chance: random.Random) -> None:
    """The configuration file cannot be used for a while, and somebody dies meanwhile."""
    text = chance.choice(["[xmpp", '[nonsense]\nx = "y"\n', ""])
    victim = chance.choice(["signalling", "plane", "spare", ""])
    reach = {"signalling": Reach.SIGNALLING, "plane": Reach.MEDIA}.get(victim, Reach.NOTHING)
    pause_s = chance.uniform(0.2, 2)
    file = world.stage.relay.directory / "jingle-hnt.toml"
    async with world.whole, world.during(f"bad-file-{victim}".rstrip("-"), reach):
        good = file.read_text()
        try:
            file.write_text(text)
            if "error" not in (answer := await world.ask("reload")):
                world.fail(f"an unusable file is reloaded: {answer}")
            if victim:
                world.send(signal.SIGKILL, victim)
            await asyncio.sleep(pause_s)
            mended_at = time.monotonic()
            if reach is not Reach.NOTHING:
                await world.works(mended_at)
        finally:
            file.write_text(good)


async def reload(world: World, chance: random.Random) -> None:
    """The configuration is read again; it is as it was."""
    async with world.whole, world.during("reload", Reach.NOTHING):
        os.kill(world.supervisor, signal.SIGHUP)


async def drain(world: World, chance: random.Random) -> None:
    """A drain, in which the signalling process dies: it goes on until it is ended."""
    dies, seconds = chance.random() < 0.7, chance.uniform(0.5, 3)
    async with world.whole:
        await world.ask("drain")
        world.is_drained = True
        if dies:
            async with world.during("drain-kill", Reach.SIGNALLING):
                world.send(signal.SIGKILL, "signalling")
                await asyncio.sleep(POLL_S)
        await asyncio.sleep(seconds)
        if not (await world.ask("status"))["draining"]:
            world.fail("a drain has ended by itself")
        await world.ask("undrain")
        world.is_drained = False


async def terminate(world: World, chance: random.Random) -> None:
    """An administrator ends calls."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            calls = await world.stage.relay.calls()
            for call in chance.sample(calls, min(2, len(calls))):
                await world.stage.relay.ask("terminate", call=call["call"])


async def busy(world: World, chance: random.Random) -> None:
    """Somebody else wants all of the machine."""
    seconds = chance.uniform(1, 4)
    async with world.during("busy", Reach.NOTHING):
        hogs = [
            await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
            for _ in range(HOGS)
        ]
        await asyncio.sleep(seconds)
        for hog in hogs:
            hog.kill()
            await hog.wait()


async def few_files(world: World, chance: random.Random) -> None:
    """The plane may open no more files for a while."""
    seconds, pid = chance.uniform(0.5, 4), world.pid_of("plane")
    if pid is None:
        return
    async with world.during("few-files", Reach.SIGNALLING):
        with contextlib.suppress(ProcessLookupError):
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
            await asyncio.sleep(seconds)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def foreign_ports(world: World, chance: random.Random) -> None:
    """Other programs take ports of the relay's for a while."""
    ports = [chance.randrange(30000, 31000) for _ in range(FOREIGN_PORTS)]
    seconds = chance.uniform(1, 6)
    taken: list[socket.socket] = []
    for port in ports:
        with contextlib.suppress(OSError):
            taken.append(udp_socket(world.stage.lab.namespace("relay"), (RELAY, port)))
    async with world.during("foreign-ports", Reach.NOTHING):
        await asyncio.sleep(seconds)
        for each in taken:
            each.close()


async def many_questions(world: World, chance: random.Random) -> None:
    """Administrators and their tools ask for everything at once."""
    async with world.during("many-questions", Reach.NOTHING):
        for _ in range(30):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await asyncio.gather(
                        *(world.stage.relay.ask(c) for c in ("calls", "status", "limits"))
                    )
                    await world.stage.relay.ask("history", party=f"u0@{DOMAIN}")


KINDS: dict[str, tuple[Fault, int]] = {
    "kill-signalling": (_killing("signalling", reach=Reach.SIGNALLING), 6),
    "kill-plane": (_killing("plane", reach=Reach.MEDIA), 4),
    "kill-both": (_killing("plane", "signalling", reach=Reach.MEDIA), 2),
    "kill-spare": (_killing("spare", reach=Reach.NOTHING), 2),
    "kill-again": (kill_again, 2),
    "kill-plane-again": (kill_plane_again, 1),
    "kill-run": (kill_run, 2),
    "kill-run-stopped": (kill_run_of_a_stopped_plane, 1),
    "stop-signalling": (_stopping("signalling", reach=Reach.SIGNALLING, most_s=6), 4),
    "stop-plane": (_stopping("plane", reach=Reach.MEDIA, most_s=8), 2),
    "stop-both": (_stopping("plane", "signalling", reach=Reach.MEDIA, most_s=4), 1),
    "stop-run": (stop_run, 2),
    "restart-server": (restart_server, 1),
    "stop-server": (stop_server, 2),
    "cut-link": (cut_link, 4),
    "reload-module": (reload_module, 2),
    "flush-nat": (flush_nat, 4),
    "unplug": (unplug, 2),
    "full-disk": (full_disk, 3),
    "full-disk-kill": (full_disk_and_kill, 2),
    "bad-file": (bad_file, 3),
    "reload": (reload, 1),
    "drain": (drain, 2),
    "terminate": (terminate, 1),
    "busy": (busy, 2),
    "few-files": (few_files, 1),
    "foreign-ports": (foreign_ports, 1),
    "many-questions": (many_questions, 1),
}
"""Each kind and how often it comes, beside the others."""
