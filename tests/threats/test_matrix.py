"""The matrix in CI: a twentieth of the dose, our relay only; and every row is accounted for."""

from pathlib import Path

import pytest

from tests.threats.matrix import measure, passes, rows, words

ROOT = Path(__file__).resolve().parents[2]
DOSE = 0.02
MEASURED = [id for id, row in rows().items() if row.run is not None]


def test_every_row_is_measured_or_tested_or_has_a_reason() -> None:
    counts = {"M": 20, "S": 8, "X": 19, "F": 24}
    wanted = {f"{kind}{n}" for kind, count in counts.items() for n in range(1, count + 1)}
    assert set(rows()) == wanted
    for row in rows().values():
        assert row.run or row.tests or row.not_reached, row.id
        for node in row.tests:
            path, _, name = node.partition("::")
            assert (ROOT / path).exists(), node
            assert not name or f"def {name}(" in (ROOT / path).read_text(), node


@pytest.mark.integration
@pytest.mark.parametrize("id", MEASURED)
async def test_a_measured_row_does_what_it_demands(id: str) -> None:
    came = await measure(rows()[id], "jingle-hnt", DOSE)
    assert passes(id, came), f"{words(id, came)}: {came}"
