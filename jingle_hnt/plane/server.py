"""The plane process: an engine behind the control socket.

The asyncio loop here serves the control socket only. Media moves on the engine's own threads and
goes on whoever is connected, or nobody.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import structlog

from jingle_hnt import __version__
from jingle_hnt.errors import ConfigurationError, PlaneError, ProtocolViolation
from jingle_hnt.local_socket import is_trusted, owner_only
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.protocol import (
    MAX_LINE,
    PROTOCOL,
    ArmRequest,
    BindRequest,
    Done,
    Failed,
    GateRequest,
    Happened,
    Hello,
    PingRequest,
    ReleaseRequest,
    Request,
    SnapshotRequest,
    encode,
    read_request,
)

log = structlog.get_logger(__name__)

MAX_UNSENT = 8 << 20
"""Bytes that may wait for a client that does not read; it is disconnected then."""


class PlaneServer:
    """Serves an engine at a path. `run` returns when it is cancelled; the engine is closed then."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine
        self._instance = secrets.token_hex(8)
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled. Raises ConfigurationError where another plane serves the path."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        with _locked(self._path), contextlib.closing(self._engine):
            self._path.unlink(missing_ok=True)
            server = await self._listen()
            loop.add_reader(self._engine.fileno(), self._tell)
            try:
                if ready is not None:
                    ready.set()
                await asyncio.Event().wait()
            finally:
                loop.remove_reader(self._engine.fileno())
                server.close()
                await self._drop_clients()
                self._path.unlink(missing_ok=True)

    async def _listen(self) -> asyncio.Server:
        with owner_only():
            return await asyncio.start_unix_server(self._connected, self._path, limit=MAX_LINE)

    async def _drop_clients(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if is_trusted(writer):
                await self._converse(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._clients.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = Hello(
            protocol=PROTOCOL,
            version=__version__,
            engine=self._engine.name,
            instance=self._instance,
            pid=os.getpid(),
        )
        writer.write(encode(hello))
        self._clients.add(writer)
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # over the limit: where the next line begins cannot be told
                writer.write(_failed(None, f"a line is longer than {MAX_LINE} bytes"))
                return
            if not line:
                return
            writer.write(self._answer(line))
            await writer.drain()

    def _answer(self, line: bytes) -> bytes:
        try:
            request = read_request(line)
        except ProtocolViolation as error:
            return _failed(None, str(error))
        try:
            return encode(self._carry_out(request))
        except PlaneError as error:
            return encode(Failed(id=request.id, code=error.code, text=str(error)))

    def _carry_out(self, request: Request) -> Done:
        match request:
            case BindRequest():
                self._engine.bind(request.specs)
            case ArmRequest():
                for arm in request.orders:
                    self._engine.arm(arm)
            case GateRequest():
                for gate in request.orders:
                    self._engine.gate(gate)
            case ReleaseRequest():
                for name in request.names:
                    self._engine.release(name, request.linger_s)
            case SnapshotRequest():
                return Done(id=request.id, bindings=tuple(self._engine.snapshot(request.names)))
            case PingRequest():
                pass
        return Done(id=request.id)

    def _tell(self) -> None:
        """Events of the engine go to every client; one that does not read is dropped."""
        line = encode(Happened.of(self._engine.events()))
        for client in list(self._clients):
            if client.transport.get_write_buffer_size() > MAX_UNSENT:
                log.warning("a control client does not read; it is disconnected")
                self._clients.discard(client)
                client.transport.abort()
            else:
                client.write(line)


def _failed(request: int | None, text: str) -> bytes:
    return encode(Failed(id=request, code=ProtocolViolation.__name__, text=text))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock beside the socket; it goes with the process, so a dead plane leaves none."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another forwarding plane serves {path}; stop it, or give this one another"
                " state.runtime_directory"
            ) from None
        yield
