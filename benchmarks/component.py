"""jingle-hnt behind a server, both of its processes known by their ids."""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.prosody import Prosody

DOMAIN, COMPONENT, SECRET = "example.org", "hnt.example.org", "hush"
START_S = 10.0
CONFIGURATION = """\
[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "{server[0]}:{server[1]}"
secret_file = "{directory}/secret"
[relay]
interfaces = [{{ address = "127.0.0.1", advertise = "203.0.113.9" }}]
ports = "20000-29999"
quarantine_s = 0
[state]
directory = "{directory}"
runtime_directory = "{directory}"
[limits]
per_user = 0
per_minute = 0
[log]
level = "error"
"""


@dataclass(frozen=True)
class Processes:
    """Their process ids."""

    plane: int
    signalling: int


@contextlib.asynccontextmanager
async def component(server: Prosody, profile: Path | None = None) -> AsyncIterator[Processes]:
    """Both processes, ready; the signalling process's profile is in `profile` afterwards."""
    with tempfile.TemporaryDirectory() as name:
        configuration = _written(Path(name), server)
        command = ["-m", "jingle_hnt"]
        profiled = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
        options = ["--config", str(configuration)]
        async with contextlib.AsyncExitStack() as stack:
            started = [
                await stack.enter_async_context(_running([*words, *options]))
                for words in ([*command, "plane"], [*profiled, *command, "signalling"])
            ]
            await _until_ready([*command, "status", *options])
            yield Processes(*started)


def _written(directory: Path, server: Prosody) -> Path:
    values = {"component": COMPONENT, "domain": DOMAIN, "server": server.component}
    configuration = directory / "jingle-hnt.toml"
    configuration.write_text(CONFIGURATION.format(directory=directory, **values))
    (directory / "secret").write_text(SECRET)
    return configuration


@contextlib.asynccontextmanager
async def _running(words: list[str]) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_ready(status: list[str]) -> None:
    deadline = time.monotonic() + START_S
    quiet = asyncio.subprocess.DEVNULL
    while time.monotonic() < deadline:
        asked = await asyncio.create_subprocess_exec(
            sys.executable, *status, stdout=quiet, stderr=quiet
        )
        if await asked.wait() == 0:
            return
    raise TimeoutError("jingle-hnt is not ready")
