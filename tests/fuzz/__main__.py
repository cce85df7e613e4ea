"""``python -m tests.fuzz [TARGET ...] [--seconds S] [--cases N] [--seed N]``: see `targets`."""

import argparse
import hashlib
import random
import sys
import time
import traceback

from tests.fuzz.targets import CORPUS, TARGETS, kept, mutated


def fuzz(name: str, seconds: float, cases: int, seed: int) -> int:
    """Until the time or the cases are over; returns how many inputs broke the target."""
    target, real = TARGETS[name]
    seeds = [*real(), *(path.read_bytes() for path in kept(name))]
    chance = random.Random(seed)
    done = broken = 0
    until = time.monotonic() + seconds
    while done < cases and time.monotonic() < until and broken < 10:
        data = mutated(chance.choice(seeds), seeds, chance)
        done += 1
        try:
            target(data)
        except Exception:
            broken += 1
            path = CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            traceback.print_exc()
            sys.stderr.write(f"kept as {path}\n")
    sys.stdout.write(f"{name}: {done} cases, {broken} broken (seed {seed})\n")
    sys.stdout.flush()
    return broken


def main() -> int:
    """Fuzz as told; 1 if something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--cases", type=int, default=1_000_000, help="at most, for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    told = parser.parse_args()
    names = told.targets or list(TARGETS)
    return int(any([fuzz(name, told.seconds, told.cases, told.seed) for name in names]))


if __name__ == "__main__":
    sys.exit(main())
