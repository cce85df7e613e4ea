"""Row F40 of docs/threats.md: some seconds of faults, and at night some without.

`scripts/chaos` plays it for as long as one likes, and ten minutes of it at night.
"""

import asyncio
from typing import Any

import pytest

from tests.chaos.__main__ import Plan, chaos
from tests.threats import doses
from tests.threats.doses import Measured

FULL_S = 3600.0

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(400 + 3 * FULL_S)]

PAIRS = 20
"""Beside other tests."""
SHORT_S = 20.0
"""Long enough for some faults, each of which takes seconds; all kinds of them need hours."""


@pytest.mark.soak
def test_without_faults_nothing_is_lost(record_property: Measured) -> None:
    verdict = run(Plan(seconds=15, seed=1, faults=False, pairs=PAIRS), record_property)
    assert verdict["failures"] == []
    assert verdict["gaps_s"] == {}
    assert verdict["relayed"] == verdict["calls"] >= PAIRS


def test_whatever_fails_nothing_is_lost(record_property: Measured) -> None:
    seconds = FULL_S if doses.dose() == 1 else SHORT_S
    verdict = run(Plan(seconds=seconds, seed=20, pairs=PAIRS), record_property)
    assert verdict["failures"] == []
    assert sum(verdict["faults"].values()) >= seconds // 20
    assert verdict["relayed"] >= PAIRS


def run(plan: Plan, record: Measured) -> dict[str, Any]:
    verdict = asyncio.run(chaos(plan, echo=False))
    record("seconds", int(plan.seconds))
    record("faults", sum(verdict["faults"].values()))
    for name in ("calls", "relayed", "packets", "crossed"):
        record(name, verdict[name])
    for kind in ("kill-plane", "kill-run", "kill-signalling"):
        if kind in verdict["gaps_s"]:
            record(f"{kind}_gap_s", verdict["gaps_s"][kind]["median"])
    return verdict
