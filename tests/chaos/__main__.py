"""Random faults on the whole product, with a verdict: `scripts/chaos`.

A real XMPP server, `jingle-hnt run`, and some tens of calls at a time whose parties do what users
do, while processes die and stand still, connections are cut, disks fill up and files are spoiled.
All faults, and what users do, are drawn from a seed and logged. Every two minutes all hang up: then
nothing may be left, and everything must have been as docs/threats.md says. The last line is JSON;
the exit status is 1 where something was not as it must be.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jingle_hnt.plane.keeping import UNWANTED_S
from tests.chaos.faults import KINDS, World
from tests.chaos.phones import Call, Exchange, Town
from tests.chaos.verdict import SETTLE_S, Act, Gap, excuses, gaps, is_excused, unexcused_s
from tests.lab import play
from tests.lab.play import DOMAIN, SERVERS, Stage, stage
from tests.lab.world import NatKind

PAIRS = 45
LASTS_S = 20.0
ROUND_S = 120.0
FIRST_FAULT_S = 5.0
PAUSES_S = (0.5, 6.0)
TOGETHER = 0.25
"""How often the next fault does not wait for the end of the one before."""
QUIET_S = 60.0
"""Until nothing is left of calls that are over: silence ends those whose end nobody told."""
DISK_BYTES, DISK_BYTES_PER_S = 16 << 20, 16 << 10
"""The disk of the state directory: what it has at first, and what an hour's calls need more."""
SPARE_S = 3.0
"""From a start until another process stands by, too."""
LEAKED = 3
"""Descriptors that a process may have more at one time than at another."""
EXTRA = """
[times]
silence_s = 15
first_media_s = 20
setup_s = 40
[limits]
per_user = 0
per_minute = 0
"""


@dataclass(frozen=True)
class Plan:
    """What is run."""

    seconds: float
    seed: int
    only: tuple[str, ...] = ()
    faults: bool = True
    pairs: int = PAIRS
    keep: Path | None = None


class Log:
    """What happens, a line of JSON each, with the seconds since the start."""

    def __init__(self, echo: bool) -> None:
        self.lines: list[str] = []
        self.began_at = time.monotonic()
        self._echo = echo

    def __call__(self, event: str, **members: object) -> None:
        at = round(time.monotonic() - self.began_at, 2)
        self.lines.append(json.dumps({"t": at, "event": event, **members}))
        if self._echo:
            sys.stderr.write(self.lines[-1] + "\n")


async def chaos(plan: Plan, echo: bool = True) -> dict[str, Any]:
    """Run as planned; the verdict, of which `failures` is empty where all is well."""
    log = Log(echo)
    log("plan", seed=plan.seed, seconds=plan.seconds, only=plan.only, faults=plan.faults)
    users = tuple(f"u{number}" for number in range(2 * plan.pairs))
    disk = DISK_BYTES + round(DISK_BYTES_PER_S * plan.seconds)
    async with stage(
        users, extra=EXTRA, processes=("run",), state_bytes=disk, quarantine_s=1.0
    ) as at:
        towns = _towns(at)
        exchange = Exchange(towns, DOMAIN, plan.pairs, plan.seed, LASTS_S)
        world = World(at, exchange, towns, at.relay.directory / "state", log)
        exchange.flowing = world.flowing
        try:
            async with _watched(world), exchange:
                await _rounds(plan, world, log)
        finally:
            if plan.keep is not None:
                _keep(plan.keep, at, log)
        return _verdict(world)


def _towns(at: Stage) -> tuple[Town, Town]:
    kinds = {"east": NatKind.PORT_RESTRICTED, "west": NatKind.SYMMETRIC}
    east, west = (
        Town(name, at.lab.namespace(name), at.lab.site(name, kind)[0])
        for name, kind in kinds.items()
    )
    return east, west


@contextlib.asynccontextmanager
async def _watched(world: World) -> AsyncIterator[None]:
    watching = asyncio.create_task(world.watch())
    try:
        await world.works(0.0)
        yield
    finally:
        watching.cancel()


async def _rounds(plan: Plan, world: World, log: Log) -> None:
    chance = random.Random(plan.seed)
    until = time.monotonic() + plan.seconds
    await asyncio.sleep(SPARE_S)
    judged, idle = 0, _left(world)
    while time.monotonic() < until:
        ends_at = min(until, time.monotonic() + ROUND_S)
        if until - ends_at < ROUND_S / 4:
            ends_at = until
        world.exchange.begin()
        if plan.faults:
            await _break(plan, world, chance, ends_at)
        else:
            await asyncio.sleep(ends_at - time.monotonic())
        log("closing", calls=world.exchange.going_on, status=world.status)
        await world.exchange.close()
        left = await _quiet(world, idle["media sockets"])
        calls = world.exchange.calls[judged:]
        judged += len(calls)
        _judge(world, calls)
        for name, count in left.items():
            if count > idle.get(name, 0) + (0 if name == "processes" else LEAKED):
                world.fail(f"{name}: {count} are left, {idle.get(name, 0)} at first")
        log("quiet", left=left, calls=len(calls), failures=len(world.failures))


async def _break(plan: Plan, world: World, chance: random.Random, until: float) -> None:
    """One fault after the other, some of them together."""
    kinds = {n: k for n, k in KINDS.items() if not plan.only or n in plan.only}
    weights = [weight for _, weight in kinds.values()]
    going_on: set[asyncio.Task[None]] = set()
    await asyncio.sleep(FIRST_FAULT_S)
    while time.monotonic() < until:
        kind = chance.choices(list(kinds), weights)[0]
        seed, pause_s = chance.getrandbits(32), chance.uniform(*PAUSES_S)
        is_together = chance.random() < TOGETHER
        world.say("fault", kind=kind, calls=world.exchange.going_on)
        task = asyncio.create_task(_fault(world, kind, seed))
        going_on.add(task)
        task.add_done_callback(going_on.discard)
        if not is_together:
            await asyncio.wait(going_on)
        await asyncio.sleep(pause_s)
    if going_on:
        await asyncio.wait(going_on)


async def _fault(world: World, kind: str, seed: int) -> None:
    began_at = time.monotonic()
    try:
        await KINDS[kind][0](world, random.Random(seed))
    except Exception as error:
        world.fail(f"the fault {kind} could not be made: {error!r}")
    world.say("mended", kind=kind, after_s=round(time.monotonic() - began_at, 2))


# What is left


async def _quiet(world: World, most_sockets: int) -> dict[str, int]:
    """Wait until nothing is left of the calls; what there is then, and what should not be."""
    try:
        status = await world.stage.relay.until(_is_quiet, patience_s=QUIET_S)
    except TimeoutError:
        status = await world.ask("status")
        world.fail(f"not quiet after {QUIET_S:g} s: {json.dumps(status)}")
        world.fail(f"calls that are left: {json.dumps(await world.ask('calls'))[:4000]}")
    if not status["ready"]:
        world.fail(f"not ready when all is quiet: {json.dumps(status)}")
    await asyncio.sleep(SPARE_S)
    left = _left(world)
    if left["media sockets"] > most_sockets + LEAKED:
        # What a plane that died had open waits for its call, and is closed then.
        began_at = (world.stage.relay.directory / "plane.sock.lock").stat().st_mtime
        await asyncio.sleep(max(0.0, began_at + UNWANTED_S + SPARE_S - time.time()))
        left = _left(world)
    return left


def _is_quiet(status: dict[str, Any]) -> bool:
    ports, plane = status["ports"], status["plane"]
    left = status["calls"], ports["leased"], ports["quarantined"], plane["bindings"]
    return not any(left) and plane["up"] and status["journal_healthy"] and status["history_healthy"]


def _left(world: World) -> dict[str, int]:
    found = {"processes": 1, "files of run": _files(world.supervisor)}
    for role in ("plane", "signalling", "spare"):
        pid = world.pid_of(role)
        if pid is None:
            world.fail(f"no {role} when all is quiet")
        else:
            found["processes"] += 1
            found[f"files of {role}"] = _files(pid)
    pid = world.pid_of("plane") or 0
    found["media sockets"] = _media_sockets(pid)
    rows = _rows(world, "journal.sqlite", "SELECT name, record FROM session")
    if rows:
        world.fail(f"{len(rows)} rows are left in the journal: {str(rows)[:2000]}")
    return found


def _files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _media_sockets(pid: int) -> int:
    lines = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    ports = (int(line.split()[1].rpartition(":")[2], 16) for line in lines)
    return sum(30000 <= port < 31000 for port in ports)


def _rows(world: World, file: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query; it is a failure where the file is not as SQLite wants it."""
    with contextlib.closing(sqlite3.connect(world.state / file, timeout=5)) as db:
        (sound,) = db.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            world.fail(f"{file}: {sound}")
        return db.execute(query).fetchall()


# What came of the calls


def _judge(world: World, calls: Sequence[Call]) -> None:
    history = _rows(world, "history.sqlite", "SELECT sid, count(*) FROM call GROUP BY sid")
    rows: dict[str, int] = dict(history)
    for call in calls:
        reports = rows.get(call.sid, 0)
        if reports > 1 or (call.is_relayed and not reports):
            world.fail(f"{_told(world, call)}: {reports} rows in the history")
        for why in call.ends:
            if not (why.startswith("gone") or why.endswith("(vanished)")):
                world.fail(f"{_told(world, call)}: ended: {why}")
        for act in call.acts:
            if act.answer not in ("", "lost") and not _in_a_fault(world, act, call):
                at = round(act.begin - world.say.began_at, 2)
                world.fail(f"{_told(world, call)}: {act.action} at {at}: {act.answer}")
        for gap, spans in _gaps(world, call):
            if not is_excused(gap, spans):
                world.fail(_gap_told(world, call, gap, spans))
    if len(world.exchange.crossed) > world.crossed:
        world.crossed = len(world.exchange.crossed)
        world.fail(f"crossed: {len(world.exchange.crossed)}: {world.exchange.crossed[:10]}")
    text = world.stage.relay.log_text()
    if (count := text.count("Traceback")) > world.tracebacks:
        world.tracebacks = count
        world.fail(f"tracebacks: {text[text.rindex('Traceback') :][:3000]}")


def _in_a_fault(world: World, act: Act, call: Call) -> bool:
    """Whether a request may have been refused: something was away, or its peer has left."""
    ended = call.is_over and act.end >= call.over_at
    near = (w.begin - SETTLE_S <= act.end and act.begin <= w.end + SETTLE_S for w in world.windows)
    return ended or any(near)


def _gaps(world: World, call: Call) -> Iterator[tuple[Gap, list[tuple[float, float]]]]:
    tracks = {(s.track.seat, s.track.content, s.track.component): s.track for s in call.streams}
    for (seat, content, component), track in tracks.items():
        for gap in gaps(track):
            reverse = tracks[1 - seat, content, component]
            flushed = world.towns[0].flushed, world.towns[1].flushed
            yield gap, excuses(gap, reverse, call.acts, world.windows, flushed)


def _told(world: World, call: Call) -> str:
    return f"{call.sid} (from {call.began_at - world.say.began_at:.1f}; {', '.join(call.done)})"


def _gap_told(world: World, call: Call, gap: Gap, spans: list[tuple[float, float]]) -> str:
    zero = world.say.began_at
    near = [
        f"{w.kind} {w.begin - zero:.2f}-{w.end - zero:.2f}"
        for w in world.windows
        if w.begin <= gap.end and gap.begin <= w.end + 10
    ]
    track = gap.track
    who = f"{track.content}/{track.component} of {('caller', 'callee')[track.seat]}"
    acts = [
        f"{a.action} {a.begin - zero:.2f}-{a.end - zero:.2f} {a.answer}".strip()
        for a in call.acts
        if a.begin <= gap.end and gap.begin <= a.end + 15
    ]
    return (
        f"{_told(world, call)}: gap of {who} {gap.begin - zero:.2f}-{gap.end - zero:.2f},"
        f" {unexcused_s(gap, spans):.2f} s of it unexcused; near: {near}; acts: {acts}"
    )


def _verdict(world: World) -> dict[str, Any]:
    exchange = world.exchange
    excused: dict[str, list[float]] = {}
    for call in exchange.calls:
        for gap, _ in _gaps(world, call):
            kinds = [w.kind for w in world.windows if w.begin <= gap.end and gap.begin <= w.end + 3]
            name = kinds[0] if len(kinds) == 1 else "several" if kinds else "parties"
            excused.setdefault(name, []).append(gap.seconds)
    relayed = [call for call in exchange.calls if call.is_relayed]
    return {
        "calls": len(exchange.calls),
        "relayed": len(relayed),
        "doubtful": sum(call.is_doubtful for call in exchange.calls),
        "packets": exchange.packets,
        "crossed": len(exchange.crossed),
        "lost": sum(s.track.lost for call in relayed for s in call.streams),
        "faults": dict(sorted(Counter(w.kind for w in world.windows).items())),
        "recovered_s": {kind: _spread(times) for kind, times in sorted(world.recovered.items())},
        "gaps_s": {kind: _spread(times) for kind, times in sorted(excused.items())},
        "failures": world.failures,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    median, most = statistics.median(values), max(values)
    return {"count": len(values), "median": round(median, 2), "most": round(most, 2)}


def _keep(directory: Path, at: Stage, log: Log) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "events.jsonl").write_text("\n".join(log.lines) + "\n")
    (directory / "server.log").write_text(at.server.log_text())
    for file in (*at.relay.directory.glob("*.log"), *(at.relay.directory / "state").glob("*.sql*")):
        shutil.copy(file, directory)


def main() -> int:
    """Run as told; 1 where something was not as it must be."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="drawn where none is given")
    parser.add_argument("--only", default="", help=f"KIND,... out of {', '.join(KINDS)}")
    parser.add_argument("--no-faults", action="store_true", help="the control run")
    parser.add_argument("--server", choices=tuple(SERVERS), default="prosody")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="calls at a time")
    parser.add_argument("--keep", type=Path, help="a directory for logs, events and databases")
    options = parser.parse_args()
    only = tuple(filter(None, options.only.split(",")))
    if unknown := [kind for kind in only if kind not in KINDS]:
        parser.error(f"--only: there is no kind {', '.join(unknown)}")
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    play.in_use = SERVERS[options.server]
    plan = Plan(options.seconds, seed, only, not options.no_faults, options.pairs, options.keep)
    verdict = asyncio.run(chaos(plan))
    sys.stdout.write(json.dumps({"seed": seed, **verdict}) + "\n")
    return int(bool(verdict["failures"]))


if __name__ == "__main__":
    sys.exit(main())
