"""The rows of `matrix.toml`: what is done to us, what we must reach, and what shows it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.threats.rows import MEASURED

FILE = Path(__file__).parent / "matrix.toml"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row. `tests` are those that take it, beside or instead of an attack of `rows`.

    `not_yet` says what of the demanded is not reached, or not shown.
    """

    id: str
    what: str
    demands: str
    tests: tuple[str, ...] = ()
    not_yet: str = ""


def entries() -> list[Entry]:
    """All rows in their order.

    Raises ValueError for a row that nothing shows and for which no reason is given, and for an
    attack that belongs to no row.
    """
    listed = tomllib.loads(FILE.read_text())["row"]
    found = [Entry(**row | {"tests": tuple(row.get("tests", ()))}) for row in listed]
    if strays := set(MEASURED) - {entry.id for entry in found}:
        raise ValueError(f"attacks of no row: {', '.join(sorted(strays))}; write it in {FILE.name}")
    for entry in found:
        if entry.id not in MEASURED and not entry.tests and not entry.not_yet:
            raise ValueError(f"row {entry.id} has neither attack nor test; say why in not_yet")
    return found
