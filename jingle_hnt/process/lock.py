"""One process at a time works on a state directory, and one plane serves a path.

Two processes on one directory would give the same ports to different calls, and overwrite each
other's journal.
The kernel holds the lock, so it ends with the process, however that ends.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from jingle_hnt.errors import ConfigurationError

PATIENCE_S = 5.0
"""How long whoever is started again waits for the one before, whose end may still be under way."""

_POLL_S = 0.02


@contextlib.contextmanager
def alone(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of this file inside; waits for it for at most `patience_s` seconds.

    Raises ConfigurationError where another process holds it until then, or where it cannot be
    written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path.parent} cannot be written: {error.strerror}; let the service's user own it, or"
            " write another state.directory or state.runtime_directory"
        ) from None
    try:
        if not _locked(descriptor, time.monotonic() + patience_s):
            raise ConfigurationError(
                f"another jingle-hnt works on {path.parent} (process {_holder(descriptor)});"
                " stop it, or give this one state.directory and state.runtime_directory of its own"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
