"""plane: the forwarding plane's process.

While it starts again after a crash no media flows, so this module imports only what it needs.
"""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Coroutine

from jingle_hnt import log
from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.config import Settings, load
from jingle_hnt.plane.engines import open_engine
from jingle_hnt.plane.server import PlaneServer


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the command."""
    command = commands.add_parser("plane", help="run the forwarding plane alone")
    add_config(command)
    command.set_defaults(command=plane)


def plane(options: argparse.Namespace) -> int:
    """Run the forwarding plane until SIGTERM; every media socket is closed then."""
    settings = start(options)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it has nothing to reload, and calls to keep
    engine = open_engine(settings.relay.engine, settings.relay.workers, settings.relay.limits)
    asyncio.run(until_told(PlaneServer(settings.state.plane_socket, engine).run()))
    return 0


def start(options: argparse.Namespace) -> Settings:
    """Read the configuration, and log as it says. Raises ConfigurationError."""
    settings = load(options.config)
    log.configure(settings.log.level, settings.log.format, settings.log.redact)
    return settings


async def until_told(work: Coroutine[object, object, None]) -> None:
    """Run until SIGTERM or SIGINT; an error of the work is raised as it is."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
