"""Where a process's time goes, in functions of Python."""

import contextlib
import io
import pstats
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SHOWN = 40
"""Lines of the profile that are shown, in each of two orders."""


@contextlib.contextmanager
def where_time_goes(wanted: bool) -> Iterator[Path | None]:
    """The path that a profile is to be written to; it is shown on standard error afterwards."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "profile"
        yield path
        print(_shown(path), file=sys.stderr)


def _shown(path: Path) -> str:
    text = io.StringIO()
    stats = pstats.Stats(str(path), stream=text).strip_dirs()
    stats.sort_stats("tottime").print_stats(SHOWN)
    stats.sort_stats("cumulative").print_stats(SHOWN)
    return text.getvalue()
