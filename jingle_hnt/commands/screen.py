"""Tables and texts as they are shown: whole where the output is no terminal, harmless on one.

The names of contents and sessions are chosen by clients: they are neither markup nor control codes.
"""

import shutil
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WHOLE = 10_000
"""Columns of a pipe or a file, in which nothing is cut."""


def console() -> "Console":
    """Standard output."""
    from rich.console import Console  # `status` prints without it

    width = None if sys.stdout.isatty() else WHOLE
    return Console(width=width, markup=False, emoji=False, highlight=False)


def columns() -> int | None:
    """The columns of standard output; None where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def printable(value: Any) -> Any:
    """Return an answer without characters that a terminal would act on."""
    match value:
        case str():
            return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
        case list():
            return [printable(member) for member in value]
        case dict():
            return {printable(name): printable(member) for name, member in value.items()}
    return value
