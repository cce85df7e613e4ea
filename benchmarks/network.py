"""Three network namespaces for a benchmark: a client, a relay and another client, joined by veth.

    client 0  198.51.100.1 ─── relay 203.0.113.9 ─── 198.51.100.2  client 1

Both wires end at the relay's host, which also routes between them. Everything is named after the
run and removed by `close`. Only documentation ranges are used (RFC 5737).
"""

import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

RELAY = "203.0.113.9"
CLIENTS = ("198.51.100.1", "198.51.100.2")
CLONE_NEWNET = 0x40000000


class Network:
    """The namespaces, from construction to `close`; needs root (PermissionError) and iproute2."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise PermissionError("benchmarks make network namespaces; run them as root")
        prefix = f"hntb{secrets.token_hex(6)}"
        self.relay = f"{prefix}-relay"
        self.clients = (f"{prefix}-0", f"{prefix}-1")
        self._made: list[str] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the namespaces. Processes in them are their starters' to end."""
        while self._made:
            subprocess.run(["ip", "netns", "del", self._made.pop()], check=False)

    def command(self, namespace: str, arguments: Sequence[str]) -> list[str]:
        """The command line that runs something in a namespace; its process id stays."""
        return ["ip", "netns", "exec", namespace, *arguments]

    def udp_socket(self, namespace: str) -> socket.socket:
        """A UDP socket that belongs to a namespace; this process stays where it is."""
        return udp_socket(namespace)

    def _build(self) -> None:
        for namespace in (self.relay, *self.clients):
            _ip(f"netns add {namespace}")
            self._made.append(namespace)
            _batch(namespace, "link set lo up")
        _batch(self.relay, f"addr add {RELAY}/32 dev lo")
        forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(self.command(self.relay, forward), check=True)
        for number, (client, address) in enumerate(zip(self.clients, CLIENTS, strict=True)):
            _ip(f"link add veth{number} netns {self.relay} type veth peer name eth0 netns {client}")
            _batch(self.relay, f"link set veth{number} up")
            _batch(self.relay, f"route add {address}/32 dev veth{number} src {RELAY}")
            _batch(client, f"addr add {address}/32 dev eth0", "link set eth0 up")
            _batch(client, f"route add default via {RELAY} dev eth0 onlink")


def udp_socket(namespace: str, at: tuple[str, int] | None = None) -> socket.socket:
    """A UDP socket that belongs to a network namespace, bound if `at` says where to.

    Raises OSError.
    """
    made = socket_in(namespace, socket.SOCK_DGRAM)
    if at is not None:
        made.bind(at)
    return made


def socket_in(
    namespace: str,
    kind: socket.SocketKind,
    protocol: int = 0,
    family: socket.AddressFamily = socket.AF_INET,
) -> socket.socket:
    """A socket of any kind that belongs to a network namespace, for IPv4 unless told otherwise.

    Raises OSError.
    """
    made: list[socket.socket] = []
    thread = threading.Thread(
        target=lambda: made.append(_socket_in(namespace, kind, protocol, family))
    )
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"no socket could be made in the namespace {namespace}")
    return made[0]


def _socket_in(
    namespace: str, kind: socket.SocketKind, protocol: int, family: socket.AddressFamily
) -> socket.socket:
    """To be called on a thread of its own: the thread is moved for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.closing(os.fdopen(os.open(f"/run/netns/{namespace}", os.O_RDONLY))) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
    return socket.socket(family, kind, protocol)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _batch(namespace: str, *commands: str) -> None:
    arguments = ["ip", "-n", namespace, "-batch", "-"]
    subprocess.run(arguments, input="\n".join(commands), text=True, check=True)
