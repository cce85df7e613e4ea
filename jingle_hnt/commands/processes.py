"""run, plane, signalling: the processes of jingle-hnt."""

import argparse
import asyncio
import contextlib
import functools
import signal
from collections.abc import Coroutine

from jingle_hnt import log
from jingle_hnt.app import Signalling
from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import ask_at
from jingle_hnt.config import Settings, load
from jingle_hnt.plane.engines import open_engine
from jingle_hnt.plane.probe import probe
from jingle_hnt.plane.server import PlaneServer
from jingle_hnt.reload import Reloader
from jingle_hnt.supervisor import Supervisor, children
from jingle_hnt.wiring import Wiring, wire

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
            answer = await asyncio.to_thread(ask_at, path, {"command": "drain"})
            while answer is not None and answer.get("calls"):
                await asyncio.sleep(DRAIN_POLL_S)
                answer = await asyncio.to_thread(ask_at, path, {"command": "status"})


def plane(options: argparse.Namespace) -> int:
    """Run the forwarding plane until SIGTERM; every media socket is closed then."""
    settings = _start(options)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it has nothing to reload, and calls to keep
    engine = open_engine(settings.relay.engine, settings.relay.workers, settings.relay.limits)
    asyncio.run(_until_told(PlaneServer(settings.state.plane_socket, engine).run()))
    return 0


def signalling(options: argparse.Namespace) -> int:
    """Run the signalling process until SIGTERM; media goes on."""
    settings = _start(options)
    reloader = Reloader(settings, lambda: load(options.config))
    asyncio.run(_signalling(wire(settings), reloader))
    return 0


async def _signalling(wiring: Wiring, reloader: Reloader) -> None:
    process = Signalling(wiring, reloader)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, process.hang_up_signal)
    await _until_told(process.run())


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
