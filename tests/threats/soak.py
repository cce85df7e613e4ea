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

from benchmarks.figures import descriptors, rss_bytes
from tests.lab.world import STRANGER
from tests.threats.anchors import Ours
from tests.threats.field import Field, Outcome, on

BATCH = 50
FULL = 100_000
GRACE_BYTES = 512 << 10
"""What an allocator may round up to; beside it a kilobyte for a thousand calls may be lost."""


async def f16(field: Field) -> Outcome:
    """10^5 calls are made and ended."""
    return await soak(field, field.count(FULL))


def flat(outcome: Outcome) -> bool:
    """Whether nothing was left behind."""
    notes = outcome.notes
    most = GRACE_BYTES + notes["calls"]
    steady = notes["plane_grew"] <= most and notes["core_grew"] <= most
    return steady and notes["descriptors"] == notes["sessions"] == notes["tasks"] == 0


async def soak(field: Field, calls: int) -> Outcome:
    """See the module's text; the figures are in `notes`, bytes and numbers that were left over."""
    anchor = field.anchor
    assert isinstance(anchor, Ours)
    half = max(BATCH, calls // 2)
    await _made(anchor, 0, BATCH)
    idle = descriptors(anchor.pid), len(asyncio.all_tasks())
    await _made(anchor, BATCH, half)
    before = _memory(anchor)
    started = time.monotonic()
    await _made(anchor, half, calls)
    rate = (calls - half) / (time.monotonic() - started)
    after = _memory(anchor)
    notes: dict[str, float] = {
        "calls": calls,
        "calls_per_s": round(rate),
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


def _memory(anchor: Ours) -> tuple[int, int]:
    gc.collect()
    return rss_bytes(anchor.pid), rss_bytes(os.getpid())


async def _run(calls: int) -> int:
    async with on("jingle-hnt", 1.0, linger_s=0.0) as field:
        outcome = await soak(field, calls)
    sys.stdout.write(json.dumps(outcome.notes | {"flat": flat(outcome)}) + "\n")
    return int(not flat(outcome))


def main() -> int:
    """Soak as told; 1 if something was left behind."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=FULL)
    return asyncio.run(_run(parser.parse_args().calls))


if __name__ == "__main__":
    sys.exit(main())
