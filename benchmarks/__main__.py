"""``python -m benchmarks NAME [options]``; `scripts/bench` does the set-up first."""

import sys

from benchmarks import bindings, relay, setup

BENCHMARKS = {"relay": relay.main, "bindings": bindings.main, "setup": setup.main}


def run() -> int:
    """Run one benchmark by name, or all of them."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name == "all":
        for main in BENCHMARKS.values():
            main(rest)
        return 0
    if name not in BENCHMARKS:
        names = ", ".join(BENCHMARKS)
        print(f"usage: scripts/bench NAME [--json] [options]; NAME is one of {names}, all")
        return 0 if name == "--help" else 2
    BENCHMARKS[name](rest)
    return 0


if __name__ == "__main__":
    sys.exit(run())
