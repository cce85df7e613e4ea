"""The measured rows of the table of attacks, on us, at a twentieth of the dose or less.

`scripts/threats` measures them at any dose, and on rtpengine as well.
"""

import pytest

from tests.threats.field import on
from tests.threats.matrix import entries
from tests.threats.rows import MEASURED, figures

DOSE = 0.02
WHOLE_MACHINE = ("M16", "F5", "X8", "X9", "X11", "P5")
"""Rows that need a machine of their own: their figures are times."""

TO_THE_PACKET = ("M8", "M18", "S8", "F8", "F13", "F18")
"""Rows in which a single packet counts: beside another test a late process loses one."""

KNOWN = {entry.id: entry.not_yet for entry in entries() if entry.not_yet}

pytestmark = [pytest.mark.integration, pytest.mark.busy]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.alone] if name in TO_THE_PACKET else [])
        for name in MEASURED
        if name not in WHOLE_MACHINE
    ],
)
async def test_the_attack_fails(name: str) -> None:
    if name in KNOWN:
        pytest.skip(KNOWN[name])
    row = MEASURED[name]
    async with on("jingle-hnt", DOSE, row.linger_s) as field:
        outcome = await row.run(field)
    assert row.met(outcome), figures(row, outcome)
