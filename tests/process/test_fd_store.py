"""Media sockets outlive the plane, and the supervisor where systemd keeps them: row F5."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jingle_hnt.errors import PortTaken
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.client import PlaneClient
from jingle_hnt.process import fd_store
from jingle_hnt.process.fd_store import (
    DOOR,
    LINE,
    MOST_ABOVE,
    DescriptorStore,
    StoreClient,
    kind_of,
    name_of,
    name_of_socket,
)
from jingle_hnt.relay.binding import Arm, BindingSpec, Flow, Gate
from tests.fronts.xmpp.recorder import until
from tests.plane.bound import ALICE, BOB, RELAY, Party, descriptors_left, free_port, only
from tests.plane.packets import rtp

AWAY = range(10, 25)
"""Sequence numbers of what is sent while nothing of us runs."""

SUPERVISED = """
import asyncio, sys
from jingle_hnt.process.supervisor import Supervisor, children
sys.exit(asyncio.run(Supervisor(children(sys.argv[1])[:1]).run()))
"""
LISTENING = "import os; os.environ['LISTEN_PID'] = str(os.getpid())" + SUPERVISED
CONFIGURATION = """\
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
secret = "unused"
[relay]
interfaces = [{{ address = "127.0.0.1" }}]
[state]
directory = "{0}"
runtime_directory = "{0}"
"""


def udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((RELAY, 0))
    return made


def inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


class Systemd:
    """Keeps descriptors as systemd does (FileDescriptorStoreMax=)."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.kept: list[tuple[str, int]] = []

    def listen(self) -> None:
        """Carry out what was said so far. Removing removes all of a name."""
        with contextlib.suppress(BlockingIOError):
            while True:
                message, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
                said = dict(line.split("=", 1) for line in message.decode().splitlines())
                if "FDSTOREREMOVE" in said:
                    for name, descriptor in self.kept:
                        if name == said["FDNAME"]:
                            os.close(descriptor)
                    self.kept = [(n, d) for n, d in self.kept if n != said["FDNAME"]]
                elif "FDSTORE" in said:
                    assert said["FDPOLL"] == "0"
                    self.kept += [(said["FDNAME"], descriptor) for descriptor in descriptors]

    @property
    def names(self) -> list[str]:
        self.listen()
        return sorted(name for name, _ in self.kept)

    def close(self) -> None:
        self.listen()
        for _, descriptor in self.kept:
            os.close(descriptor)
        self.socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with contextlib.closing(Systemd(tmp_path / "notify")) as made:
        yield made


async def given(safe: DescriptorStore) -> list[int]:
    """What the next plane begins with."""
    ours, theirs = safe.open()
    with theirs, pytest.MonkeyPatch.context() as patch:
        await safe.give(ours)
        patch.setenv(fd_store.CHANNEL, str(theirs.fileno()))
        return list(fd_store.inherited())


def to(safe: DescriptorStore) -> StoreClient:
    """A plane's end of a channel."""
    _, theirs = safe.open()
    return StoreClient(theirs)


async def test_what_was_handed_over_is_given_to_the_next() -> None:
    with contextlib.closing(DescriptorStore()) as safe, contextlib.closing(to(safe)) as plane:
        sockets = [udp() for _ in range(450)]  # more than fit a message, or the channel, at once
        wanted = {inode(made.fileno()) for made in sockets}
        for made in sockets:
            descriptor = made.detach()
            plane.keep(name_of_socket(descriptor), descriptor)
        await until(lambda: len(safe) == len(wanted))
        found = await given(safe)
        assert {inode(descriptor) for descriptor in found} == wanted
        for descriptor in found:
            os.close(descriptor)


async def test_the_last_words_of_a_dead_plane_count() -> None:
    with contextlib.closing(DescriptorStore()) as safe:
        plane = to(safe)
        plane.keep("0001d0001", udp().detach())
        plane.keep("0002d0001", udp().detach())
        plane.drop("0001d0001")
        plane.close()
        (left,) = await given(safe)
        os.close(left)


async def test_systemd_hears_of_each_socket_and_of_its_end(systemd: Systemd) -> None:
    with contextlib.closing(DescriptorStore()) as safe, contextlib.closing(to(safe)) as plane:
        for made in (udp(), udp()):
            wanted = inode(made.fileno())
            plane.keep("7530l0001", made.detach())  # the second in the first one's place
        await until(lambda: systemd.names == ["7530l0001"])
        await until(lambda: inode(systemd.kept[0][1]) == wanted)
        plane.drop("7530l0001")
        await until(lambda: not systemd.names)
        assert len(safe) == 0


def test_names_tell_doors_from_lines_ports_and_addresses() -> None:
    names = set()
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.bind((address, 0))
            names.add(name_of_socket(made.fileno()))
            port = made.getsockname()[1]
            assert name_of_socket(made.fileno()) == name_of(address, port, DOOR)
            made.connect((address, 9))
            names.add(name_of_socket(made.fileno()))
            assert name_of_socket(made.fileno()) == name_of(address, port, LINE)
    assert len(names) == 6


def test_a_name_needs_no_descriptor() -> None:
    """A plane that has none left would lose its control connection over it (row F8)."""
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        made.bind((RELAY, 0))
        with descriptors_left(0):
            assert kind_of(name_of_socket(made.fileno())) == DOOR
        assert made.getsockname()[0] == RELAY, "it is open"


async def test_systemd_is_given_as_many_as_it_can_pass_on(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too long a list of names it could not start us again."""
    longest = ":".join(name_of("2001:db8::1", 65535, LINE) for _ in range(MOST_ABOVE))
    assert len(f"LISTEN_FDNAMES={longest}") < 128 << 10
    monkeypatch.setattr(fd_store, "MOST_ABOVE", 2)
    names = [name_of(RELAY, port, DOOR) for port in (1, 2, 3)]
    with contextlib.closing(DescriptorStore()) as safe, contextlib.closing(to(safe)) as plane:
        for name in names:
            plane.keep(name, udp().detach())
        await until(lambda: len(safe) == 3)
        assert systemd.names == sorted(names[:2])
        plane.drop(names[0])
        plane.keep(names[2], udp().detach())
        await until(lambda: systemd.names == sorted(names[1:]))


def test_descriptors_for_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "0001d0001")
    for pid in ("", "1"):
        monkeypatch.setenv("LISTEN_PID", pid)
        assert fd_store.listened() == []
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDNAMES", "http")
    assert fd_store.listened() == []


# The whole: a supervisor, its plane, and a call


async def connected(path: Path) -> PlaneClient:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return await PlaneClient.connect(path, lambda _: None, lambda: None)
            await asyncio.sleep(0.05)


class Call:
    """A call on two ports, of a plane with its sockets in this directory."""

    name = "call.1.1"

    def __init__(self, path: Path) -> None:
        self.file, self.socket = path / "jingle-hnt.toml", path / "plane.sock"
        self.file.write_text(CONFIGURATION.format(path))
        self.ports = free_port(RELAY), free_port(RELAY)

    async def bind(self, client: PlaneClient, *learned: TransportAddress | None) -> None:
        """As the signalling process does, with what it has in its journal."""
        first, second = (TransportAddress.of(RELAY, port) for port in self.ports)
        arms = [
            Arm(self.name, 0, 1, only(ALICE), learned[0]),
            Arm(self.name, 1, 1, only(BOB), learned[1]),
        ]
        gate = Gate(self.name, (Flow.OPEN, Flow.OPEN))
        await client.bind([BindingSpec(self.name, (first, second))], [*arms, gate])

    async def end(self, client: PlaneClient) -> None:
        """The plane has closed its sockets."""
        await client.release([self.name], 0)
        while await client.snapshot():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Host:
    """Where a supervisor is started, killed, and started again with what systemd has kept."""

    def __init__(self, call: Call, systemd: Systemd) -> None:
        self.call, self._systemd = call, systemd
        self._process: Process | None = None

    async def start(self) -> PlaneClient:
        kept = self._systemd.kept
        names = ":".join(name for name, _ in kept)
        environment = os.environ | {"LISTEN_FDS": str(len(kept)), "LISTEN_FDNAMES": names}

        def pass_on() -> None:
            """In the child: what is kept, from the third descriptor on."""
            copies = [os.dup2(d, 100 + n, inheritable=False) for n, (_, d) in enumerate(kept)]
            for number, copy in enumerate(copies):
                os.dup2(copy, 3 + number)

        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LISTENING, str(self.call.file)),
            env=environment,
            preexec_fn=pass_on,
            close_fds=False,
        )
        return await connected(self.call.socket)

    async def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._process.wait()


@pytest.fixture
async def host(tmp_path: Path, systemd: Systemd) -> AsyncIterator[Host]:
    made = Host(Call(tmp_path), systemd)
    yield made
    await made.end()


@pytest.mark.native
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_no_packet_of_a_call_is_lost_over_a_restart_of_everything(
    host: Host, systemd: Systemd, end: signal.Signals
) -> None:
    call = host.call
    client = await host.start()
    await call.bind(client, None, None)
    with Party(ALICE, (RELAY, call.ports[0])) as alice, Party(BOB, (RELAY, call.ports[1])) as bob:
        bob.say(rtp(1, ssrc=2))  # finds nobody
        await until(lambda: len(systemd.names) == 3)
        alice.say(rtp(1))
        assert await asyncio.to_thread(bob.hears, rtp(1))
        await until(lambda: len(systemd.names) == 4)  # two doors, two lines
        await host.end(end)
        await client.close()
        for number in AWAY:
            alice.say(rtp(number))
            bob.say(rtp(number, ssrc=2))
        client = await host.start()
        await call.bind(client, alice.name, bob.name)
        for number in AWAY:
            assert await asyncio.to_thread(bob.hears, rtp(number))
            assert await asyncio.to_thread(alice.hears, rtp(number, ssrc=2))
        await client.release([call.name], 0)
        await until(lambda: not systemd.names)  # and nobody holds the ports after the call
    await client.close()


@pytest.mark.native
async def test_ports_of_a_call_that_is_over_are_free_for_the_next(
    host: Host, systemd: Systemd
) -> None:
    """Though who held its sockets has not closed them yet: they once passed for somebody else's."""
    call = host.call
    client = await host.start()
    await call.bind(client, None, None)
    await until(lambda: len(systemd.names) == 2)
    await call.end(client)
    async with asyncio.TaskGroup() as both:
        both.create_task(call.bind(client, None, None))
        await asyncio.sleep(0.1)
        systemd.listen()
    await client.close()


@pytest.mark.native
async def test_ports_that_nobody_lets_go_are_taken(host: Host, systemd: Systemd) -> None:
    call = host.call
    client = await host.start()
    await call.bind(client, None, None)
    await until(lambda: len(systemd.names) == 2)
    await call.end(client)
    with pytest.raises(PortTaken):
        await call.bind(client, None, None)
    await client.close()
