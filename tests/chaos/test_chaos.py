"""A minute of faults, and one without: what `scripts/chaos` runs for as long as it is told."""

import asyncio
from typing import Any

import pytest

from tests.chaos.__main__ import Plan, chaos

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PAIRS = 20
"""Beside other tests."""


def test_without_faults_nothing_is_lost() -> None:
    verdict = run(Plan(seconds=15, seed=1, faults=False, pairs=PAIRS))
    assert verdict["failures"] == []
    assert verdict["gaps_s"] == {}
    assert verdict["relayed"] == verdict["calls"] >= PAIRS


def test_whatever_fails_nothing_is_lost() -> None:
    verdict = run(Plan(seconds=60, seed=20, pairs=PAIRS))
    assert verdict["failures"] == []
    assert sum(verdict["faults"].values()) >= 5
    assert verdict["relayed"] >= PAIRS


def run(plan: Plan) -> dict[str, Any]:
    return asyncio.run(chaos(plan, echo=False))
