"""Keeps the two processes of jingle-hnt alive: one command to start, one process to signal.

A child that dies is started again. The signalling process may come and go without the plane
noticing; that is the point of there being two. A child that says that it cannot start as configured
(exit status 78) ends the whole.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

EX_CONFIG = 78
"""Exit status of sysexits.h for a configuration that cannot be used."""

FIRST_PAUSE_S = 0.2
"""Before the second start again; the first is at once."""
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A child that lived this long is started again at once."""

GRACE_S = 5.0
"""How long a child may take to end before it is killed."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Child:
    """One process to keep: its name in the log, and its command line."""

    name: str
    command: Sequence[str]


class Supervisor:
    """Runs children, in this order, until it is told to stop; stops them in the reverse order.

    SIGHUP goes on to the child named `reloads`. SIGTERM and SIGINT stop it once `drain` is done;
    the second of them ends everything now. `alive` raises where the children do not do their work:
    while it does not, systemd's watchdog is kept quiet (sd_notify(3), WatchdogSec=).
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        alive: Callable[[], Awaitable[object]] | None = None,
        drain: Callable[[], Awaitable[object]] | None = None,
        reloads: str = "",
    ) -> None:
        self._children = children
        self._alive = alive
        self._drain = drain
        self._reloads = reloads
        self._running: dict[str, asyncio.subprocess.Process] = {}
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
        watching = asyncio.create_task(self._watch(watchdog_s()))
        notify("READY=1")
        await self._stopping.wait()
        notify("STOPPING=1")
        await self._drained()
        watching.cancel()
        for child, keeper in reversed(list(zip(self._children, keepers, strict=True))):
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._end(child)
        return self._status

    def _stop(self) -> None:
        """The first time in an orderly way, the second time now."""
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
        pause_s = 0.0
        while True:
            started_at = time.monotonic()
            process = await asyncio.create_subprocess_exec(*child.command, preexec_fn=_die_with_us)
            self._running[child.name] = process
            status = await process.wait()
            if status == EX_CONFIG:
                self._status = EX_CONFIG
                self._stopping.set()
                return
            if time.monotonic() - started_at >= STEADY_S:
                pause_s = 0.0
            log.error("process ended; it is started again", process=child.name, status=status)
            await asyncio.sleep(pause_s)
            pause_s = min(max(FIRST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S)

    async def _end(self, child: Child) -> None:
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


def children(configuration: str) -> list[Child]:
    """The two processes, for this configuration file. The plane comes first and goes last."""
    base = [sys.executable, "-m", "jingle_hnt"]
    return [
        Child(name, [*base, name, "--config", configuration]) for name in ("plane", "signalling")
    ]


def watchdog_s() -> float | None:
    """Seconds within which systemd wants to hear of us (sd_watchdog_enabled(3)); None for never."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if microseconds.isdecimal() and meant else None


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where it did not start us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.sendto(state.encode(), address)


def _die_with_us() -> None:
    """In the child, before it is replaced: a supervisor that is killed leaves no orphans.

    Nor does a SIGHUP end a child that has not got to know it yet.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
