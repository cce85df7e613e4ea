"""jingle-hnt behind a server, both of its processes known by their ids."""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.figures import cpu_s, rss_bytes, table

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
# As of real parties: their addresses are known, and media may be sent there.
allow_networks = ["198.51.100.0/24", "127.0.0.0/8"]
[state]
directory = "{directory}"
runtime_directory = "{directory}"
[limits]
per_user = 0
per_minute = 0
[budgets]
ports_per_user = 0
ports_per_remote_domain = 0
remote_ports_percent = 0
stanzas_per_s = 0
user_stanzas_per_s = 0
[log]
level = "error"
"""


class Server(Protocol):
    """What a component needs to know of its server."""

    @property
    def component(self) -> tuple[str, int]:
        """Where components connect."""


@dataclass(frozen=True)
class Processes:
    """Their process ids, and what they have used."""

    plane: int
    signalling: int

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU since each began, by name."""
        return {"signalling": cpu_s(self.signalling), "plane": cpu_s(self.plane)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of each in megabytes, by name."""
        sizes = {"signalling": self.signalling, "plane": self.plane}
        return {name: round(rss_bytes(pid) / 1e6, 1) for name, pid in sizes.items()}


def of_each(calls: int, cpu_us: Mapping[str, int], rss_mb: Sequence[Mapping[str, float]]) -> str:
    """The table of both processes after so many calls; memory at first, in the middle, at the end.

    `cpu_us` is what each took for one call.
    """
    return table(
        ("process", "CPU µs/call", "MB at first", f"after {calls // 2}", "at the end"),
        [(name, cost, *(size[name] for size in rss_mb)) for name, cost in cpu_us.items()],
    )


@contextlib.asynccontextmanager
async def component(server: Server, profile: Path | None = None) -> AsyncIterator[Processes]:
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


def _written(directory: Path, server: Server) -> Path:
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
    """Until it is connected: a server that the benchmark plays has no module that answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, *status, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await asked.communicate()
        with contextlib.suppress(ValueError):
            told = json.loads(output)
            if told["connected"] and told["plane"]["up"]:
                return
    raise TimeoutError("jingle-hnt is not ready")
