"""What `jingle-hnt status` costs, which a container's health check runs every half minute: CPU time
of the whole command, beside that of a Python that does nothing."""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import machine, median, table

Figures = dict[str, Any]
ANSWER = {
    "version": "0.1.0",
    "ready": True,
    "not_ready": [],
    "uptime_s": 86400.0,
    "link_up": True,
    "calls": 500,
    "plane": {"up": True, "engine": "native", "bindings": 1000, "draining": 3},
    "ports": {"free": 1764, "leased": 1000, "quarantined": 4, "shunned": 0},
}


@contextmanager
def answering(directory: Path) -> Iterator[None]:
    """A process answers at the socket in this directory, however often it is asked."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "admin.sock"))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, connection.makefile("rwb") as lines:
                    lines.readline()
                    lines.write(json.dumps(ANSWER).encode() + b"\n")

        threading.Thread(target=serve, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def cpu_ms(words: Sequence[str]) -> float:
    """The CPU time of a command, its children's included. Raises RuntimeError where it fails."""
    silence: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(words[0], list(words), os.environ, file_actions=silence)
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(words)} failed: {status}")
    return (used.ru_utime + used.ru_stime) * 1000


def measure(runs: int, cpu: Callable[[Sequence[str]], float] = cpu_ms) -> Figures:
    """So many runs of each, in turns."""
    with tempfile.TemporaryDirectory(prefix="hnt-asking-") as name:
        directory = Path(name)
        file = directory / "c.toml"
        file.write_text(f'[state]\nruntime_directory = "{directory}"\n')
        commands = {
            "status": [sys.executable, "-m", "jingle_hnt", "status", "--config", str(file)],
            "nothing": [sys.executable, "-c", "pass"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        with answering(directory):
            for _ in range(runs):
                for name, words in commands.items():
                    times[name].append(cpu(words))
    found = {name: round(median(each), 1) for name, each in times.items()}
    return {"runs_each": runs, "cpu_ms": found, "machine": machine()}


def rows(figures: Figures) -> str:
    """As a table."""
    spent = figures["cpu_ms"]
    lines = [["`jingle-hnt status`", spent["status"]], ["`python -c pass`", spent["nothing"]]]
    return table(["command", "ms of CPU"], lines)


def main(arguments: list[str]) -> Figures:
    """Measure with the options of a command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench asking", description=__doc__)
    parser.add_argument("--runs", type=int, default=25, help="of each command (%(default)s)")
    return measure(parser.parse_args(arguments).runs)
