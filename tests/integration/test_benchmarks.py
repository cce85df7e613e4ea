"""The benchmarks themselves: short runs whose figures have the shape that pages are made from."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import asking, memory, pages, relay, rig, saturation
from benchmarks.generator import Generators, Load
from benchmarks.losses import look, waiting
from benchmarks.network import RELAY, Network
from benchmarks.rtpengine import bdecode, bencode
from tests.lab.play import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.busy]

SHORT = Load(pps=20, warm_s=0.5, seconds=0.5)
CALLS = 5
EACH_WAY = [CALLS * 10, CALLS * 10]


def bench(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=55)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.native
def test_command_line_prints_json() -> None:
    figures = bench("relay", "--against", "reference", "--calls", "2", "--quick", "--seconds", "1")
    assert figures["benchmark"] == "relay"
    assert [run["relay"] for run in figures["runs"]] == ["native", "reference"]


@pytest.mark.native
def test_bindings_are_made_and_leave_nothing_open() -> None:
    figures = bench("bindings", "--calls", "50")
    assert figures["descriptors_left"] == 0
    assert [line["relay"] for line in figures["summary"]] == ["native", "native", "rtpengine"]
    assert all(line["calls_per_s"] > 0 for line in figures["summary"])


@pytest.mark.native
def test_what_calls_take_is_given_back() -> None:
    figures = bench("memory", "--bindings", "40")
    ours, theirs = figures["summary"]
    assert [ours["relay"], theirs["relay"]] == ["native", "rtpengine"]
    assert ours["silent_flows"] == ours["descriptors_left"] == ours["bindings_left"] == 0
    assert ours["descriptors_per_call"] == 8


def test_more_bindings_than_descriptors_are_shared_by_planes() -> None:
    assert memory.shares(10, 4) == [range(4), range(4, 8), range(8, 10)]
    assert memory.shares(8, 4) == [range(4), range(4, 8)]


@pytest.mark.native
def test_capacity_is_measured_without_a_server() -> None:
    figures = bench("capacity", "--calls", "20", "--seconds", "0.2")
    assert figures["refused"] == 0
    assert figures["calls_per_s"] > 0
    assert len(figures["rss_mb"]) == 11
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


@pytest.mark.native
async def test_relay_benchmark_hears_every_packet_both_ways() -> None:
    kinds = ("native", "reference", relay.SAME_THREADS, "rtpengine")
    figures = await relay.compare(kinds, [CALLS], 1, SHORT)
    assert [run["relay"] for run in figures["runs"]] == list(kinds)
    for run in figures["runs"]:
        assert run["sent"] == run["heard"] == EACH_WAY
        assert run["loss"] == [0, 0]
        assert run["silent_flows"] == run["foreign"] == run["duplicates"] == 0
        assert run["cpu_us_per_packet"] > 0
        assert run["p99_ms"] >= run["p50_ms"] > 0
    (line,) = figures["summary"]
    assert all(ratio > 0 for ratio in line["ratio"].values())


def test_the_table_says_how_many_threads_each_relay_has() -> None:
    relays = [
        {"packets_per_s": 1000, "cpu_us_per_packet": cost, "worst_loss": 0, "p50_ms": 1}
        | {"p99_ms": 2, "relay": kind}
        for kind, cost in (("native", 6.0), (relay.SAME_THREADS, 10.0), ("rtpengine", 12.0))
    ]
    ratio = {relay.SAME_THREADS: 0.6, "rtpengine": 0.5}
    table = relay.rows({"summary": [{"calls": 100, "relays": relays, "ratio": ratio}]})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    shown = [(row[1], row[2], row[-1]) for row in rows]
    assert shown == [
        ("native", "1", ""),
        ("rtpengine", "1", "0.60"),
        ("rtpengine", "default", "0.50"),
    ]


async def test_calls_that_do_not_connect_are_found_out() -> None:
    with Network() as network:
        async with rig.relay_of("reference", network) as at:
            mine, yours = await at.calls(CALLS)
            there = [(RELAY, port) for port in mine]
            away = [(RELAY, port + 2 * CALLS) for port in yours]  # where nobody listens
            traffic, _, _ = await rig.drive(network, (there, away), SHORT, at.pid)
            assert sum(traffic.heard) == 0
            assert list(traffic.loss) == [1, 1]
            assert traffic.silent_flows == 2 * CALLS


def test_what_a_queue_had_no_room_for_is_told() -> None:
    before = look([os.getpid()], [])
    with (
        socket.socket(type=socket.SOCK_DGRAM) as full,
        socket.socket(type=socket.SOCK_DGRAM) as sender,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least: a few packets
        full.bind(("127.0.0.1", 0))
        for _ in range(50):
            sender.sendto(bytes(1000), full.getsockname())
        assert waiting(os.getpid()) > 1000
        dropped = look([os.getpid(), os.getpid()], []) - before
    assert dropped.relay > 30  # others on this machine may have lost some as well
    assert dropped.generators == 0


@pytest.mark.parametrize(
    ("dropped", "why"),
    [
        ({"backlog": 1, "relay": 9, "nobody": 2}, "loss of 40.0%: the relay's queues"),
        ({"backlog": 1, "relay": 2, "nobody": 9}, "loss of 40.0%: not there in time"),
    ],
)
def test_a_step_that_failed_says_where_its_packets_are(dropped: dict[str, int], why: str) -> None:
    failed = {"loss": [0.1, 0.4], "dropped_by": dropped}
    line = {"relay": "native", "workers": 1, "best": None, "stopped_by": "loss", "failed": failed}
    assert why in saturation.rows({"summary": [line]})


async def test_the_wire_itself_loses_nothing() -> None:
    with Network() as network:
        run = await rig.measure_wire(network, CALLS, SHORT)
    assert run["heard"] == EACH_WAY
    assert run["dropped_by"]["generators"] == run["dropped_by"]["nobody"] == 0
    assert run["foreign"] == 0


@pytest.mark.native
async def test_bursts_are_relayed_whole_and_in_order() -> None:
    frames = replace(SHORT, pps=60, size=1200, burst=10)
    with Network() as network:
        run = await rig.measure(network, "native", CALLS, frames)
    assert run["sent"] == run["heard"] == [CALLS * 30, CALLS * 30]
    assert run["reordered"] == run["duplicates"] == run["foreign"] == 0


async def test_generators_end_when_they_are_stopped() -> None:
    with Network() as network:
        long = Load(seconds=600)
        generators = await Generators.start(network, ([(RELAY, 9)], [(RELAY, 9)]), long)
        started = time.monotonic()
        await generators.stop()
        assert time.monotonic() - started < long.seconds / 2


def test_bencoding_is_read_as_it_was_written() -> None:
    value = {"command": "offer", "flags": ["strict source"], "n": -3, "sdp": "v=0\r\né"}
    assert bdecode(bencode(value)) == value
    assert bencode({"b": 1, "a": ["é"]}) == b"d1:al2:\xc3\xa9e1:bi1ee"
    with pytest.raises(ValueError, match="bencoded"):
        bdecode(b"i1ee")


def test_tables_go_between_their_markers_and_again() -> None:
    begin, end = pages.BEGIN.format(name="relay"), pages.END.format(name="relay")
    once = pages.filled(f"before\n{begin}\n{end}\nafter\n", {"relay": "| a |", "memory": "| b |"})
    assert once == f"before\n{begin}\n\n| a |\n\n{end}\nafter\n"
    assert pages.filled(once, {"relay": "| a |"}) == once
    with pytest.raises(ValueError, match="lacks its end"):
        pages.filled(begin, {"relay": "| a |"})


def test_the_health_check_is_measured_beside_a_python_that_does_nothing() -> None:
    figures = asking.measure(2)
    assert figures["cpu_ms"]["status"] > figures["cpu_ms"]["nothing"] > 0
    assert "`jingle-hnt status`" in asking.rows(figures)
