"""Media sockets outlive the plane: the supervisor and systemd hold copies of them.

The kernel filters and queues packets for a socket as long as any process has it open. So the
plane hands copies of its sockets to the supervisor, and the supervisor to systemd where that
has started it; the next plane begins with them, and reads on where the last one stopped. Messages
are those of sd_notify(3): ``FDSTORE=1`` with a name, ``FDSTOREREMOVE=1``.
"""

import asyncio
import contextlib
import os
import re
import socket
import zlib
from collections import deque
from collections.abc import Iterable, Iterator

import structlog

log = structlog.get_logger(__name__)

CHANNEL = "JINGLE_HNT_SAFE"
"""Environment variable of a plane: the descriptor of its channel to the supervisor."""

DOOR, LINE = "d", "l"
PATIENCE_S = 2.0

MOST_ABOVE = 12_000
"""Sockets that systemd is given. It passes all their names in one environment variable, which has
at most 128 KiB (execve(2)): with more the service could not be started again."""

_NAME = re.compile("[0-9a-f]{4}[dl][0-9a-f]{4}")
_END = b"end"
_AT_ONCE = 200  # descriptors in a message; the kernel takes 253 (unix(7))
_LONGEST = 512
_FIRST_LISTENED = 3  # sd_listen_fds(3)
_RETRY_S = 0.005


def name_of(host: str, port: int, kind: str) -> str:
    """Return the short name of a held socket: port, kind, and address."""
    return f"{port:04x}{kind}{zlib.crc32(host.encode()) & 0xFFFF:04x}"


def kind_of(name: str) -> str:
    """Return the kind of the socket of this name."""
    return name[4]


def name_of_socket(descriptor: int) -> str:
    """Return the short name of a socket. A connected one has the address of its party.

    It takes no descriptor: there may be none left. Raises OSError for anything else.
    """
    seen = socket.socket(fileno=descriptor)
    try:
        host, port = seen.getsockname()[:2]
        try:
            seen.getpeername()
        except OSError:
            return name_of(host, port, DOOR)
        return name_of(host, port, LINE)
    finally:
        seen.detach()


def _message(order: str, name: str) -> bytes:
    # Without FDPOLL=0 systemd drops a socket that has an error, such as an ICMP error of a party's.
    poll = "FDPOLL=0\n" if order == "FDSTORE" else ""
    return f"{order}=1\n{poll}FDNAME={name}".encode()


def _read(message: bytes) -> tuple[bool, str] | None:
    """Read a message: store or drop, and the names."""
    fields = dict(line.partition("=")[::2] for line in message.decode("ascii").splitlines())
    name = fields.get("FDNAME", "")
    if not name or not fields.keys() & {"FDSTORE", "FDSTOREREMOVE"}:
        return None
    return "FDSTORE" in fields, name


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a message with its descriptors; it is empty when the other side has gone."""
    received = socket.recv_fds(channel, _LONGEST, _AT_ONCE, socket.MSG_CMSG_CLOEXEC)
    return received[0], list(received[1])


def systemd() -> socket.socket | None:
    """Return a channel to systemd; None if it has not started us."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return None
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        channel.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError as error:
        log.warning("systemd's descriptor store cannot be reached", why=str(error))
        channel.close()
        return None
    return channel


def listened() -> list[tuple[str, int]]:
    """Return the stored sockets that systemd passes to this process, by name (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for descriptor, name in enumerate(names[: int(count)], _FIRST_LISTENED):
        if _NAME.fullmatch(name):
            os.set_inheritable(descriptor, False)
            found.append((name, descriptor))
    return found


def inherited() -> Iterator[int]:
    """Return the sockets that the supervisor or systemd hands to a new plane."""
    number = os.environ.get(CHANNEL, "")
    if not number:
        yield from (descriptor for _, descriptor in listened())
        return
    with socket.socket(fileno=os.dup(int(number))) as channel:
        channel.settimeout(PATIENCE_S)
        with contextlib.suppress(TimeoutError):
            while (got := _receive(channel))[0] not in (_END, b""):
                yield from got[1]


def outgoing() -> "StoreClient | None":
    """Return the plane's way to the descriptor store; None if there is none."""
    number = os.environ.get(CHANNEL, "")
    channel = socket.socket(fileno=os.dup(int(number))) if number else systemd()
    return None if channel is None else StoreClient(channel)


class StoreClient:
    """Sends orders without waiting; an order that cannot be sent at once follows in its turn.

    `held` are the names of the sockets that are stored at the other side.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._waiting: deque[tuple[bytes, int]] = deque()
        self.held = set[str]()
        channel.setblocking(False)

    def keep(self, name: str, descriptor: int) -> None:
        """Hand a copy over in place of the last of this name; the descriptor is closed then."""
        self.drop(name)
        self.held.add(name)
        self._order(_message("FDSTORE", name), descriptor)

    def drop(self, name: str) -> None:
        """Have the stored socket closed, if there is one."""
        if name in self.held:
            self.held.remove(name)
            self._order(_message("FDSTOREREMOVE", name), -1)

    def close(self) -> None:
        """Close the way to the store. Stored sockets stay there."""
        asyncio.get_running_loop().remove_writer(self._channel)
        self._forget()
        self._channel.close()

    def _order(self, message: bytes, descriptor: int) -> None:
        self._waiting.append((message, descriptor))
        if len(self._waiting) == 1:
            self._send()

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                message, descriptor = self._waiting[0]
                _send(self._channel, message, [descriptor][: descriptor >= 0])
                self._waiting.popleft()
                if descriptor >= 0:
                    os.close(descriptor)
        except BlockingIOError:
            loop.add_writer(self._channel, self._send)
            return
        except OSError as error:
            log.warning("sockets are not stored any more", why=str(error))
            self._forget()
        loop.remove_writer(self._channel)

    def _forget(self) -> None:
        for _, descriptor in self._waiting:
            if descriptor >= 0:
                os.close(descriptor)
        self._waiting.clear()


def _send(channel: socket.socket, message: bytes, descriptors: Iterable[int]) -> None:
    socket.send_fds(channel, [message], list(descriptors))


class DescriptorStore:
    """The supervisor's copies of its plane's sockets. It passes them to systemd, if that runs."""

    def __init__(self) -> None:
        self._held = dict(listened())
        self._above = systemd()
        self._held_above = set(self._held)
        self._full = False
        self._ends: set[socket.socket] = set()
        if self._above is not None:
            self._above.settimeout(PATIENCE_S)

    def __len__(self) -> int:
        return len(self._held)

    def open(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a channel: ours, and that of the plane about to start."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._ends.add(ours)
        asyncio.get_running_loop().add_reader(ours, self._hear, ours)
        return ours, theirs

    async def give(self, end: socket.socket) -> None:
        """Hand all stored sockets to the plane at the other side, which begins now."""
        for other in list(self._ends):
            self._hear(other)  # what the last plane had still to say
        held = list(self._held.values())
        parts = [held[at : at + _AT_ONCE] for at in range(0, len(held), _AT_ONCE)]
        for message, part in [*((b"held", part) for part in parts), (_END, [])]:
            while True:
                try:
                    _send(end, message, part)
                    break
                except BlockingIOError:
                    await asyncio.sleep(_RETRY_S)
                except OSError:
                    return  # it has ended already

    def close(self) -> None:
        """Close all copies; systemd keeps its own."""
        for end in list(self._ends):
            self._lose(end)
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()
        if self._above is not None:
            self._above.close()

    def _lose(self, end: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(end)
        self._ends.discard(end)
        end.close()

    def _hear(self, end: socket.socket) -> None:
        while True:
            try:
                message, descriptors = _receive(end)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                self._lose(end)
                return
            self._carry_out(message, descriptors)

    def _carry_out(self, message: bytes, descriptors: list[int]) -> None:
        order = _read(message)
        if order is not None:
            keeps, name = order
            if name in self._held:
                os.close(self._held.pop(name))
            if keeps and descriptors:
                self._held[name] = descriptors.pop()
            held = [self._held[name]] if keeps and name in self._held else []
            self._pass_on(name, message, held)
        for descriptor in descriptors:
            os.close(descriptor)

    def _pass_on(self, name: str, message: bytes, descriptors: list[int]) -> None:
        if self._above is None:
            return
        if not descriptors:
            self._held_above.discard(name)
        elif name not in self._held_above and len(self._held_above) >= MOST_ABOVE:
            if not self._full:
                log.warning("systemd's descriptor store is full", most=MOST_ABOVE)
            self._full = True
            return
        else:
            self._held_above.add(name)
        try:
            _send(self._above, message, descriptors)
        except OSError as error:
            log.warning("systemd does not store a socket", why=str(error) or type(error).__name__)
