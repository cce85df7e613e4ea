"""The processes of `jingle-hnt run`, and what each of them is."""

import contextlib
from pathlib import Path


def roles(supervisor: int, directory: Path) -> dict[str, int]:
    """The process that works as "signalling" and as "plane", and the "spare" that stands by.

    `directory` is the runtime directory. One that stood by keeps its command line when it works:
    the plane's lock names who does.
    """
    plane = _number(directory / "plane.sock.lock")
    found = {}
    for pid in _children(supervisor):
        words = _words(pid)
        if "signalling" in words:
            found["signalling"] = pid
        elif "plane" in words:
            found["plane" if pid == plane else "spare"] = pid
    return found


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return []


def _number(path: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0
