"""``python -m benchmarks NAME [options]``; `scripts/bench` does the set-up first.

Every benchmark has a `main`, which takes its own options and returns figures, and a `rows`, which
makes a table of them.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from benchmarks import (
    asking,
    bindings,
    capacity,
    latency,
    memory,
    modules,
    neighbours,
    pages,
    reference,
    relay,
    saturation,
    setup,
    signalling,
    video,
)

MAINS: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "relay": relay.main,
    "video": video.main,
    "reference": reference.main,
    "latency": latency.main,
    "saturation": saturation.main,
    "memory": memory.main,
    "bindings": bindings.main,
    "setup": setup.main,
    "signalling": signalling.main,
    "modules": modules.main,
    "capacity": capacity.main,
    "neighbours": neighbours.main,
    "asking": asking.main,
}
ROWS: dict[str, pages.Rows] = {
    "relay": relay.rows,
    "video": relay.rows,
    "reference": relay.rows,
    "latency": latency.rows,
    "saturation": saturation.rows,
    "memory": memory.rows,
    "bindings": bindings.rows,
    "setup": setup.rows,
    "signalling": signalling.rows,
    "modules": modules.rows,
    "capacity": capacity.rows,
    "neighbours": neighbours.rows,
    "asking": asking.rows,
}


def run() -> int:
    """Run one benchmark by name, or all of them, and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        epilog="Further options are the benchmark's own: scripts/bench NAME -- --help",
    )
    parser.add_argument("name", choices=[*MAINS, "all", "pages"])
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    parser.add_argument("--record", action="store_true", help="keep the figures, write the pages")
    parser.add_argument(
        "--limit", type=int, default=900, help="seconds that one benchmark may take (%(default)s)"
    )
    options, rest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGALRM, _too_long)
    names = {"all": list(MAINS), "pages": []}.get(options.name, [options.name])
    for name in names:
        signal.alarm(options.limit)
        figures = {"benchmark": name, **MAINS[name]([word for word in rest if word != "--"])}
        print(json.dumps(figures) if options.json else f"{name}\n\n{ROWS[name](figures)}\n")
        signal.alarm(0)
        if options.record:
            pages.record(name, figures)
    if options.record or options.name == "pages":
        pages.write(ROWS)
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that namespaces and processes are removed."""
    raise SystemExit(128 + number)


def _too_long(number: int, frame: FrameType | None) -> None:
    """As `_stop`, with the reason: nothing here goes on for ever."""
    print("[bench] takes longer than --limit allows; it is ended", file=sys.stderr)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(run())
