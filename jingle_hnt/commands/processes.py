"""run, plane, signalling: the processes of jingle-hnt."""

import argparse
import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Coroutine

import structlog

from jingle_hnt import log
from jingle_hnt.app import Signalling, wire
from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.inspect import ask
from jingle_hnt.config import Settings, load
from jingle_hnt.errors import ConfigurationError
from jingle_hnt.plane.engines import open_engine
from jingle_hnt.plane.probe import probe
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.supervisor import Supervisor, children

logger = structlog.get_logger(__name__)

DRAIN_POLL_S = 1.0


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the commands that run something."""
    for name, function, text in (
        ("run", run, "run both processes and keep them alive"),
        ("plane", plane, "run the forwarding plane alone"),
        ("signalling", signalling, "run the signalling process alone"),
    ):
        command = commands.add_parser(name, help=text)
        add_config(command)
        command.set_defaults(command=function)


def run(options: argparse.Namespace) -> int:
    """Run both processes; the configuration is read first, so that a bad one is told once."""
    settings = _start(options)
    wire(settings)
    supervisor = Supervisor(
        children(str(options.config)),
        alive=functools.partial(probe, settings.state.plane_socket),
        drain=functools.partial(_drain, settings) if settings.stop.drain_s else None,
        reloads="signalling",
    )
    return asyncio.run(supervisor.run())


async def _drain(settings: Settings) -> None:
    """Ask for a drain, and wait until the last call is over or `stop.drain_s` has passed."""
    path = settings.state.admin_socket
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.stop.drain_s):
            answer = await asyncio.to_thread(ask, path, {"command": "drain"})
            while answer is not None and answer.get("calls"):
                await asyncio.sleep(DRAIN_POLL_S)
                answer = await asyncio.to_thread(ask, path, {"command": "status"})


def plane(options: argparse.Namespace) -> int:
    """Run the forwarding plane until SIGTERM; every media socket is closed then."""
    settings = _start(options)
    engine = open_engine(settings.relay.engine, settings.relay.workers)
    asyncio.run(_until_told(PlaneServer(settings.state.plane_socket, engine).run()))
    return 0


def signalling(options: argparse.Namespace) -> int:
    """Run the signalling process until SIGTERM; media goes on."""
    wiring = wire(_start(options))
    asyncio.run(_signalling(options, Signalling(wiring)))
    return 0


async def _signalling(options: argparse.Namespace, process: Signalling) -> None:
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, functools.partial(_reload, options, process.reload)
    )
    await _until_told(process.run())


def _reload(options: argparse.Namespace, take_up: Callable[[Settings], None]) -> None:
    """Read the file again; one that cannot be used changes nothing."""
    try:
        settings = load(options.config)
    except ConfigurationError as error:
        logger.error("the configuration is not taken up", why=str(error))
        return
    log.configure(settings.log.level, settings.log.format, settings.log.redact)
    take_up(settings)


def _start(options: argparse.Namespace) -> Settings:
    settings = load(options.config)
    log.configure(settings.log.level, settings.log.format, settings.log.redact)
    return settings


async def _until_told(work: Coroutine[object, object, None]) -> None:
    """Run until SIGTERM or SIGINT; an error of the work is raised as it is."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
