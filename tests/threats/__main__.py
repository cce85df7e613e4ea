"""``scripts/threats [--full] [--json] [--record] [ROW ...]``: the table of attacks and faults.

Measured rows run against our relay and rtpengine, at a twentieth of the dose unless ``--full`` is
given; the others by the tests that take them.
"""

import argparse
import asyncio
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.threats.field import ANCHORS
from tests.threats.matrix import Row, measure, passes, rows, words

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "threats.md"
SHORT = 0.05
HEAD = Path(__file__).with_name("page.md")


async def measured(chosen: Iterable[Row], dose: float) -> dict[str, dict[str, Any]]:
    """Figures of the measured rows, by row and relay."""
    found: dict[str, dict[str, Any]] = {}
    kinds = [k for k in ANCHORS if k != "rtpengine" or shutil.which("rtpengine")]
    for row in chosen:
        if row.run is None:
            continue
        for kind in kinds:
            sys.stderr.write(f"[threats] {row.id}: {kind}\n")
            came = await measure(row, kind, dose)
            figures = dataclasses.asdict(came)
            told = {"words": words(row.id, came), "passes": passes(row.id, came)}
            found.setdefault(row.id, {})[kind] = {**told, "figures": figures}
    return found


def tested(chosen: Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many of the tests that take each row passed, and did not."""
    wanted = {row.id: row.tests for row in chosen if row.tests}
    nodes = sorted({node for tests in wanted.values() for node in tests})
    if not nodes:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report.name}"]
        subprocess.run([*command, *nodes], cwd=ROOT, stdout=sys.stderr, check=False)
        outcomes = list(_outcomes(ET.parse(report.name).getroot()))
    return {id: _sum(outcomes, tests) for id, tests in wanted.items()}


def _outcomes(report: ET.Element) -> Iterable[tuple[str, bool]]:
    """Every test's node id without its parameters, and whether it passed."""
    for case in report.iter("testcase"):
        if case.find("skipped") is None:
            module = [part for part in case.get("classname", "").split(".") if part.islower()]
            path = "/".join(module) + ".py"
            well = case.find("failure") is None and case.find("error") is None
            yield f"{path}::{case.get('name', '').partition('[')[0]}", well


def _sum(outcomes: Sequence[tuple[str, bool]], tests: Iterable[str]) -> dict[str, int]:
    mine = [well for node, well in outcomes if any(_is_in(node, test) for test in tests)]
    return {"passed": sum(mine), "failed": len(mine) - sum(mine)}


def _is_in(node: str, test: str) -> bool:
    return node == test or node.startswith((test + "::", test + "/"))


def verdict(row: Row, figures: Mapping[str, Any] | None, tests: Mapping[str, int] | None) -> str:
    """One word on a row: pass, part, no; or FAIL where what should be there is not."""
    if figures is not None and not figures["jingle-hnt"]["passes"]:
        return "**FAIL**"
    if tests is not None and (tests["failed"] or not tests["passed"]):
        return "**FAIL**"
    if row.not_reached is None:
        return "pass"
    return "part" if row.run or row.tests else "no"


def line(row: Row, figures: Mapping[str, Any] | None, tests: Mapping[str, int] | None) -> str:
    """A row of the page."""
    ours, theirs = [], ""
    if figures is not None:
        ours.append(figures["jingle-hnt"]["words"])
        if "rtpengine" in figures:
            told = figures["rtpengine"]
            theirs = f"{told['words']}: {'pass' if told['passes'] else 'fail'}"
    if tests is not None:
        ours.append(f"{tests['passed']} tests")
    if row.not_reached is not None:
        ours.append(row.not_reached)
    cells = (row.id, row.what, row.demanded, "; ".join(ours), theirs)
    return f"| {' | '.join(cells)} | {verdict(row, figures, tests)} |"


def _version() -> str:
    told = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).strip().rpartition(" ")[2] or "(not installed)"


def main() -> int:
    """Run what is asked for; 1 where a row does not do what it should."""
    known = rows()
    parser = argparse.ArgumentParser(prog="scripts/threats", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(known)}")
    parser.add_argument("--full", action="store_true", help="the full dose")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    parser.add_argument("--record", action="store_true", help="write docs/threats.md")
    options = parser.parse_args()
    unknown = [id for id in options.rows if id.upper() not in known]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[id.upper()] for id in options.rows] or list(known.values())
    dose = 1.0 if options.full else SHORT
    figures = asyncio.run(measured(chosen, dose))
    tests = tested(chosen)
    lines = [line(row, figures.get(row.id), tests.get(row.id)) for row in chosen]
    if options.json:
        whole = {
            row.id: {
                "verdict": verdict(row, figures.get(row.id), tests.get(row.id)),
                "measured": figures.get(row.id),
                "tests": tests.get(row.id),
                "not_reached": row.not_reached,
            }
            for row in chosen
        }
        sys.stdout.write(json.dumps(whole) + "\n")
    else:
        sys.stdout.write("\n".join(lines) + "\n")
    if options.record:
        part = "the whole" if options.full else "a twentieth"
        head = HEAD.read_text().format(dose=part, version=_version())
        PAGE.write_text(head + "\n".join(lines) + "\n")
    return int(any("FAIL" in text for text in lines))


if __name__ == "__main__":
    sys.exit(main())
