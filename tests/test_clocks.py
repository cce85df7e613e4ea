"""No call is ended, and no limit reached, by a wall clock that jumps (row F10): nobody reads one.

Reports say when something happened, and those of the past are asked for, and forgotten, by that
time; that is all that is asked of it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jingle_hnt"
ALLOWED = {
    *("admin/call_closing.py", "admin/service.py", "admin/lookup.py"),
    *("commands/report.py", "fronts/ng/front.py", "store/history.py"),
}
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today", "time.ctime"}
WALL |= {"time.localtime", "time.gmtime", "datetime.today"}


def read_in(text: str) -> Iterator[str]:
    """The wall clocks that a module reads."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in WALL:
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{a.name}" for a in node.names if f"time.{a.name}" in WALL)


def test_python_reads_the_wall_clock_for_reports_only() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := set(read_in(path.read_text())))
    }
    assert set(found) == ALLOWED, found


@pytest.mark.parametrize("text", ["import time\ntime.time()", "from time import time\ntime()"])
def test_a_wall_clock_would_be_found(text: str) -> None:
    assert list(read_in(text)) == ["time.time"]


def test_the_engine_reads_the_monotonic_clock_only() -> None:
    text = "".join(path.read_text() for path in (PACKAGE / "plane" / "native").rglob("*.[ch]"))
    assert "CLOCK_MONOTONIC" in text
    for name in ("CLOCK_REALTIME", "gettimeofday", "time(NULL)"):
        assert name not in text
