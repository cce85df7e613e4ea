"""Rows that a full disk does not take, kept on another disk until it does.

A crash while the disk is full would lose rows that are only in memory. So they are appended to a
file in the runtime directory, which usually is in memory (systemd's RuntimeDirectory=) and outlives
the process. The last value of a name counts.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jingle_hnt.store.private import MODE

SLACK = 1000
"""Lines beyond twice the number of names that the file may have before it is written anew."""


class Spill:
    """Values by name, in a file that is there only while it is needed.

    Its errors are ignored: it is a second safety. Without a path nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: dict[str, Any] = {}
        self._lines = 0

    def left(self) -> dict[str, Any]:
        """Return the rows that a previous instance has left."""
        if self._path is None:
            return {}
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return {}
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                name, value = json.loads(line)
                self._kept[str(name)] = value
        self._lines = len(lines)
        return dict(self._kept)

    def keep(self, values: Mapping[str, Any]) -> None:
        """Append these values."""
        if self._path is None or not values:
            return
        self._kept.update(values)
        self._lines += len(values)
        if self._lines > 2 * len(self._kept) + SLACK:
            self._lines, values = len(self._kept), self._kept
            _write(self._path, values, os.O_TRUNC)
        else:
            _write(self._path, values, os.O_APPEND)

    def clear(self) -> None:
        """Delete the file: all rows are written to their own."""
        if self._path is not None and self._lines:
            self._kept.clear()
            self._lines = 0
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _write(path: Path, values: Mapping[str, Any], how: int) -> None:
    """Append a line for each value, after a line end in case a crash has cut the last line."""
    lines = [json.dumps(pair, separators=(",", ":")) for pair in values.items()]
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write("\n".join(["", *lines, ""]).encode())
