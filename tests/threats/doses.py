"""How much of a row's dose the tests give that show it, and what they measured.

Tests that are run by themselves, as in CI, give a twentieth; `scripts/threats --full` gives all.
"""

import os
from collections.abc import Callable
from xml.etree import ElementTree as ET

Measured = Callable[[str, object], None]
"""Notes a figure of a test; pytest's `record_property`."""
VARIABLE = "THREATS_DOSE"
TWENTIETH = 0.05


def dose() -> float:
    """The part of the full dose that is to be given."""
    return float(os.environ.get(VARIABLE, TWENTIETH))


def count(full: int) -> int:
    """So many at this dose."""
    return max(1, round(full * dose()))


def seconds(full: float, least: float) -> float:
    """So long at this dose, and never shorter than what shows anything."""
    return max(least, full * dose())


def noted(report: str) -> dict[str, dict[str, str]]:
    """What the tests of a report of pytest's (JUnit's XML) have noted, by test and parameters."""
    found = {}
    for case in ET.parse(report).iter("testcase"):
        figures = {p.get("name", ""): p.get("value", "") for p in case.iter("property")}
        if figures:
            found[case.get("name", "")] = figures
    return found
