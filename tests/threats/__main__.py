"""``python -m tests.threats [--full] [--json] [ROW ...]``; `scripts/threats` does the set-up first.

A row is measured where `rows` has its attack, and taken by the tests that `matrix.toml` names.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from benchmarks.figures import machine
from tests.threats import doses, page
from tests.threats.field import ANCHORS, ROOT, on
from tests.threats.matrix import Entry, entries
from tests.threats.rows import MEASURED, Row, figures

CI_DOSE, FULL_DOSE = 0.05, 1.0

Result = dict[str, Any]


async def measure(row: Row, relay: str, dose: float) -> Result:
    """One row on one relay: its figures, and whether they are what is demanded."""
    async with on(relay, dose, row.linger_s) as field:
        outcome = await row.run(field)
    return {"figures": figures(row, outcome), "met": row.met(outcome), "dose": dose}


def tested(tests: Sequence[str], dose: float) -> Result:
    """Run the tests that show a row; `figures` are what they have noted, by test."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        words += [f"--junitxml={report.name}", "-o", "junit_family=xunit1", *tests]
        environment = {**os.environ, doses.VARIABLE: str(dose)}
        done = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
        )
        noted = doses.noted(report.name) if done.returncode == 0 else {}
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
    result: Result = {"tests": list(tests), "met": done.returncode == 0}
    return result | ({"figures": noted, "dose": dose} if noted else {})


def run(entry: Entry, relays: Sequence[str], dose: float) -> Result:
    """Everything there is to a row on these relays; the tests are about ours."""
    result: Result = {}
    row = MEASURED.get(entry.id)
    if row is not None:
        for relay in relays:
            if relay in row.relays:
                result[relay] = asyncio.run(measure(row, relay, dose))
    if entry.tests and "jingle-hnt" in relays:
        result["tested"] = tested(entry.tests, dose)
    return result


def main() -> int:
    """Attack as told, and print what came of it; 1 if a row that is said to hold does not."""
    parser = argparse.ArgumentParser(prog="scripts/threats", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="such as M1; all if none is named")
    parser.add_argument("--full", action="store_true", help="the full dose, not a twentieth")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--relay", choices=ANCHORS, help="attack this one only")
    parser.add_argument("--record", action="store_true", help="keep the figures, write the page")
    parser.add_argument("--page", action="store_true", help="write the page from what is kept")
    parser.add_argument("--check", action="store_true", help="1 if the page is out of date")
    options = parser.parse_args()
    if options.page or options.check:
        return page.write(options.check)
    signal.signal(signal.SIGTERM, _stop)
    known = {entry.id: entry for entry in entries()}
    wanted = [name.upper() for name in options.rows] or list(known)
    for name in wanted:
        if name not in known:
            parser.error(f"there is no row {name}; rows are {', '.join(known)}")
    results = {}
    for name in wanted:
        results[name] = _row(known[name], options)
        if options.record:
            page.record({name: results[name]}, machine())
    if options.json:
        print(json.dumps({"machine": machine(), "rows": results}))
    if options.record:
        page.write(check=False)
    broken = [name for name in wanted if page.passed(results[name]) is False]
    return int(any(not known[name].not_yet for name in broken))


def _row(entry: Entry, options: argparse.Namespace) -> Result:
    relays = [options.relay] if options.relay else list(ANCHORS)
    started = time.monotonic()
    result = run(entry, relays, FULL_DOSE if options.full else CI_DOSE)
    lines = page.row(entry, result)
    shown = sys.stderr if options.json else sys.stdout
    print(f"{lines} {time.monotonic() - started:.0f} s", file=shown, flush=True)
    return result


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that namespaces and processes are removed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
