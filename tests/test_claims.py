"""The list of claims: what it finds out, so that no page can claim what nothing shows."""

from pathlib import Path
from typing import Any

import pytest

from scripts import claims

TEST = "test_claims.py::test_what_is_wrong_with_a_claim_is_said"


def said(page: Path, **claim: Any) -> list[str]:
    return list(claims.faults([{"page": str(page), **claim}]))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    table = "| a | b |\n| - | - |\n| 1 | 2 |\n"
    file.write_text(f"# Head\n\nCalls `connect`\nthrough [NATs](x.md).\n\n{table}")
    return file


@pytest.mark.parametrize(
    ("claim", "part"),
    [
        ({"text": "connect through NATs", "tests": [TEST]}, None),
        ({"under": "Head", "rows": ["M1"]}, None),
        ({"text": "Calls connect", "prose": "it is a picture"}, None),
        ({"text": "Calls connect", "commands": ["scripts/bench relay"]}, None),
        ({"text": "Calls end", "tests": [TEST]}, "is not on the page"),
        ({"under": "Foot", "tests": [TEST]}, "is no heading"),
        ({"text": "Calls connect"}, "has no test and no command"),
        ({"text": "Calls connect", "tests": ["test_claims.py::test_nothing"]}, "there is no test"),
        ({"text": "Calls connect", "tests": ["nowhere.py::test_x"]}, "there is no test"),
        ({"text": "Calls connect", "rows": ["M999"]}, "there is no row M999"),
        ({"text": "Calls connect", "commands": ["scripts/nothing"]}, "there is no scripts/nothing"),
    ],
)
def test_what_is_wrong_with_a_claim_is_said(
    page: Path, claim: dict[str, Any], part: str | None
) -> None:
    found = said(page, **claim)
    assert len(found) == (part is not None)
    assert part is None or part in found[0]


def test_what_the_list_leaves_out_is_found(page: Path) -> None:
    found = list(claims.blocks(page.read_text()))
    assert found == [("Head", "Calls `connect` through [NATs](x.md)."), ("Head", "| 1 | 2 |")]
