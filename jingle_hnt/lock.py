"""One process at a time works on a state directory, and one plane serves a path.

Two that share one would give the same ports to different calls and write over each other's journal.
The kernel holds the lock, so it ends with the process, however that ends.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jingle_hnt.errors import ConfigurationError


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of this file inside.

    Raises ConfigurationError where another process does, or where it cannot be written.
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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another jingle-hnt works on {path.parent} (process {_holder(descriptor)});"
                " stop it, or give this one state.directory and state.runtime_directory of its own"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
