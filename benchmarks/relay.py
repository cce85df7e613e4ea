"""What a relayed packet costs: the native engine against the Python reference, in turns.

A plane process of either kind relays the same calls over loopback: every call has two parties that
send 50 packets of 172 bytes a second to each other. The cost is the plane process's user and system
time per relayed packet; both directions are checked, and loss is stated.
"""

import argparse
import asyncio
import json
import selectors
import socket
import struct
import sys
import tempfile
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from benchmarks.figures import cpu_s, machine, median
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate, Side
from jingle_hnt.relay.evidence import Evidence, Rung

RELAY, PARTIES = "127.0.0.1", ("127.0.0.2", "127.0.0.3")
FIRST_PORT = 20000
INTERVAL_S = 0.02
SIZE = 172
START_S = 10.0

Figures = dict[str, Any]


class Call:
    """Two parties of one call."""

    def __init__(self, number: int) -> None:
        self.name = f"b{number}"
        self.ports = (FIRST_PORT + 2 * number, FIRST_PORT + 2 * number + 1)
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in PARTIES]
        for side, (party, address) in enumerate(zip(self.sockets, PARTIES, strict=True)):
            party.bind((address, 0))
            party.connect((RELAY, self.ports[side]))
            party.setblocking(False)
        self.sent = [0, 0]
        self.heard = [0, 0]

    def orders(self) -> tuple[BindingSpec, list[Arm], Gate]:
        """What the plane is told of this call."""
        bound = tuple(TransportAddress.of(RELAY, port) for port in self.ports)
        sides: tuple[Side, Side] = (0, 1)
        arms = [
            Arm(self.name, side, 0, Evidence(Rung.R3, (ip_network(PARTIES[side]),)))
            for side in sides
        ]
        spec = BindingSpec(self.name, (bound[0], bound[1]))
        return spec, arms, Gate(self.name, (Flow.OPEN, Flow.OPEN))

    def send(self) -> None:
        """One packet of each party."""
        for side, party in enumerate(self.sockets):
            number = self.sent[side]
            header = struct.pack(">BBHII", 0x80, 0, number & 0xFFFF, number * 160, 7 + side)
            party.send(header.ljust(SIZE, b"\x55"))
            self.sent[side] += 1

    def hear(self, side: int) -> None:
        """Everything that waits for this party."""
        while True:
            try:
                self.sockets[side].recv(2048)
            except BlockingIOError:
                return
            self.heard[side] += 1


async def measure(engine: str, calls: int, seconds: float) -> Figures:
    """One run of one engine."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plane.sock"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.plane", engine, str(path)
        )
        try:
            client = await _connect(path)
            made = [Call(number) for number in range(calls)]
            await _set_up(client, made)
            figures = await asyncio.to_thread(_drive, made, seconds, process.pid)
            await client.close()
        finally:
            process.terminate()
            await process.wait()
    for call in made:
        for party in call.sockets:
            party.close()
    return {"engine": engine, **figures}


async def _connect(path: Path) -> PlaneClient:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return await PlaneClient.connect(path, lambda _: None, lambda: None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _set_up(client: PlaneClient, calls: list[Call]) -> None:
    orders = [call.orders() for call in calls]
    await client.bind([spec for spec, _, _ in orders])
    await client.arm([arm for _, arms, _ in orders for arm in arms])
    await client.gate([gate for _, _, gate in orders])


def _drive(calls: list[Call], seconds: float, pid: int) -> Figures:
    """Send and hear, evenly spread over each interval; the first moments teach the latches."""
    selector = selectors.DefaultSelector()
    for call in calls:
        for side, party in enumerate(call.sockets):
            selector.register(party, selectors.EVENT_READ, (call, side))
    _pace(calls, selector, 0.5)
    for call in calls:
        call.sent, call.heard = [0, 0], [0, 0]
    before, started = cpu_s(pid), time.monotonic()
    _pace(calls, selector, seconds)
    lasted = time.monotonic() - started
    used = cpu_s(pid) - before
    _hear(selector, 0.3)
    sent = sum(sum(call.sent) for call in calls)
    ways = [sum(call.heard[side] for call in calls) for side in (0, 1)]
    selector.close()
    return {
        "sent": sent,
        "heard": ways,
        "loss": round(1 - sum(ways) / sent, 6),
        "packets_per_s": round(sum(ways) / lasted),
        "cpu_us_per_packet": round(1e6 * used / max(1, sum(ways)), 3),
    }


def _pace(calls: list[Call], selector: selectors.BaseSelector, seconds: float) -> None:
    started = due = time.monotonic()
    while due - started < seconds:
        for call in calls:
            call.send()
        due += INTERVAL_S
        _hear(selector, 0.0)
        while (left := due - time.monotonic()) > 0:
            _hear(selector, left)


def _hear(selector: selectors.BaseSelector, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while True:
        for key, _ in selector.select(max(0.0, until - time.monotonic())):
            call, side = key.data
            call.hear(side)
        if time.monotonic() >= until:
            return


async def compare(calls: int, seconds: float, rounds: int) -> Figures:
    """Both engines in turns, and the median of the ratios."""
    runs: list[Figures] = []
    for number in range(rounds):
        for engine in ("reference", "native"):
            print(f"[bench] round {number + 1} of {rounds}: {engine}", file=sys.stderr)
            runs.append(await measure(engine, calls, seconds))
    cost = {
        engine: [run["cpu_us_per_packet"] for run in runs if run["engine"] == engine]
        for engine in ("reference", "native")
    }
    ratios = [n / r for n, r in zip(cost["native"], cost["reference"], strict=True)]
    return {
        "benchmark": "relay",
        "machine": machine(),
        "calls": calls,
        "seconds": seconds,
        "runs": runs,
        "native_us_per_packet": median(cost["native"]),
        "reference_us_per_packet": median(cost["reference"]),
        "ratio": round(median(ratios), 4),
    }


def main(arguments: list[str]) -> Figures:
    """Measure as told and print; returns the figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench relay", description=__doc__)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = asyncio.run(compare(options.calls, options.seconds, options.rounds))
    if options.json:
        print(json.dumps(figures))
        return figures
    print(f"{options.calls} calls, 50 packets a second each way, medians of {options.rounds} runs")
    for run in figures["runs"]:
        print(
            f"  {run['engine']:10} {run['packets_per_s']:7} packets/s"
            f" {run['cpu_us_per_packet']:8.2f} µs CPU per packet, loss {run['loss']:.4%}"
        )
    print(f"native / reference: {figures['ratio']:.3f}")
    return figures
