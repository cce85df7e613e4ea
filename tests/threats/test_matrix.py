"""The table of attacks: nothing is left out, and what it names exists."""

from pathlib import Path

import pytest

from tests.threats import page
from tests.threats.field import Outcome
from tests.threats.matrix import entries
from tests.threats.rows import MEASURED, figures

ROOT = Path(__file__).parent.parent.parent
ROWS = [f"{kind}{n}" for kind, last in (("M", 22), ("S", 8), ("X", 19), ("F", 40), ("E", 4),
                           ("P", 17))
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
    bad.notes |= {
        "sent_on_s": 1.0,
        "allowed_s": 0.0,
        "resumed": 0,
        "unknown": 251,
        "unknown_s": 5.1,
    }
    bad.notes |= {"restored_s": 3, "answer_ms": 51, "free_s": 99, "left": 1, "refused": 0}
    bad.notes |= {"lost_calls": 1, "added": 1, "went": 1, "quiet_ms": 1, "loud_ms": 9, "grew": 9e9}
    bad.notes |= {
        "tries": 1,
        "changes": True,
        "told_apart": 1,
        "still_s": 1,
        "let_in": 1,
        "dripped_ms": 51,
    }
    bad.notes |= {"sent_kbps": 40_000, "passed_kbps": 4300, "policed": 1, "others_policed": 0}
    bad.notes |= {"back": 0.0, "free_s": 1.1, "descriptors_left": 1, "tracebacks": 1}
    bad.notes |= {"other_reasons": 1, "on_foreign": 1, "shunned": 1, "icmps_per_s": 9e9}
    bad.notes |= {"dead_lost": 1, "lost": 1, "lines_per_s": 2, "stalls": 1, "stall_ms": 1000}
    bad.notes |= {"more_ms": 99, "cpu": 1.0, "way_ms": 94.0}
    bad.notes |= {"calls": 1, "plane_grew": 9e9, "core_grew": 9e9}
    assert not MEASURED[name].met(bad)


def test_the_page_tells_figures_and_verdicts() -> None:
    entry = next(entry for entry in entries() if entry.id == "M1")
    outcome = Outcome(sent=10, live=0.25)
    part = {"figures": figures(MEASURED["M1"], outcome), "met": False, "dose": 1.0}
    theirs = part | {"dose": 0.05}
    line = page.row(entry, {"jingle-hnt": part, "rtpengine": theirs})
    assert "**sent 10, pps 0, bleed 0, inject 0, live 0.25**" in line
    assert line.endswith("| **no** |")
    assert "| full, 0.05 |" in line
