"""Calls without end through the session core alone: whether its memory is flat.

``python -m tests.jingle.endless [CALLS]`` prints the resident memory after each 10^5 calls (3 by
default); it needs no root and no network. `scripts/soak` has the plane as well.
"""

import gc
import os
import sys

from benchmarks.figures import rss_bytes
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import Stage, content

EACH = 100_000
USERS = 5000
APART_S = 0.1


def calls(stage: Stage, first: int, last: int) -> None:
    """Calls of these numbers, one after the other, each made, answered and ended."""
    for number in range(first, last):
        caller, callee = (JID.of(f"{who}{number % USERS}@example.org/x") for who in "ab")
        sid = f"s{number}"
        stage.says(caller, Action.SESSION_INITIATE, content(), to=callee, sid=sid)
        stage.says(callee, Action.SESSION_ACCEPT, stage.bobs(), to=caller, sid=sid)
        stage.says(caller, Action.SESSION_TERMINATE, to=callee, sid=sid)
        stage.drain()
        for kept in (stage.answers, stage.order, stage.ended, stage.injected, stage.remembered):
            kept.clear()
        stage.now += APART_S
        stage.registry.calls.expire(stage.now)


def main() -> int:
    """1 if more than a kilobyte for a thousand calls was lost after the first 10^5."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3 * EACH
    stage = Stage(ports=(2000, 3999))
    sizes = []
    for first in range(0, count, EACH):
        calls(stage, first, min(first + EACH, count))
        gc.collect()
        sizes.append(rss_bytes(os.getpid()))
        sys.stdout.write(f"{min(first + EACH, count)} calls: {sizes[-1]} bytes\n")
        sys.stdout.flush()
    return int(sizes[-1] - sizes[0] > count - EACH)


if __name__ == "__main__":
    sys.exit(main())
