"""plane: the forwarding plane's process.

While it starts again after a crash no media flows, so this module imports only what it needs.
"""

import argparse
import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from jingle_hnt import log
from jingle_hnt.plane.engines import open_engine
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.process import fd_store
from jingle_hnt.process.lock import PATIENCE_S
from jingle_hnt.settings.in_force import Kept
from jingle_hnt.settings.model import Settings


def plane(options: argparse.Namespace) -> int:
    """Run the forwarding plane until SIGTERM; every media socket is closed then."""
    settings = start(options)
    if options.standby:
        if not sys.stdin.readline():
            return 0  # whom we would have replaced has ended in an orderly way
        settings = start(options)  # as it is now
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it has nothing to reload, and calls to keep
    raise_descriptor_limit()
    engine = open_engine(settings.relay.engine, settings.relay.workers, settings.relay.limits)
    path = settings.state.plane_socket
    server = PlaneServer(
        path,
        engine,
        fd_store.inherited(),
        fd_store.outgoing(),
        patience_s=PATIENCE_S if Kept().is_supervised else 0.0,
    )
    asyncio.run(until_told(server.run()))
    return 0


def descriptor_limit() -> tuple[int, int]:
    """Return the limit of open files, and how far it could be raised.

    Read from a file: systemd's filter of system calls ends who calls getrlimit(2).
    """
    lines = Path("/proc/self/limits").read_text().splitlines()
    words = next(line for line in lines if line.startswith("Max open files")).split()
    soft, hard = (resource.RLIM_INFINITY if w == "unlimited" else int(w) for w in words[3:5])
    return soft, hard


def raise_descriptor_limit() -> None:
    """Allow ourselves, and whom we start, as many open files as may be."""
    soft, most = descriptor_limit()
    if soft != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def start(options: argparse.Namespace) -> Settings:
    """Read the configuration, and log as it says. Raises ConfigurationError."""
    settings = Kept().settings(options.config)
    log.configure(settings.log.level, settings.log.format, settings.log.redact)
    return settings


async def until_told(work: Coroutine[object, object, None]) -> None:
    """Run until SIGTERM or SIGINT; an error of the work is raised as it is.

    What is loaded by now stays until then: the garbage collector need not look at it again and
    again, which would stop all calls for some 60 ms each time.
    """
    gc.freeze()
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
