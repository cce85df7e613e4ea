"""One measured run: a relay of some kind, so many calls, and what each relayed packet cost."""

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks.figures import cpu_s, rss_bytes
from benchmarks.generator import DRAIN_S, PORT, Flows, Generators, Load, Traffic
from benchmarks.losses import Dropped, look, queues, waiting
from benchmarks.network import CLIENTS, RELAY, Network
from benchmarks.plane import plane
from benchmarks.rtpengine import rtpengine

TRIES = 3
"""Runs of which one must be undisturbed."""

Figures = dict[str, Any]


class Relay(Protocol):
    """What a benchmark needs of a relay."""

    name: str
    pid: int

    async def calls(self, count: int) -> tuple[list[int], list[int]]:
        """Make calls between the two clients; the ports that face client 0, and client 1."""


@contextlib.asynccontextmanager
async def relay_of(kind: str, network: Network, workers: int = 1) -> AsyncIterator[Relay]:
    """Run `native`, `reference` or `rtpengine` in the relay's namespace.

    ``rtpengine-1`` is rtpengine with one thread; without a number it starts as many as it wants.
    """
    allow_descriptors()
    name, _, threads = kind.partition("-")
    if name == "rtpengine":
        async with rtpengine(network, int(threads) if threads else None) as daemon:
            yield daemon
    else:
        async with plane(network, kind, workers) as ours:
            yield ours


def allow_descriptors() -> int:
    """Let this process and its children open as many files as root may (fs.nr_open); says how many.

    Where even root may not raise the limit, as in some containers, it is what was given.
    """
    _, given = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(given, int(Path("/proc/sys/fs/nr_open").read_text()))
    for limit in (most, given):
        with contextlib.suppress(ValueError, PermissionError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return given


async def measure(network: Network, kind: str, calls: int, load: Load, workers: int = 1) -> Figures:
    """One run of one relay, repeated where the generator did not send all that it should.

    Another process that takes the machine for a second is enough for that. Raises RuntimeError
    when it happens again and again.
    """
    for _ in range(TRIES):
        run = await measure_once(network, kind, calls, load, workers)
        if run["sent_all"]:
            return run
        print("[bench] the generator had no time to send; once more", file=sys.stderr)
    raise RuntimeError(f"the machine is too busy for {calls} calls; measure fewer, or later")


async def measure_once(
    network: Network, kind: str, calls: int, load: Load, workers: int = 1
) -> Figures:
    """One run of one relay; `sent_all` says whether the generator did its part."""
    async with relay_of(kind, network, workers) as relay:
        mine, yours = await relay.calls(calls)
        flows = ([(RELAY, port) for port in mine], [(RELAY, port) for port in yours])
        traffic, used, dropped = await drive(network, flows, load, relay.pid)
        memory = rss_bytes(relay.pid)
    return {"relay": kind, "calls": calls, "rss_mb": round(memory / 1e6, 1)} | outcome(
        calls, traffic, load, used, dropped
    )


async def measure_wire(network: Network, calls: int, load: Load) -> Figures:
    """The same packets without a relay: the kernel routes them between the clients."""
    flows = ([(CLIENTS[1], PORT)] * calls, [(CLIENTS[0], PORT)] * calls)
    traffic, _, dropped = await drive(network, flows, load, None)
    return {"relay": "none", "calls": calls} | outcome(calls, traffic, load, 0.0, dropped)


async def drive(
    network: Network, flows: Flows, load: Load, pid: int | None
) -> tuple[Traffic, float, Dropped]:
    """Send and count; the second value is the CPU time of the process in the measured seconds.

    The third are the packets that the kernel has dropped until the generators ended.
    """
    generators = await Generators.start(network, flows, load)
    relays = [pid] if pid else []
    try:
        await asyncio.sleep(generators.measures_at - time.time())
        before, looked = cpu_s(pid) if pid else 0.0, look(relays, generators.pids)
        await asyncio.sleep(generators.ends_at - time.time())
        used = cpu_s(pid) - before if pid else 0.0
        await asyncio.sleep(DRAIN_S / 2)
        theirs, still = queues(generators.pids), waiting(pid) if pid else 0
        traffic = await generators.outcome()
        dropped = replace(look(relays, ()), generators=theirs) - looked
        return traffic, used, replace(dropped, waiting_kb=round(still / 1000))
    finally:
        await generators.stop()


def outcome(calls: int, traffic: Traffic, load: Load, used: float, dropped: Dropped) -> Figures:
    """A run's figures."""
    heard, lost = sum(traffic.heard), sum(traffic.sent) - sum(traffic.heard)
    counted = asdict(dropped)
    waiting_kb = counted.pop("waiting_kb")
    wanted = calls * int(load.pps * load.seconds)
    return {
        "sent_all": min(traffic.sent) >= wanted,
        "sent": list(traffic.sent),
        "heard": list(traffic.heard),
        "loss": [round(way, 6) for way in traffic.loss],
        "dropped_by": {**counted, "nobody": max(0, lost - sum(counted.values()))},
        "waiting_kb": waiting_kb,
        "duplicates": traffic.duplicates,
        "reordered": traffic.reordered,
        "foreign": traffic.foreign + traffic.mangled,
        "silent_flows": traffic.silent_flows,
        "packets_per_s": round(heard / load.seconds),
        "cpu_us_per_packet": round(1e6 * used / max(1, heard), 3),
        "p50_ms": traffic.latency(0.5) / 1000,
        "p99_ms": traffic.latency(0.99) / 1000,
        "p999_ms": traffic.latency(0.999) / 1000,
        "generator_us_per_packet": round(1e6 * traffic.generator_cpu_s / max(1, heard), 3),
        "generator_late_ms": traffic.late_ms,
    }
