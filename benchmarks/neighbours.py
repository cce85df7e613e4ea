"""Noisy neighbours: what one who calls normally notices of users who do the worst they can.

A real server with the limits of traffic that Debian's package comes with, our module, and
jingle-hnt with its defaults, in the NAT lab. Each noisy user does one of the abuses of
`tests.threats.abuses` for as long as it lasts, as fast as its server lets it. Alice calls Bob all
the while (`alice`), and two parties talk (`talk`).
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.figures import cpu_s, machine, rss_bytes, table
from benchmarks.talk import USERS
from tests.lab import play
from tests.lab.play import ABROAD, ROOT, Stage, descriptors, stage
from tests.lab.world import SERVER_ABROAD
from tests.threats.abuses import BYSTANDER

Figures = dict[str, Any]

WORST = (
    "adds",
    "replaces",
    "trickles",
    "gives-up",
    "offers",
    "names",
    "nominates",
    "adds-one-by-one",
    "rings",
    "huge",
)
ACCOUNTS = 40
PORTS = "24000-26767"
CLIENTS, TALKERS, NOISY = "198.51.100.50", "198.51.100.51", "198.51.100.60"
BYSTANDERS = f"""
table inet bystander {{
    counter checks {{ }}
    chain out {{
        type filter hook output priority 0
        ip daddr {BYSTANDER} counter name checks
    }}
}}
"""


class Program:
    """A program on a node of the lab that says when it is ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, at: Stage, node: str, *words: str) -> "Program":
        """Start it, and wait until it is ready."""
        made = cls(
            await asyncio.create_subprocess_exec(
                *at.lab.command(node, [sys.executable, "-m", *words]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
                limit=1 << 20,
            )
        )
        if not (await made._line()).startswith("ready"):
            raise RuntimeError(f"{' '.join(words)} is not ready; see what it has written above")
        return made

    async def says(self, line: object = "") -> Figures:
        """What it answers to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.told()

    async def told(self) -> Figures:
        """What it says next."""
        found: Figures = json.loads(await self._line() or "{}")
        return found

    async def end(self) -> None:
        """Kill it."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def _line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode()


async def beside(
    server: str,
    abuses: Sequence[str],
    seconds: float,
    quiet_s: float = 2.0,
    extra: str = "",
    unlimited: bool = False,
    accounts: int = ACCOUNTS,
    settle_s: float = 0.0,
    abroad: bool = False,
) -> Figures:
    """What Alice notices of these abuses on this kind of server, and what they have come to.

    `extra` is further configuration of jingle-hnt. With `settle_s` it is waited for so long until
    no call of the noisy users is left. With `abroad` those who call are users of another server,
    and their accomplices of ours. The server's limits are for the noisy users
    only: what Prosody does is to wait for a stanza's length before it is read.
    """
    callers = [f"noisy{n}" for n in range(len(abuses))]
    noisy = [f"deaf-{caller}" for caller in callers] + ([] if abroad else callers)
    calm = ("bob", *USERS, *(f"alice{n}" for n in range(accounts)))
    play.in_use, before = play.SERVERS[server], play.in_use
    try:
        async with stage(
            (*calm, *noisy),
            ports=PORTS,
            quarantine_s=30,
            abroad=callers if abroad else (),
            limited_but=None if unlimited else calm,
            extra=extra,
        ) as at:
            return await _on(at, abuses, seconds, quiet_s, accounts, settle_s) | {"server": server}
    finally:
        play.in_use = before


async def _on(
    at: Stage, abuses: Sequence[str], seconds: float, quiet_s: float, accounts: int, settle_s: float
) -> Figures:
    for node, address in (("clients", CLIENTS), ("talkers", TALKERS), ("noisy", NOISY)):
        at.lab.public(node, address)
    at.lab.public("bystander", BYSTANDER)
    _watch_bystander(at)
    programs = []
    try:
        alice = await Program.start(at, "clients", "benchmarks.alice", str(accounts))
        programs.append(alice)
        talk = await Program.start(at, "talkers", "benchmarks.talk", TALKERS)
        programs.append(talk)
        await alice.says(1.0)  # the first ones warm everything up
        await talk.says()
        quiet = await alice.says(quiet_s) | await talk.says()
        before, began = _used(at), time.monotonic()
        noise = []
        for number, abuse in enumerate(abuses):
            words = [abuse, "--user", f"noisy{number}", "--seconds", str(seconds)]
            if at.abroad:
                words += ["--abroad", f"{SERVER_ABROAD}:5222", ABROAD]
            noise.append(await Program.start(at, "noisy", "tests.threats.abuses", *words))
            programs.append(noise[-1])
        loud = await alice.says(seconds) | await talk.says()
        status, limits = await at.relay.ask("status"), await at.relay.ask("limits")
        after, lasted = _used(at), time.monotonic() - began
        did = [await each.told() for each in noise]
        left = await _left(at, settle_s, before) if settle_s else {}
    finally:
        for each in programs:
            await each.end()
    return {
        "seconds": round(lasted, 1),
        "quiet": quiet,
        "loud": loud,
        "ports": status["ports"],
        "abuses": [{"abuse": each, **what} for each, what in zip(abuses, did, strict=True)],
        "budgets": {b["budget"]: b["uses"][:3] for b in limits["budgets"] if b["uses"]},
        "bystander": _checks(at),
        **_a_second(before, after, lasted),
        **left,
    }


async def _left(at: Stage, settle_s: float, before: dict[str, float]) -> Figures:
    """What is left when the noisy users are gone: nothing but the call of those who talk."""
    status = await at.relay.until(lambda status: status["calls"] <= 1, settle_s)
    return {
        "calls_left": status["calls"] - 1,
        "descriptors_left": descriptors(at.relay.processes["signalling"].pid)
        - round(before["descriptors"]),
    }


def _watch_bystander(at: Stage) -> None:
    rules = at.lab.command("relay", ["nft", "-f", "-"])
    subprocess.run(rules, input=BYSTANDERS, text=True, check=True)


def _checks(at: Stage) -> dict[str, int]:
    words = ["nft", "-j", "list", "counters", "table", "inet", "bystander"]
    told = subprocess.run(at.lab.command("relay", words), capture_output=True, check=True).stdout
    (counter,) = (each["counter"] for each in json.loads(told)["nftables"] if "counter" in each)
    return {"packets": counter["packets"], "bytes": counter["bytes"]}


def _a_second(before: dict[str, float], after: dict[str, float], seconds: float) -> Figures:
    more = {name: after[name] - before[name] for name in before}
    return {
        "log_lines_per_s": round(more["lines"] / seconds, 2),
        "log_bytes_per_s": round(more["log"] / seconds),
        "state_bytes_per_s": round(more["state"] / seconds),
        "most_lines_in_a_second": after["most"],
        "longest_line": after["longest"],
        "signalling_cpu_percent": round(100 * more["signalling"] / seconds, 1),
        "plane_cpu_percent": round(100 * more["plane"] / seconds, 1),
        "grew_mb": round(more["rss"] / 1e6, 1),
        "tracebacks": more["tracebacks"],
    }


def _used(at: Stage) -> dict[str, float]:
    pids = {name: process.pid for name, process in at.relay.processes.items()}
    lines = [line for line in at.relay.log_text().splitlines() if "alice" not in line]
    seconds = [line[:19] for line in lines if re.match(r"\d{4}-\d\d-\d\dT", line)]
    return {
        **{name: cpu_s(pid) for name, pid in pids.items()},
        "descriptors": descriptors(pids["signalling"]),
        "lines": len(lines),
        "log": sum(len(line) + 1 for line in lines),
        "most": max(map(seconds.count, set(seconds)), default=0),
        "longest": max(map(len, lines), default=0),
        "tracebacks": sum("Traceback" in line for line in lines),
        "rss": sum(map(rss_bytes, pids.values())),
        "state": sum(os.path.getsize(path) for path in at.relay.directory.glob("*.sqlite*")),
    }


async def measure(servers: Sequence[str], noisy: int, seconds: float) -> Figures:
    """The same on each of these servers; abuses are given to the noisy users in turn."""
    abuses = [WORST[number % len(WORST)] for number in range(noisy)]
    runs = [await beside(kind, abuses, seconds, seconds / 3) for kind in servers]
    return {"machine": machine(), "noisy": noisy, "seconds": seconds, "of": runs}


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench neighbours", description=__doc__)
    parser.add_argument("--noisy", type=int, default=len(WORST), help="users who do the worst")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--server", choices=play.SERVERS, action="append", help="both by default")
    options = parser.parse_args(arguments)
    servers = options.server or list(play.SERVERS)
    return asyncio.run(measure(servers, options.noisy, options.seconds))


def rows(figures: Figures) -> str:
    """The table of what Alice notices."""
    lines = []
    for run in figures["of"]:
        quiet, loud = run["quiet"], run["loud"]
        lines.append(
            (
                f"{run['server']}, alone",
                *(quiet[name] for name in ("p50_ms", "p99_ms", "media_p99_ms")),
                *(quiet["refused"] + quiet["leaked"], "", "", ""),
            )
        )
        lines.append(
            (
                f"{run['server']}, {figures['noisy']} noisy users",
                *(loud[name] for name in ("p50_ms", "p99_ms", "media_p99_ms")),
                loud["refused"] + loud["leaked"],
                run["log_lines_per_s"],
                run["log_bytes_per_s"],
                f"{run['signalling_cpu_percent']} and {run['plane_cpu_percent']}",
            )
        )
    titles = ("set-up p50 ms", "p99 ms", "media p99 ms", "not relayed", "log lines/s", "bytes/s")
    return table(("Alice's calls", *titles, "CPU % of signalling and plane"), lines)
