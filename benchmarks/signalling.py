"""Calls a second through the whole signalling path, and what they leave in memory.

Real stanzas through a real Prosody: offer, acceptance and end of each call, with some calls under
way at any time. CPU is told per process and call; memory is the processes' resident size at the
beginning, in the middle and at the end. `--profile` says where the signalling process's time goes
(and costs a good part of the speed).
"""

import argparse
import asyncio
import time
from pathlib import Path

from benchmarks.component import COMPONENT, DOMAIN, SECRET, component, of_each
from benchmarks.figures import machine
from benchmarks.profiles import where_time_goes
from benchmarks.rig import Figures
from benchmarks.setup import OFFER
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import Client

ANSWER = OFFER.replace("192.0.2.10", "192.0.2.20")
END = "<reason><success/></reason>"
WARM = 50


async def play(caller: Client, callee: Client, sid: str) -> None:
    """One call from offer to end; every request is acknowledged as clients do."""
    caller.request(callee.jid, "session-initiate", sid, OFFER)
    callee.acknowledge(await callee.next_request(sid))
    callee.request(caller.jid, "session-accept", sid, ANSWER)
    caller.acknowledge(await caller.next_request(sid))
    caller.request(callee.jid, "session-terminate", sid, END)
    callee.acknowledge(await callee.next_request(sid))
    for client in (caller, callee):
        client.inbox[:] = [stanza for stanza in client.inbox if stanza.get("type") == "set"]


async def crowd(caller: Client, callee: Client, numbers: range, under_way: int) -> float:
    """Play these calls, so many at a time; returns calls per second."""
    left = iter(numbers)

    async def line() -> None:
        for number in left:
            await play(caller, callee, f"call-{number}")

    started = time.monotonic()
    await asyncio.gather(*(line() for _ in range(under_way)))
    return len(numbers) / (time.monotonic() - started)


async def measure(calls: int, under_way: int, profile: Path | None) -> Figures:
    """So many calls between two users."""
    users = {"alice": "secret", "bob": "secret"}
    host = VirtualHost(DOMAIN, users, component=COMPONENT)
    with Prosody([host], {COMPONENT: SECRET}) as server:
        async with component(server, profile) as processes:
            caller = await Client.login(server, f"alice@{DOMAIN}/phone")
            callee = await Client.login(server, f"bob@{DOMAIN}/desk")
            await crowd(caller, callee, range(WARM), under_way)
            memory = [processes.rss_mb()]
            before, rates = processes.cpu_s(), []
            for half in (range(WARM, WARM + calls // 2), range(WARM + calls // 2, WARM + calls)):
                rates.append(await crowd(caller, callee, half, under_way))
                memory.append(processes.rss_mb())
            used = {name: value - before[name] for name, value in processes.cpu_s().items()}
            for client in (caller, callee):
                await client.close()
    return {
        "machine": machine(),
        "calls": calls,
        "under_way": under_way,
        "calls_per_s": round(2 / sum(1 / rate for rate in rates), 1),
        "cpu_us_per_call": {name: round(1e6 * value / calls) for name, value in used.items()},
        "rss_mb": memory,
    }


def rows(figures: Figures) -> str:
    """The table of both processes."""
    start, middle, end = figures["rss_mb"]
    lines = of_each(figures["calls"], figures["cpu_us_per_call"], (start, middle, end))
    rate = f"{figures['calls_per_s']} calls a second, {figures['under_way']} under way"
    return f"{rate}\n\n{lines}"


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench signalling", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="10000 or 100000 show leaks")
    parser.add_argument("--under-way", type=int, default=16, help="calls at the same time")
    parser.add_argument("--profile", action="store_true", help="where time goes, on standard error")
    options = parser.parse_args(arguments)
    with where_time_goes(options.profile) as profile:
        return asyncio.run(measure(options.calls, options.under_way, profile))
