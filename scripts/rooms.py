"""Writes the column "may import" of docs/architecture.md from the import contracts.

    python -m scripts.rooms [--check]

Each room of the layers in pyproject.toml has a row, in their order. It may import the rooms below
its own layer, but those that another contract forbids it.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.generated import run

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
HEAD = "| room | what it is | may import |"

Contract = dict[str, Any]


def contracts(root: Path = ROOT) -> list[Contract]:
    """The import contracts of pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    found: list[Contract] = project["tool"]["importlinter"]["contracts"]
    return found


def layers(of: list[Contract]) -> list[list[str]]:
    """The rooms from top to bottom, siblings together."""
    rooms = next(contract for contract in of if contract["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in rooms["layers"]]


def allowed(of: list[Contract]) -> dict[str, list[str]]:
    """What each room may import, from top to bottom."""
    found, rows = {}, layers(of)
    for number, row in enumerate(rows):
        below = [room for other in rows[number + 1 :] for room in other]
        for room in row:
            forbidden = {
                name.removeprefix("jingle_hnt.")
                for contract in of
                if contract["type"] == "forbidden"
                and f"jingle_hnt.{room}" in contract["source_modules"]
                for name in contract["forbidden_modules"]
            }
            found[room] = [other for other in below if other not in forbidden]
    return found


def table(text: str, of: list[Contract], root: Path = ROOT) -> Iterator[str]:
    """The lines of a page, with the last column of the table written anew.

    Raises ValueError where a room has no row, or a row is not where the layers have it.
    """
    may = allowed(of)
    lines = text.splitlines()
    head = lines.index(HEAD)
    yield from lines[: head + 2]
    rows = [line for line in lines[head + 2 :] if line.startswith("|")]
    if len(rows) != lines[head + 2 :].index(""):
        raise ValueError("the table of rooms is followed by an empty line")
    seen: list[str] = []
    for line in rows:
        _, first, what, _, _ = line.split("|")
        rooms = re.findall(r"`(\w+)(?:/|\.py)`", first)
        seen += rooms
        if set(rooms) - set(may):
            raise ValueError(f"no layer of pyproject.toml is called {first.strip()}")
        others = [name for name in may if all(name in may[room] for room in rooms)]
        names = ", ".join(_shown(name, root) for name in others) or "nothing of ours"
        yield f"|{first}|{what}| {names} |"
    if seen != list(may):
        raise ValueError(f"the rows are to be {', '.join(may)}, in this order; they are {seen}")
    yield from lines[head + 2 + len(rows) :]


def _shown(room: str, root: Path) -> str:
    return f"`{room}/`" if (root / "jingle_hnt" / room).is_dir() else f"`{room}.py`"


def pages() -> dict[Path, str]:
    """The page with its table. Raises ValueError where its rows are not the rooms."""
    return {PAGE: "\n".join(table(PAGE.read_text(), contracts())) + "\n"}


def main() -> int:
    """Write the table, or with --check tell whether it is out of date."""
    try:
        return run(__doc__, "python -m scripts.rooms", pages)
    except ValueError as error:
        print(f"docs/architecture.md: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
