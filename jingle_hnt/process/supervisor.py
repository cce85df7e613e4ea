"""Keeps the two processes of jingle-hnt alive: one command to start, one process to signal.

A child that dies is started again, or replaced by its spare; so is a spare. The plane does not
notice a restart of the signalling process: that is why there are two. A child that cannot start as
configured (exit status 78) at its first start ends the supervisor. A later failure of one child is
no reason to end the other.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from jingle_hnt.process.fd_store import CHANNEL, DescriptorStore

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.2
"""Before the second start again; the first is at once."""
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A child that lived this long is started again at once."""

SPARE_AFTER_S = 1.0
"""When a process is made to stand by for one that has begun."""

LONGEST_SPARE_PAUSE_S = 30.0

GRACE_S = 5.0
"""How long a child may take to end before it is killed."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep: its name in the log, its command line, and additions to its environment.

    `standby` starts a spare, which begins its work when it is sent a line. A child that `keeps` has
    sockets that outlive it (see `fd_store`).
    """

    name: str
    command: Sequence[str]
    standby: Sequence[str] = ()
    keeps: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs children, in this order, until it is told to stop; stops them in the reverse order.

    SIGHUP goes on to the child named `reloads`. SIGTERM and SIGINT stop it once `drain` is done;
    the second of them ends everything now. Systemd is told that we are ready when `ready` has
    returned. `alive` raises where the children do not do their work:
    while it does not, systemd's watchdog is kept quiet (sd_notify(3), WatchdogSec=).
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        ready: Callable[[], Awaitable[object]] | None = None,
        alive: Callable[[], Awaitable[object]] | None = None,
        drain: Callable[[], Awaitable[object]] | None = None,
        reloads: str = "",
    ) -> None:
        self._children = children
        self._ready = ready
        self._alive = alive
        self._drain = drain
        self._reloads = reloads
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._spares: dict[str, asyncio.subprocess.Process] = {}
        self._safe = DescriptorStore()
        self._ends: dict[int, socket.socket] = {}
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a child cannot start; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        telling = asyncio.create_task(self._tell_when_ready())
        watching = asyncio.create_task(self._watch(watchdog_s()))
        await self._stopping.wait()
        telling.cancel()
        notify("STOPPING=1")
        await self._drained()
        watching.cancel()
        for child, keeper in reversed(list(zip(self._children, keepers, strict=True))):
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._end(child)
        self._safe.close()
        return self._status

    async def _tell_when_ready(self) -> None:
        if self._ready is not None:
            await self._ready()
        notify("READY=1")

    def _stop(self) -> None:
        """Stop: the first time after a drain, the second time at once."""
        if self._stopping.is_set():
            self._now.set()
        self._stopping.set()

    def _reload(self) -> None:
        process = self._running.get(self._reloads)
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGHUP)

    async def _drained(self) -> None:
        """Wait for the drain to end, or a second signal; after a failure there is none."""
        if self._drain is None or self._status:
            return
        draining = asyncio.ensure_future(self._drain())
        now = asyncio.create_task(self._now.wait())
        await asyncio.wait((draining, now), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, now):
            task.cancel()
        await asyncio.gather(draining, now, return_exceptions=True)

    async def _watch(self, limit_s: float | None) -> None:
        """Tell the watchdog that all is well, as long as it is, three times in each period."""
        if limit_s is None or self._alive is None:
            return
        while True:
            try:
                async with asyncio.timeout(limit_s / 3):
                    await self._alive()
            except Exception as error:
                log.warning("the watchdog's probe failed", why=str(error) or type(error).__name__)
            else:
                notify("WATCHDOG=1")
            await asyncio.sleep(limit_s / 3)

    async def _keep(self, child: Child) -> None:
        pause_s, is_first = 0.0, True
        while True:
            started_at = time.monotonic()
            process = await self._begin(child)
            self._running[child.name] = process
            preparing = asyncio.create_task(self._prepare(child))
            try:
                status = await process.wait()
            finally:
                preparing.cancel()
            if status == os.EX_CONFIG and is_first:
                self._status = os.EX_CONFIG
                self._stopping.set()
                return
            is_first = False
            if time.monotonic() - started_at >= STEADY_S:
                pause_s = 0.0
            log.error("process ended; it is started again", process=child.name, status=status)
            await asyncio.sleep(pause_s)
            pause_s = min(max(FIRST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S)

    async def _begin(self, child: Child) -> asyncio.subprocess.Process:
        """Return a working process: the spare, or a new one."""
        process = self._spares.pop(child.name, None)
        if process is None or process.returncode is not None:
            self._ends.pop(process.pid if process else 0, None)
            process = await self._start(child, child.command)
        else:
            assert process.stdin is not None
            process.stdin.write(b"begin\n")
        if child.keeps:
            await self._safe.give(self._ends.pop(process.pid))
        return process

    async def _start(
        self, child: Child, command: Sequence[str], stdin: int | None = None
    ) -> asyncio.subprocess.Process:
        if not child.keeps:
            return await asyncio.create_subprocess_exec(
                *command,
                preexec_fn=_die_with_us,
                stdin=stdin,
                env=os.environ | dict(child.environment),
            )
        ours, theirs = self._safe.open()
        with theirs:
            environment = os.environ | dict(child.environment) | {CHANNEL: str(theirs.fileno())}
            process = await asyncio.create_subprocess_exec(
                *command,
                preexec_fn=_die_with_us,
                stdin=stdin,
                env=environment,
                pass_fds=(theirs.fileno(),),
            )
        self._ends[process.pid] = ours
        return process

    async def _prepare(self, child: Child) -> None:
        """Start a spare, after its working process has had time to start.

        A spare that dies is replaced as well: the kernel kills it first if memory is short.
        """
        pause_s, started_at = SPARE_AFTER_S, time.monotonic()
        while child.standby:
            spare = self._spares.get(child.name)
            if spare is None or spare.returncode is not None:
                if spare is not None:
                    self._ends.pop(spare.pid, None)
                await asyncio.sleep(pause_s)
                started_at = time.monotonic()
                await asyncio.shield(asyncio.ensure_future(self._stand_by(child)))
                spare = self._spares[child.name]
            status = await spare.wait()
            log.warning(
                "the spare process ended; it is replaced", process=child.name, status=status
            )
            steady = time.monotonic() - started_at >= STEADY_S
            pause_s = SPARE_AFTER_S if steady else min(2 * pause_s, LONGEST_SPARE_PAUSE_S)

    async def _stand_by(self, child: Child) -> None:
        pipe = asyncio.subprocess.PIPE
        self._spares[child.name] = await self._start(child, child.standby, pipe)

    async def _end(self, child: Child) -> None:
        spare = self._spares.pop(child.name, None)
        if spare is not None and spare.returncode is None:
            spare.kill()
            await spare.wait()
        process = self._running.get(child.name)
        if process is None or process.returncode is not None:
            return
        process.terminate()
        ended, now = asyncio.create_task(process.wait()), asyncio.create_task(self._now.wait())
        await asyncio.wait((ended, now), timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        if not ended.done():
            log.error("process does not end at once; it is killed", process=child.name)
            process.kill()
        await ended


def children(configuration: str, environment: Mapping[str, str] | None = None) -> list[Child]:
    """The two processes, for this configuration file. The plane comes first and goes last.

    No media flows while no plane runs, and most of its start is loading: so a spare stands by.
    """
    environment = environment or {}
    base = [sys.executable, "-m", "jingle_hnt"]
    plane = [*base, "plane", "--config", configuration]
    return [
        Child("plane", plane, [*plane, "--standby"], keeps=True, environment=environment),
        Child(
            "signalling",
            [*base, "signalling", "--config", configuration],
            environment=environment,
        ),
    ]


def watchdog_s() -> float | None:
    """Return systemd's watchdog period in seconds; None if it has none (sd_watchdog_enabled(3))."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if microseconds.isdecimal() and meant else None


def notify(state: str) -> None:
    """Notify systemd (sd_notify(3)), if it has started us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.sendto(state.encode(), address)


def _die_with_us() -> None:
    """Have the kernel kill this child when its supervisor dies; called in the child before exec.

    The signal is SIGKILL: a child that stands still obeys no other, and would keep the next one
    out. A SIGHUP is ignored until the child handles it.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
