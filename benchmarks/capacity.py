"""Calls a second that our two processes carry on one core, and what many calls leave in memory.

The server's part is played by this process, on the other cores: it holds offer, acceptance and end
of each call as a server's module does, asks about them on the component's stream and reads the
answers. First as many calls as go, then 100 offers a second, each timed from question to answer.
"""

import argparse
import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from benchmarks.component import COMPONENT, DOMAIN, component, of_each
from benchmarks.figures import machine, percentile
from benchmarks.profiles import where_time_goes
from benchmarks.rig import Figures
from benchmarks.setup import OFFER

ANSWER = OFFER.replace("192.0.2.10", "192.0.2.20")
END = "<reason><success/></reason>"
ALICE, BOB = f"alice@{DOMAIN}/phone", f"bob@{DOMAIN}/desk"
WARM = 100
PARTS = 10
"""In which the calls are made; memory is read after each."""
PACE = 100
"""Offers a second of the timed part."""
HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
    " xmlns:stream='http://etherx.jabber.org/streams' id='capacity'>"
)
_ANSWER = re.compile(rb'<iq type="(result|error)"[^>]* id="q(\d+)"')


class Server:
    """The server's end of one component stream: questions go out, their answers come back."""

    def __init__(self) -> None:
        self.component = ("", 0)
        self.refused = 0
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._next = 0
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator["Server"]:
        """A server that accepts any component, on a free port of loopback."""
        made = cls()
        server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
        made.component = server.sockets[0].getsockname()[:2]
        try:
            yield made
        finally:
            server.close()

    async def ask(self, action: str, sid: str, sender: str, recipient: str, inner: str) -> None:
        """One question about a request, until its answer; a refusal is counted."""
        assert self._writer is not None, "no component has connected"
        self._next += 1
        number, host = self._next, f"from='{DOMAIN}' to='{COMPONENT}'"
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._writer.write(
            (
                f"<iq type='set' {host} id='q{number}'>"
                "<intercept xmlns='urn:hnt:intercept:0' timeout='20'"
                " from-ip='198.51.100.7' to-ip='198.51.100.8'>"
                "<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='set'"
                f" id='r{number}' from='{sender}' to='{recipient}'>"
                f"<jingle xmlns='urn:xmpp:jingle:1' action='{action}' sid='{sid}'"
                f" initiator='{ALICE}'>{inner}</jingle></iq></forwarded></intercept></iq>"
            ).encode()
        )
        await self._asked[number]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"component:accept")
        writer.write(HEADER.encode())
        await reader.readuntil(b"</handshake>")
        writer.write(b"<handshake/>")
        self._writer, rest = writer, b""
        while data := await reader.read(1 << 18):
            rest += data
            end = rest.rfind(b"</iq>") + len(b"</iq>")
            self._settle(rest[:end])
            rest = rest[end:]

    def _settle(self, data: bytes) -> None:
        for kind, number in _ANSWER.findall(data):
            self.refused += kind == b"error"
            asked = self._asked.pop(int(number), None)
            if asked is not None and not asked.done():
                asked.set_result(None)


async def play(server: Server, number: int) -> None:
    """One call from offer to end."""
    sid = f"call-{number}"
    await server.ask("session-initiate", sid, ALICE, BOB, OFFER)
    await server.ask("session-accept", sid, BOB, ALICE, ANSWER)
    await server.ask("session-terminate", sid, ALICE, BOB, END)


async def crowd(server: Server, numbers: range, under_way: int) -> float:
    """Play these calls, so many at a time; returns calls a second."""
    left: Iterator[int] = iter(numbers)

    async def line() -> None:
        for number in left:
            await play(server, number)

    started = time.monotonic()
    await asyncio.gather(*(line() for _ in range(under_way)))
    return len(numbers) / (time.monotonic() - started)


async def timed(server: Server, numbers: range) -> list[float]:
    """Whole calls at PACE; milliseconds from each offer's question to its answer."""
    times: list[float] = []

    async def one(number: int) -> None:
        started = time.perf_counter()
        await server.ask("session-initiate", f"call-{number}", ALICE, BOB, OFFER)
        times.append(1000 * (time.perf_counter() - started))
        await server.ask("session-accept", f"call-{number}", BOB, ALICE, ANSWER)
        await server.ask("session-terminate", f"call-{number}", ALICE, BOB, END)

    async with asyncio.TaskGroup() as group:
        started = time.monotonic()
        for at, number in enumerate(numbers):
            await asyncio.sleep(max(0.0, started + at / PACE - time.monotonic()))
            group.create_task(one(number))
    return times


async def measure(
    calls: int, under_way: int, seconds: float, profile: Path | None = None
) -> Figures:
    """So many calls, and then the timed ones for so long."""
    cores = sorted(os.sched_getaffinity(0))
    async with Server.listening() as server:
        os.sched_setaffinity(0, cores[:1])  # what is started now stays there
        async with component(server, profile) as processes:
            os.sched_setaffinity(0, cores[1:] or cores)
            await crowd(server, range(WARM), under_way)
            memory, before, rates = [processes.rss_mb()], processes.cpu_s(), []
            each = calls // PARTS
            for first in range(WARM, WARM + PARTS * each, each):
                rates.append(await crowd(server, range(first, first + each), under_way))
                memory.append(processes.rss_mb())
                print(f"[bench] {first + each - WARM} calls: {memory[-1]} MB", file=sys.stderr)
            used = {name: value - before[name] for name, value in processes.cpu_s().items()}
            first = WARM + calls
            times = await timed(server, range(first, first + int(PACE * seconds)))
        os.sched_setaffinity(0, cores)
    return {
        "machine": machine(),
        "calls": calls,
        "under_way": under_way,
        "refused": server.refused,
        "calls_per_s": round(PARTS / sum(1 / rate for rate in rates), 1),
        "cpu_us_per_call": {name: round(1e6 * value / calls) for name, value in used.items()},
        "rss_mb": memory,
        "pace": PACE,
        "p50_ms": round(percentile(times, 0.5), 2),
        "p99_ms": round(percentile(times, 0.99), 2),
    }


def rows(figures: Figures) -> str:
    """The table of both processes, under what they did."""
    memory = figures["rss_mb"]
    start, middle, end = memory[0], memory[len(memory) // 2], memory[-1]
    lines = of_each(figures["calls"], figures["cpu_us_per_call"], (start, middle, end))
    rate = f"{figures['calls_per_s']} calls a second, {figures['under_way']} under way"
    pace = f"{figures['pace']} a second: an offer is answered in {figures['p50_ms']} ms"
    return f"{rate}; at {pace}, p99 {figures['p99_ms']} ms\n\n{lines}"


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench capacity", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="100000 shows leaks; some 6 min")
    parser.add_argument("--under-way", type=int, default=16, help="calls at the same time")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the timed part")
    parser.add_argument("--profile", action="store_true", help="where time goes, on standard error")
    options = parser.parse_args(arguments)
    with where_time_goes(options.profile) as profile:
        return asyncio.run(measure(options.calls, options.under_way, options.seconds, profile))
