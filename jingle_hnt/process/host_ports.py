"""The host's addresses and ports that the next call needs, found by binding them."""

import errno
import socket
from collections.abc import Iterable, Sequence

from jingle_hnt.model.address import IPAddress

HELD_OF = 8
"""Free pairs of ports that are tried: if another process holds each of them, it holds most."""


def bind_fault(address: str, port: int) -> str | None:
    """Return why a UDP port cannot be bound: ``taken``, or ``absent``: its address is not here."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            return "taken" if error.errno == errno.EADDRINUSE else "absent"
    return None


def absent(addresses: Iterable[IPAddress]) -> list[str]:
    """Return the relay's addresses that no interface of this host has."""
    return [str(a) for a in dict.fromkeys(addresses) if bind_fault(str(a), 0) == "absent"]


def are_held(pairs: Sequence[tuple[IPAddress, int]]) -> bool:
    """Return whether other processes hold all of these pairs, each named by its first port."""
    return bool(pairs) and all(
        "taken" in (bind_fault(str(address), port), bind_fault(str(address), port + 1))
        for address, port in pairs
    )
