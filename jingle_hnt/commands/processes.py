"""run, signalling: the processes of jingle-hnt, beside that of `commands.plane`."""

import argparse
import asyncio
import contextlib
import functools
import signal

from jingle_hnt.app import Signalling
from jingle_hnt.commands import AddConfig, Commands
from jingle_hnt.commands.asking import ask_at
from jingle_hnt.commands.plane import start, until_told
from jingle_hnt.config import Settings, load
from jingle_hnt.plane.probe import probe
from jingle_hnt.reload import Reloader
from jingle_hnt.supervisor import Supervisor, children
from jingle_hnt.wiring import Wiring, wire

DRAIN_POLL_S = 1.0


def add_to(commands: Commands, add_config: AddConfig) -> None:
    """Add the commands that run something."""
    for name, function, text in (
        ("run", run, "run both processes and keep them alive"),
        ("signalling", signalling, "run the signalling process alone"),
    ):
        command = commands.add_parser(name, help=text)
        add_config(command)
        command.set_defaults(command=function)


def run(options: argparse.Namespace) -> int:
    """Run both processes; the configuration is read first, so that a bad one is told once."""
    settings = start(options)
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


def signalling(options: argparse.Namespace) -> int:
    """Run the signalling process until SIGTERM; media goes on."""
    settings = start(options)
    reloader = Reloader(settings, lambda: load(options.config))
    asyncio.run(_signalling(wire(settings), reloader))
    return 0


async def _signalling(wiring: Wiring, reloader: Reloader) -> None:
    process = Signalling(wiring, reloader)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, process.hang_up_signal)
    await until_told(process.run())
