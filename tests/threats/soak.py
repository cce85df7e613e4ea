"""Calls without end: whether memory, descriptors and tasks come back to what they were.

``scripts/soak [CALLS]`` makes so many calls (10^5 by default), one batch after the other, through
the session core and the plane, and compares the second half with the first: what grows then grows
for ever.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable

from benchmarks.figures import descriptors, rss_bytes
from tests.lab.world import STRANGER
from tests.threats.anchors import Ours, ours
from tests.threats.field import Field, Outcome

BATCH = 50
FULL = 100_000
GRACE_BYTES = 512 << 10
"""What an allocator may round up to; beside it a kilobyte for a thousand calls may be lost."""
TENTHS = 10
LOOPBACK = "127.0.0.1"
Told = Callable[[int, int, int], None]


async def f16(field: Field) -> Outcome:
    """10^5 calls are made and ended."""
    assert isinstance(field.anchor, Ours)
    return await soak(field.anchor, field.count(FULL))


def flat(outcome: Outcome) -> bool:
    """Whether nothing was left behind."""
    notes = outcome.notes
    most = GRACE_BYTES + notes["calls"] / 2
    steady = notes["plane_grew"] <= most and notes["core_grew"] <= most
    return steady and notes["descriptors"] == notes["sessions"] == notes["tasks"] == 0


async def soak(anchor: Ours, calls: int, told: Told = lambda *_: None) -> Outcome:
    """See the module's text; the figures are in `notes`, bytes and numbers that were left over.

    `told` hears the calls so far and both processes' memory, ten times.
    """
    await _made(anchor, 0, BATCH)
    idle = descriptors(anchor.pid), len(asyncio.all_tasks())
    started = time.monotonic()
    first, samples = BATCH, list[tuple[int, int]]()
    for tenth in range(1, TENTHS + 1):
        last = max(first, calls * tenth // TENTHS)
        await _made(anchor, first, last)
        first = last
        samples.append(_memory(anchor))
        told(last, *samples[-1])
    before, after = samples[TENTHS // 2 - 1], samples[-1]
    notes: dict[str, float] = {
        "calls": calls,
        "calls_per_s": round(calls / (time.monotonic() - started)),
        "plane_grew": after[0] - before[0],
        "core_grew": after[1] - before[1],
        "descriptors": descriptors(anchor.pid) - idle[0],
        "tasks": len(asyncio.all_tasks()) - idle[1],
        "sessions": len(anchor.registry),
    }
    return Outcome(notes=notes)


async def _made(anchor: Ours, first: int, last: int) -> None:
    """Calls of these numbers, all of them ended, their sockets closed."""
    party = (STRANGER, 9000)
    for start in range(first, last, BATCH):
        numbers = range(start, min(start + BATCH, last))
        for number in numbers:
            await anchor.call(number, (party, party), (STRANGER, STRANGER))
        for number in numbers:
            await anchor.hang_up(number)
    while await anchor.client.snapshot():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def _say(calls: int, plane: int, core: int) -> None:
    sys.stderr.write(f"{calls} calls: plane {plane >> 10} KiB, core {core >> 10} KiB\n")


def _memory(anchor: Ours) -> tuple[int, int]:
    gc.collect()
    return rss_bytes(anchor.pid), rss_bytes(os.getpid())


async def _run(calls: int) -> int:
    async with ours(None, linger_s=0.0, address=LOOPBACK) as anchor:
        outcome = await soak(anchor, calls, _say)
    sys.stdout.write(json.dumps(outcome.notes | {"flat": flat(outcome)}) + "\n")
    return int(not flat(outcome))


def main() -> int:
    """Soak as told; 1 if something was left behind."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=FULL)
    return asyncio.run(_run(parser.parse_args().calls))


if __name__ == "__main__":
    sys.exit(main())
