"""Where packets are dropped that somebody has sent: the kernel's own counts of it."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dropped:
    """Counts since the start of the machine, or between two looks (the difference of two)."""

    backlog: int
    """Of each CPU's queue of packets that no socket has seen yet (net.core.netdev_max_backlog)."""
    relay: int
    """Of the receive queues of all UDP sockets of the relay, and by their filters."""
    generators: int
    """Of the receive queues of the generators."""
    waiting_kb: int = 0
    """In the relay's receive queues, not dropped yet and not relayed, when the load had ended."""

    def __sub__(self, before: "Dropped") -> "Dropped":
        return Dropped(
            self.backlog - before.backlog,
            self.relay - before.relay,
            self.generators - before.generators,
        )


def look(relay: Iterable[int], generators: Iterable[int]) -> Dropped:
    """What was dropped until now, in the network namespaces of these processes."""
    return Dropped(backlog_of_machine(), queues(relay), queues(generators))


def backlog_of_machine() -> int:
    """The second column of softnet_stat, over all CPUs."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


def waiting(process: int) -> int:
    """Bytes in the receive queues of a process's namespace, the kernel's overhead included."""
    return sum(int(columns[4].partition(":")[2], 16) for columns in _sockets(process))


def queues(processes: Iterable[int]) -> int:
    """The last column of each UDP socket in the namespaces of these processes, each counted once.

    A process that has ended is left out.
    """
    spaces: dict[str, int] = {}
    for pid in processes:
        with contextlib.suppress(FileNotFoundError):
            spaces[os.readlink(f"/proc/{pid}/ns/net")] = pid
    return sum(_dropped(pid) for pid in spaces.values())


def _dropped(pid: int) -> int:
    return sum(int(columns[-1]) for columns in _sockets(pid))


def _sockets(pid: int) -> list[list[str]]:
    """The columns of /proc/net/udp for each socket in the namespace of a process."""
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("udp", "udp6")]
    return [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
