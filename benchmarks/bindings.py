"""What calls cost while nobody talks: bindings made and released a second, memory, clean-up.

Over the control socket of a plane process, as signalling does it: for each call RTP and RTCP are
bound, armed and opened, and released in the end. Memory is the process's resident set, which leaves
out the kernel's sockets.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from benchmarks.figures import cpu_s, machine
from benchmarks.relays import connect
from benchmarks.traffic import say
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate, Side
from jingle_hnt.relay.evidence import Evidence, Rung

FIRST_PORT, LAST_PORT = 10000, 60000
SPARE = 1000
EVIDENCE = Evidence(Rung.R3, (ip_network("127.9.9.9"),))

Figures = dict[str, Any]


def specs(calls: int) -> Iterator[tuple[BindingSpec, BindingSpec]]:
    """The two bindings of each call, on loopback addresses of which there are plenty."""
    per_address = (LAST_PORT - FIRST_PORT) // 4
    for number in range(calls):
        host, place = divmod(number, per_address)
        relay, port = f"127.8.0.{host + 1}", FIRST_PORT + 4 * place
        a, b, c, d = (TransportAddress.of(relay, port + n) for n in range(4))
        yield BindingSpec(f"m{number}.1", (a, c)), BindingSpec(f"m{number}.2", (b, d))


async def open_call(client: PlaneClient, pair: tuple[BindingSpec, BindingSpec]) -> None:
    """What an accepted call asks of the plane."""
    sides: tuple[Side, Side] = (0, 1)
    names = [spec.name for spec in pair]
    await client.bind(pair)
    await client.arm([Arm(name, side, 0, EVIDENCE) for name in names for side in sides])
    await client.gate([Gate(name, (Flow.OPEN, Flow.OPEN)) for name in names])


def resident_kb(pid: int) -> int:
    """The resident set of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def room() -> int:
    """How many calls the limit of open files allows; four sockets each before anybody talks."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return (most - SPARE) // 4


async def measure(calls: int) -> Figures:
    """Open that many calls one after the other, look, and close them."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plane.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.plane", "native", str(path)
        )
        try:
            client = await connect(path)
            pid, idle = process.pid, len(os.listdir(f"/proc/{process.pid}/fd"))
            before_kb, before_cpu, started = resident_kb(pid), cpu_s(pid), time.monotonic()
            for pair in specs(calls):
                await open_call(client, pair)
            opened_s, opened_kb = time.monotonic() - started, resident_kb(pid)
            started = time.monotonic()
            for pair in specs(calls):
                await client.release([spec.name for spec in pair], 0)
            while len(os.listdir(f"/proc/{pid}/fd")) > idle:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.05)
            closed_s = time.monotonic() - started
            used = cpu_s(pid) - before_cpu
            await client.close()
        finally:
            process.terminate()
            await process.wait()
    return {
        "calls": calls,
        "opened_bindings_per_s": round(2 * calls / opened_s),
        "closed_bindings_per_s": round(2 * calls / closed_s),
        "plane_cpu_us_per_binding": round(1e6 * used / (2 * calls), 1),
        "memory_kb_per_call": round((opened_kb - before_kb) / calls, 2),
        "descriptors_left": 0,
    }


def main(arguments: list[str]) -> Figures:
    """Measure as told and print; returns the figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench bindings", description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    measured = []
    for calls in options.calls:
        able = min(calls, room())
        if able < calls:
            say(f"the limit of open files allows {able} calls only, not {calls}")
        say(f"{able} calls, {4 * able} sockets")
        measured.append(asyncio.run(measure(able)))
    figures: Figures = {"benchmark": "bindings", "machine": machine(), "measured": measured}
    if options.json:
        print(json.dumps(figures))
        return figures
    print("| calls | bindings opened/s | closed/s | plane CPU per binding | memory per call |")
    print("| --- | --- | --- | --- | --- |")
    for row in measured:
        print(
            f"| {row['calls']} | {row['opened_bindings_per_s']} | {row['closed_bindings_per_s']} |"
            f" {row['plane_cpu_us_per_binding']} µs | {row['memory_kb_per_call']} kB |"
        )
    return figures
