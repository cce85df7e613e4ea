"""The plane process: an engine behind the control socket.

The asyncio loop here serves the control socket only. Media moves on the engine's own threads and
goes on whoever is connected, or nobody.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from jingle_hnt import __version__
from jingle_hnt.errors import PlaneError, PlaneServed, PortTaken, ProtocolViolation
from jingle_hnt.plane.api import LocalEngine
from jingle_hnt.plane.keeping import UNWANTED_S, Keeping
from jingle_hnt.plane.protocol import (
    AT_ONCE,
    MAX_LINE,
    PROBE,
    PROTOCOL,
    ArmRequest,
    BindRequest,
    Done,
    Failed,
    GateRequest,
    Happened,
    Hello,
    Part,
    PingRequest,
    ReleaseRequest,
    Request,
    ServeRequest,
    SnapshotRequest,
    encode,
    read_request,
)
from jingle_hnt.process.fd_store import StoreClient
from jingle_hnt.process.local_socket import is_trusted, owner_only
from jingle_hnt.process.lock import alone
from jingle_hnt.relay.binding import BindingSnapshot, BindingSpec

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_UNSENT = 8 << 20
"""Bytes that may wait for a client that does not read; it is disconnected then."""

RETRY_S = 0.005


class PlaneServer:
    """Serves an engine at a path. `run` returns when it is cancelled; the engine is closed then.

    `left` are sockets that an earlier life of the plane has left; `to` holds ours for the next.
    `patience_s` is how long one that serves the path already may take to end.
    """

    def __init__(
        self,
        path: Path,
        engine: LocalEngine,
        left: Iterable[int] = (),
        to: StoreClient | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._path = path
        self._patience_s = patience_s
        self._engine = engine
        self._keeping = Keeping(engine, to)
        self._keeping.inherit(left)
        self._instance = secrets.token_hex(8)
        self._clients: set[asyncio.StreamWriter] = set()
        self._master: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled. Raises ConfigurationError where another plane serves the path."""
        loop = asyncio.get_running_loop()
        lock = self._path.with_name(self._path.name + ".lock")
        with alone(lock, self._patience_s), contextlib.closing(self._engine):
            self._path.unlink(missing_ok=True)
            server = await self._listen()
            loop.add_reader(self._engine.fileno(), self._tell)
            disowning = loop.call_later(UNWANTED_S, self._keeping.disown)
            try:
                if ready is not None:
                    ready.set()
                await asyncio.Event().wait()
            finally:
                disowning.cancel()
                loop.remove_reader(self._engine.fileno())
                self._keeping.close()
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
            if self._master is writer:
                self._master = None
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
            async for answer in self._answers(line, writer):
                writer.write(answer)
                await writer.drain()

    async def _answers(self, line: bytes, of: asyncio.StreamWriter) -> AsyncIterator[bytes]:
        try:
            request = read_request(line)
        except ProtocolViolation as error:
            yield _failed(None, str(error))
            return
        try:
            self._admit(request, of)
            bindings = await self._carry_out(request)
        except PlaneError as error:
            failed = Failed(id=request.id, code=error.code, text=str(error), address=error.address)
            yield encode(failed)
            return
        for some in _batches(bindings):
            yield encode(Part(id=request.id, bindings=some))
        yield encode(Done(id=request.id))

    def _admit(self, request: Request, client: asyncio.StreamWriter) -> None:
        """Make who orders something the master. Raises PlaneServed where another one is.

        A second signalling process would release what it has not heard of: all calls of the first.
        """
        if not _is_order(request) or self._master is client:
            return
        if self._master is not None:
            raise PlaneServed(
                "another signalling process uses this plane; end it, or give this one a"
                " state.runtime_directory and a `plane` of its own"
            )
        self._master = client

    async def _carry_out(self, request: Request) -> Sequence[BindingSnapshot]:
        """What a snapshot asks for; nothing for the other requests."""
        match request:
            case BindRequest():
                await self._bind(request)
            case ArmRequest():
                _each(self._engine.arm, request.orders)
            case GateRequest():
                _each(self._engine.gate, request.orders)
            case ReleaseRequest(linger_s=linger_s):
                _each(lambda name: self._engine.release(name, linger_s), request.names)
            case SnapshotRequest():
                return self._engine.snapshot(request.names)
            case PingRequest() | ServeRequest():
                pass
        return ()

    async def _bind(self, request: BindRequest) -> None:
        try:
            await self._bind_when_let_go(request.specs)
        except PlaneError:
            self._keeping.failed(request.specs)
            raise
        _each(self._engine.arm, request.arms)
        _each(self._engine.gate, request.gates)
        self._keeping.bound(request.specs)

    async def _bind_when_let_go(self, specs: Sequence[BindingSpec]) -> None:
        """A port of a call that is just over may still be held for us."""
        while True:
            try:
                return self._engine.bind(specs)
            except PortTaken:
                if not self._keeping.may_be_held(specs):
                    raise
            await asyncio.sleep(RETRY_S)

    def _tell(self) -> None:
        """Events of the engine go to every client; one that does not read is dropped."""
        events = self._engine.events()
        self._keeping.told(events)
        lines = [encode(Happened.of(some)) for some in _batches(events)]
        for client in list(self._clients):
            if client.transport.get_write_buffer_size() > MAX_UNSENT:
                log.warning("a control client does not read; it is disconnected")
                self._clients.discard(client)
                client.transport.abort()
            else:
                client.writelines(lines)


def _is_order(request: Request) -> bool:
    """Whether a request changes what calls have, and not only what somebody tries out."""
    match request:
        case BindRequest(specs=specs, arms=arms, gates=gates):
            names = [*(s.name for s in specs), *(a.name for a in arms), *(g.name for g in gates)]
        case ArmRequest(orders=orders) | GateRequest(orders=orders):
            names = [order.name for order in orders]
        case ReleaseRequest(names=released):
            names = list(released)
        case ServeRequest():
            return True
        case _:
            return False
    return not all(name.startswith(PROBE) for name in names)


def _batches(values: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """Few enough at a time for a line."""
    return (tuple(values[at : at + AT_ONCE]) for at in range(0, len(values), AT_ONCE))


def _each(order: Callable[[T], object], wanted: Iterable[T]) -> None:
    """Carry out all, also those behind one that fails; raises the first error at the end."""
    errors = []
    for one in wanted:
        try:
            order(one)
        except PlaneError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _failed(request: int | None, text: str) -> bytes:
    return encode(Failed(id=request, code=ProtocolViolation.__name__, text=text))
