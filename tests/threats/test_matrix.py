"""The table of attacks: nothing is left out, and what it names exists."""

from pathlib import Path

import pytest

from tests.threats import page
from tests.threats.field import Outcome
from tests.threats.matrix import entries
from tests.threats.rows import MEASURED, figures

ROOT = Path(__file__).parent.parent.parent
ROWS = [f"{kind}{n}" for kind, last in (("M", 20), ("S", 8), ("X", 19), ("F", 24))
        for n in range(1, last + 1)]  # fmt: skip


def test_every_row_is_there_once_and_in_order() -> None:
    assert [entry.id for entry in entries()] == ROWS


@pytest.mark.parametrize("named", sorted({test for entry in entries() for test in entry.tests}))
def test_a_named_test_exists(named: str) -> None:
    file, _, name = named.partition("::")
    path = ROOT / file
    assert path.name.startswith("test_")
    assert f"def {name}(" in path.read_text() if name else path.exists()


@pytest.mark.parametrize("name", MEASURED)
def test_a_dead_call_or_a_leak_is_no_pass(name: str) -> None:
    """An outcome in which everything went wrong satisfies no row."""
    bad = Outcome(sent=1, bleed=1, inject=1, live=0.0, neighbours=0.0, answers=1, gap_ms=9e9)
    bad.gap_packets = 26
    bad.notes = {"strayed": 1, "forwarded": 2, "injected": 1, "cpu_more": 9.0, "offers": 1}
    bad.notes |= {"calls": 1, "plane_grew": 9e9, "core_grew": 9e9}
    assert not MEASURED[name].met(bad)


def test_the_page_tells_figures_and_verdicts() -> None:
    entry = next(entry for entry in entries() if entry.id == "M1")
    outcome = Outcome(sent=10, live=0.25)
    part = {"figures": figures(MEASURED["M1"], outcome), "met": False}
    line = page.row(entry, {"dose": 1.0, "jingle-hnt": part, "passed": False})
    assert "**sent 10, pps 0, bleed 0, inject 0, live 0.25**" in line
    assert line.endswith("| **no** |")
    assert "| full |" in line
