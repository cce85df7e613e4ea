"""One measured run: a relay of some kind, so many calls, and what each relayed packet cost."""

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from benchmarks.figures import cpu_s, rss_bytes
from benchmarks.generator import PORT, Flows, Generators, Load, Traffic
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
    """`native`, `reference` or `rtpengine`, running in the relay's namespace."""
    allow_descriptors()
    if kind == "rtpengine":
        async with rtpengine(network) as daemon:
            yield daemon
    else:
        async with plane(network, kind, workers) as ours:
            yield ours


def allow_descriptors() -> None:
    """Let this process and its children open as many sockets as the machine lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
        traffic, used = await drive(network, flows, load, relay.pid)
        memory = rss_bytes(relay.pid)
    return {"relay": kind, "calls": calls, "rss_mb": round(memory / 1e6, 1)} | outcome(
        calls, traffic, load, used
    )


async def measure_wire(network: Network, calls: int, load: Load) -> Figures:
    """The same packets without a relay: the kernel routes them between the clients."""
    flows = ([(CLIENTS[1], PORT)] * calls, [(CLIENTS[0], PORT)] * calls)
    traffic, _ = await drive(network, flows, load, None)
    return {"relay": "none", "calls": calls} | outcome(calls, traffic, load, 0.0)


async def drive(
    network: Network, flows: Flows, load: Load, pid: int | None
) -> tuple[Traffic, float]:
    """Send and count; the second value is the CPU time of the process in the measured seconds."""
    generators = await Generators.start(network, flows, load)
    try:
        await asyncio.sleep(generators.measures_at - time.time())
        before = cpu_s(pid) if pid else 0.0
        await asyncio.sleep(generators.ends_at - time.time())
        used = cpu_s(pid) - before if pid else 0.0
        return await generators.outcome(), used
    finally:
        await generators.stop()


def outcome(calls: int, traffic: Traffic, load: Load, used: float) -> Figures:
    """A run's figures."""
    heard = sum(traffic.heard)
    wanted = calls * int(load.pps * load.seconds)
    return {
        "sent_all": min(traffic.sent) >= wanted,
        "sent": list(traffic.sent),
        "heard": list(traffic.heard),
        "loss": [round(way, 6) for way in traffic.loss],
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
