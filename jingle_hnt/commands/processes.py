"""run, signalling: the processes of jingle-hnt, beside that of `commands.plane`."""

import argparse
import asyncio
import contextlib
import functools
import signal
from pathlib import Path

import structlog

from jingle_hnt.app.signalling import Signalling
from jingle_hnt.commands.asking import ask_at, exchange
from jingle_hnt.commands.check import OPEN_FILES, offline
from jingle_hnt.commands.plane import raise_descriptor_limit, start, until_told
from jingle_hnt.errors import ConfigurationError
from jingle_hnt.plane.probe import probe
from jingle_hnt.process.lock import PATIENCE_S, alone
from jingle_hnt.process.supervisor import Supervisor, children
from jingle_hnt.settings import in_force
from jingle_hnt.settings.in_force import Kept
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.reload import Reloader
from jingle_hnt.settings.wiring import Wiring, wire

log = structlog.get_logger(__name__)

DRAIN_POLL_S = 1.0
READY_S, READY_POLL_S = 10.0, 0.1


def run(options: argparse.Namespace) -> int:
    """Run both processes; the configuration is read first, so that a bad one is told once."""
    settings = start(options)
    wire(settings)
    raise_descriptor_limit()
    _look_around(settings)
    with alone(settings.state.lock):
        return _supervise(settings, options)


def _look_around(settings: Settings) -> None:
    """Log what is not as it should be. Raises ConfigurationError where calls could not work."""
    for finding in offline(settings):
        if finding.verdict == "FAIL" and finding.subject == OPEN_FILES:
            raise ConfigurationError(f"{finding.subject}: {finding.text}")
        if finding.verdict != "ok":
            log.warning("self-check found a problem", subject=finding.subject, what=finding.text)


def _supervise(settings: Settings, options: argparse.Namespace) -> int:
    supervisor = Supervisor(
        children(str(options.config), in_force.begin(settings.state.kept, options.config)),
        ready=functools.partial(_until_ready, settings.state.admin_socket),
        alive=functools.partial(probe, settings.state.plane_socket),
        drain=functools.partial(_drain, settings) if settings.stop.drain_s else None,
        reloads="signalling",
    )
    return asyncio.run(supervisor.run())


async def _until_ready(path: Path) -> None:
    """Wait until a call would be relayed; no longer than READY_S: the server may be down."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            while True:
                if await asyncio.to_thread(_is_ready, path):
                    return
                await asyncio.sleep(READY_POLL_S)


def _is_ready(path: Path) -> bool:
    try:
        return bool(exchange(path, {"command": "status"}).get("ready"))
    except (OSError, ValueError):
        return False


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
    settings, orders = start(options), Kept()
    reloader = Reloader(settings, lambda: orders.reload(options.config))
    for option, value in dict(orders.order("options") or {}).items():
        with contextlib.suppress(ConfigurationError):
            reloader.alter(option, value)
    patience_s = PATIENCE_S if orders.is_supervised else 0.0
    with alone(settings.state.journal.with_suffix(".lock"), patience_s):
        asyncio.run(_signalling(wire(reloader.settings), reloader, orders))
    return 0


async def _signalling(wiring: Wiring, reloader: Reloader, orders: Kept) -> None:
    process = Signalling(wiring, reloader, orders)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, process.hang_up_signal)
    await until_told(process.run())
