"""Ports that stay free until they are bound.

Those that the kernel gives for nothing (bind to port 0) it gives to any connection a moment later.
"""

import os
import random
import socket

FIRST, LAST = 10_000, 23_999
"""Below the kernel's own (32768 to 60999, ip(7)) and the relay's (24000 to 26767)."""

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_chance = random.SystemRandom()  # a seed would give runs side by side the same
_given: set[int] = set()


def free_port(address: str, kind: socket.SocketKind) -> int:
    """One at which nobody listens; it is given once, and to no other worker of this test run."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        port = _chance.randrange(FIRST, LAST)
        if port in _given or port % _WORKERS != _WORKER:
            continue
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
        _given.add(port)
        return port
