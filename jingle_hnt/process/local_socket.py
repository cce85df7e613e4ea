"""Local sockets of both processes: their file, and the users that may connect."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import structlog

log = structlog.get_logger(__name__)

_UCRED = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


def is_trusted(writer: asyncio.StreamWriter) -> bool:
    """Return whether the peer runs as this process's user or as root, by the kernel's word."""
    connection = writer.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    if uid in (0, os.geteuid()):
        return True
    log.warning("a local connection is refused", uid=uid)
    return False


@contextlib.contextmanager
def owner_only() -> Iterator[None]:
    """Make the files created inside readable and writable by their owner alone."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
