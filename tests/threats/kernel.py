"""Rows F in which the kernel says no (files, ports, ICMP), or the session core has no time."""

import asyncio
import contextlib
import gc
import random
import resource
import subprocess
import time
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.network import udp_socket
from tests.lab.play import descriptors
from tests.lab.world import RELAY
from tests.threats import anchors
from tests.threats.anchors import Call, Ours, Refused
from tests.threats.faults import as_soon_as, hang_up, one_more, ours, p99, until_empty
from tests.threats.field import Attack, Field, Outcome, count_in, delivered, finished
from tests.threats.media import CALLS

NOFILE = 256
TRIES = 100
RANGE, FOREIGN = 400, 40
FULL_CALLS = 1000
PPS_OF_ICMP = 500
ANOTHER_CALL = 10_000
EDGE_S = 0.1
"""Shutting ports and opening them takes its time."""
STALLS, STALL_S = 20, 1.0
MORE_MS, FEW_MS = 5.0, 20.0
"""What packets may be longer under way; the latter at less than the full dose, in less quiet."""
QUIET_S, SETTLED_S = 3.0, 0.3
GARBAGE = 300_000
"""Objects in cycles, for the garbage collector to find."""


async def f8(field: Field) -> Outcome:
    """The plane may open 256 files, and calls are made until that is not enough."""
    anchor = ours(field)
    anchor.allow(linger_s=0.0)
    idle = descriptors(anchor.pid)
    resource.prlimit(anchor.pid, resource.RLIMIT_NOFILE, (NOFILE, NOFILE))
    calls = await field.calls(CALLS)
    more: list[int] = []
    refused: list[float] = []
    reasons: set[str] = set()
    free_s = 0.0

    async def call_on(starts_at: float) -> None:
        nonlocal free_s
        await asyncio.sleep(starts_at + 1 - time.time())
        for number in range(CALLS, TRIES):
            started = time.monotonic()
            try:
                await one_more(field, number)
            except Refused as refusal:
                refused.append(time.monotonic() - started)
                reasons.add(str(refusal))
            else:
                more.append(number)
        await anchor.hang_up(more.pop())
        started = time.monotonic()
        more.append(await as_soon_as(field, TRIES))
        free_s = time.monotonic() - started

    outcome = await field.talk(calls, 4, meanwhile=call_on)
    made = [call.number for call in calls] + more
    await hang_up(anchor, made)
    await until_empty(anchor)
    outcome.notes |= {
        "limit": resource.prlimit(anchor.pid, resource.RLIMIT_NOFILE)[0],
        "calls": len(made),
        "refused": len(refused),
        "answer_ms": 1000 * max(refused, default=9.0),
        "other_reasons": sum("resource-constraint" not in reason for reason in reasons),
        "free_s": free_s,
        "left": anchor.registry.calls.planes.counts.leased,
        "descriptors_left": descriptors(anchor.pid) - idle,
        "tracebacks": anchor.log_text.count("Traceback"),
    }
    return outcome


def refused_at_once(outcome: Outcome) -> bool:
    """As in row F7: who is too much is told why and soon, nobody else notices, nothing is left."""
    notes = outcome.notes
    told = notes["refused"] > 0 and notes["answer_ms"] <= 50 and notes["free_s"] <= 1
    left = notes["left"] or notes["descriptors_left"] or notes["tracebacks"]
    return told and outcome.live >= 1.0 and not left and not notes["other_reasons"]


async def f9(field: Field) -> Outcome:
    """Other processes hold a tenth of the ports."""
    anchor, chance = ours(field), random.Random(9)
    anchor.only(RANGE, chance.randrange)
    anchor.allow(linger_s=0.0)
    first = anchors.PORTS[0]
    foreign = chance.sample(range(first, first + RANGE), FOREIGN)
    with contextlib.ExitStack() as held:
        for port in foreign:
            held.enter_context(udp_socket(field.lab.namespace("relay"), (RELAY, port)))
        times: list[float] = []
        refused = on_foreign = 0
        for number in range(ANOTHER_CALL, ANOTHER_CALL + field.count(FULL_CALLS)):
            started = time.monotonic()
            try:
                call = await one_more(field, number)
            except Refused:
                refused += 1
                continue
            times.append(time.monotonic() - started)
            on_foreign += len(set(foreign).intersection(call.live))
            await anchor.hang_up(number)
        shunned = anchor.registry.calls.planes.counts.shunned
        await until_empty(anchor)
        outcome = await field.talk(await field.calls(CALLS), 2)
    outcome.notes |= {
        "foreign": len(foreign),
        "calls": len(times),
        "refused": refused,
        "on_foreign": on_foreign,
        "shunned": shunned,
        "answer_ms": 1000 * max(times),
    }
    return outcome


def others_taken(outcome: Outcome) -> bool:
    """All calls are made, on ports of ours only, although many were tried that are not."""
    notes = outcome.notes
    made = notes["refused"] == notes["on_foreign"] == 0 and notes["calls"] > 0
    return made and notes["shunned"] > 0 and outcome.live >= 0.995


async def f13(field: Field) -> Outcome:
    """The first call's callee shuts its ports and is sent 500 packets a second; an attacker says as
    often of each other call that its parties cannot be reached."""
    anchor = ours(field)
    _answer_each(field, "office")
    calls = await field.calls(CALLS)
    gone_s = field.seconds(20, 3)
    gone, back = 1.5, 1.5 + gone_s
    field.loud, field.gone = {0: "fast"}, {0: (gone, back)}
    forging: list[asyncio.subprocess.Process] = []
    lines, icmps = len(anchor.log_text.splitlines()), _icmps(field)

    async def forge(starts_at: float) -> None:
        await asyncio.sleep(starts_at + gone - time.time())
        words = ["--seconds", str(gone_s), "--pps", str(PPS_OF_ICMP * (CALLS - 1))]
        targets = await _legs(anchor, calls[1:])
        forging.append(await field.attack(Attack([*words, "--unreachable", ",".join(targets)])))

    outcome = await field.talk(calls, back + 2, meanwhile=forge, attacked=[0])
    for process in forging:
        count_in(outcome, await finished(process))
    dead_lost, lost = _lost(field)
    outcome.notes |= {
        "icmps_per_s": round((_icmps(field) - icmps) / gone_s),
        "packets": sum(len(sink["sent_at"]) for side in field.told for p in side for sink in p),
        "dead_lost": dead_lost,
        "lost": lost,
        "lines_per_s": (len(anchor.log_text.splitlines()) - lines) / (back + 2),
    }
    return outcome


def _answer_each(field: Field, node: str) -> None:
    """Have the kernel of a node tell of each packet that it has no port for."""
    for name in ("icmp_ratelimit=0", "icmp_msgs_per_sec=1000000"):
        words = field.lab.command(node, ["sysctl", "-qw", f"net.ipv4.{name}"])
        subprocess.run(words, check=True)


def _icmps(field: Field) -> int:
    """How many destinations the relay's kernel was told to be unreachable."""
    words = field.lab.command("relay", ["cat", "/proc/net/snmp"])
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    names, values = (line.split() for line in told.splitlines() if line.startswith("Icmp:"))
    return int(values[names.index("InDestUnreachs")])


async def _legs(anchor: Ours, calls: Sequence[Call]) -> list[str]:
    """The relay's ports of these calls, and where it sends from them."""
    ports = {port for call in calls for port in call.live}
    return [
        f"{pinhole.bound.port}>{pinhole.learned.ip}>{pinhole.learned.port}"
        for binding in await anchor.client.snapshot()
        for pinhole in binding.pinholes
        if pinhole.bound.port in ports and pinhole.learned is not None
    ]


def _lost(field: Field) -> tuple[int, int]:
    """How many packets did not arrive: those for who was gone meanwhile, and all others."""
    callee = field.told[1][0]
    gone = [max(pairwise(sink["sent_at"]), key=lambda pair: pair[1] - pair[0]) for sink in callee]
    dead = lost = 0
    for number, parties in enumerate(zip(*field.told, strict=True)):
        for component, (one, other) in enumerate(zip(*parties, strict=True)):
            for sender, receiver in ((one, other), (other, one)):
                wanted, heard = delivered(sender, receiver)
                times = [sender["sent_at"][n] for n in wanted - heard]
                first, last = gone[component]
                to_nobody = number == 0 and receiver is other
                early = sum(first - EDGE_S < at < last + EDGE_S for at in times) if to_nobody else 0
                dead += early
                lost += len(times) - early
    return dead, lost


def harmless(outcome: Outcome) -> bool:
    """Nothing is lost but what was for who was gone; who is back is heard, and hears, at once."""
    notes = outcome.notes
    told = notes["icmps_per_s"] >= 0.5 * PPS_OF_ICMP * CALLS and notes["dead_lost"] > 0
    return told and notes["lost"] == 0 and notes["lines_per_s"] <= 1


async def f18(field: Field) -> Outcome:
    """The session core's event loop stands still for a second again and again, of which it spends a
    part on collecting garbage: nothing else runs in its process.

    `way_ms` is the time that packets are under way, p99, and `more_ms` by how much it is longer
    meanwhile.
    """
    calls = await field.calls(CALLS)
    stalls = field.count(STALLS) + 1
    stalled: list[tuple[float, float]] = []
    collected: list[float] = []

    async def stall(starts_at: float) -> None:
        await asyncio.sleep(starts_at + QUIET_S - time.time())
        for _ in range(stalls):
            garbage = [[number] for number in range(GARBAGE)]
            for each in garbage:
                each.append(each)  # type: ignore[arg-type]
            began_at = time.monotonic()
            del garbage, each
            gc.collect()
            collected.append(time.monotonic() - began_at)
            while time.monotonic() < began_at + STALL_S:
                pass
            stalled.append((began_at, time.monotonic()))
            await asyncio.sleep(STALL_S)

    outcome = await field.talk(calls, QUIET_S + stalls * 2.5 * STALL_S, meanwhile=stall)
    quiet, busy = _ways(field, stalled)
    outcome.notes |= {
        "stalls": len(stalled),
        "stall_ms": 1000 * min(last - first for first, last in stalled),
        "gc_ms": 1000 * max(collected),
        "packets": len(quiet) + len(busy),
        "lost": sum(_lost(field)),
        "way_ms": 1000 * p99(quiet),
        "more_ms": 1000 * (p99(busy) - p99(quiet)),
    }
    return outcome


def _ways(field: Field, stalled: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """How long packets were under way while nothing was wrong, and while the loop stood still."""
    quiet: list[float] = []
    busy: list[float] = []
    parties = [party for side in field.told for party in side]
    begun_at = max(sink["sent_at"][0] for party in parties for sink in party) + SETTLED_S
    for one, other in zip(*field.told, strict=True):
        for pair in zip(one, other, strict=True):
            for sender, receiver in (pair, pair[::-1]):
                for number, at in zip(receiver["numbers"], receiver["heard_at"], strict=True):
                    sent_at = sender["sent_at"][number]
                    if sent_at > begun_at:
                        within = any(first < sent_at < last for first, last in stalled)
                        (busy if within else quiet).append(at - sent_at)
    return quiet, busy


def unstirred(outcome: Outcome) -> bool:
    """Nothing is lost, and nothing comes much later."""
    notes = outcome.notes
    stood_still = notes["stalls"] > 0 and notes["stall_ms"] >= 1000 * STALL_S
    allowed_ms = MORE_MS if notes["stalls"] > STALLS else FEW_MS
    return stood_still and notes["lost"] == 0 and notes["more_ms"] <= allowed_ms
