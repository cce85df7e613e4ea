"""The figures in README and docs/sizing.md: tables made from `results.json`, between two markers.

`scripts/bench NAME --record` puts what it measured into `results.json` and writes the pages anew;
`scripts/bench pages` writes them only.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "sizing.md")
BEGIN, END = "<!-- figures of {name}: made by scripts/bench -->", "<!-- end of {name} -->"
UNRECORDED = "Not measured for this version yet: `scripts/bench {name} --record` does it."

Rows = Callable[[dict[str, Any]], str]


def recorded() -> dict[str, dict[str, Any]]:
    """The figures of each benchmark that was recorded."""
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    return results


def record(name: str, figures: dict[str, Any]) -> None:
    """Keep a benchmark's figures, without its single runs."""
    results = recorded() if RESULTS.exists() else {}
    results[name] = {key: value for key, value in figures.items() if key != "runs"}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def filled(text: str, tables: dict[str, str]) -> str:
    """A page with the tables between their markers.

    Raises ValueError for a marker without its end.
    """
    for name, lines in tables.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, found, rest = text.partition(begin)
        if not found:
            continue
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"the marker {begin!r} lacks its end; write {end!r} below the table")
        text = f"{before}{begin}\n\n{lines}\n\n{end}{after}"
    return text


def write(rows: dict[str, Rows]) -> None:
    """Bring all pages up to date with what is recorded."""
    results = recorded()
    tables = {
        name: rows_of(results[name]) if name in results else UNRECORDED.format(name=name)
        for name, rows_of in rows.items()
    }
    for page in PAGES:
        page.write_text(filled(page.read_text(), tables))
