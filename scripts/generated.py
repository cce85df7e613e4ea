"""Writes generated files, or tells which are out of date: the scripts that make pages share it."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent

Files = Mapping[Path, str]


def write(files: Files, command: str, *, check: bool) -> int:
    """Write the files whose text is another one; returns the exit status.

    With `check` nothing is written: each of them is named with the command that writes it, and the
    status is 1.
    """
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is out of date; run `{command}`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
    return int(check and bool(stale))


def options(description: str | None, *flags: tuple[str, str]) -> argparse.Namespace:
    """Read the command line: `--check`, and these flags with their help."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    for flag, text in flags:
        parser.add_argument(flag, action="store_true", help=text)
    return parser.parse_args()


def run(
    description: str | None,
    command: str,
    files: Callable[[], Files],
    faults: Callable[[], Iterable[str]] = tuple,
) -> int:
    """Be the main function of a script: print what is wrong, else write or check its files."""
    check = options(description).check
    if found := list(faults()):
        print("\n".join(found), file=sys.stderr)
        return 1
    return write(files(), command, check=check)
