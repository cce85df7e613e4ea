"""The signalling process's end of the control connection."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from jingle_hnt.errors import (
    AddressUnavailable,
    DescriptorsExhausted,
    DuplicateBinding,
    PlaneError,
    PlaneGone,
    PortTaken,
    ProtocolViolation,
    UnknownBinding,
)
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
    Reply,
    Request,
    SnapshotRequest,
    encode,
    read_reply,
)
from jingle_hnt.relay.binding import Arm, BindingName, BindingSnapshot, BindingSpec, Event, Gate

log = structlog.get_logger(__name__)

ANSWER_S = 5.0
"""A plane that takes longer than this to answer is treated as gone."""

_ERRORS: dict[str, type[PlaneError]] = {
    error.code: error
    for error in (
        AddressUnavailable,
        DescriptorsExhausted,
        DuplicateBinding,
        PortTaken,
        UnknownBinding,
    )
}


class PlaneClient:
    """A connection to the plane; made by `connect`, ended by `close`.

    Every method raises PlaneGone once the connection is lost, and the PlaneError that the plane
    names where it cannot do what it is asked. Cancelling a call is safe: the plane may still have
    carried the order out. Requests go out in the order of the calls.
    """

    def __init__(
        self,
        hello: Hello,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.engine = hello.engine
        self.instance = hello.instance
        self.pid = hello.pid
        self._writer = writer
        self._on_event = on_event
        self._on_lost = on_lost
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._lost = False
        self._listening = asyncio.get_running_loop().create_task(self._listen(reader))

    @classmethod
    async def connect(
        cls, path: Path, on_event: Callable[[Event], None], on_lost: Callable[[], None]
    ) -> "PlaneClient":
        """Connect to the plane that listens at `path`.

        `on_event` is called for each event, `on_lost` once when the connection is lost. Raises
        OSError where nobody listens, PlaneError for a plane of another protocol.
        """
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE)
        try:
            async with asyncio.timeout(ANSWER_S):
                hello = read_reply(await reader.readline())
        except (TimeoutError, ValueError, ConnectionError, ProtocolViolation) as error:
            await _hang_up(writer)
            raise PlaneGone(f"the plane does not say hello: {error}") from error
        if not isinstance(hello, Hello) or hello.protocol != PROTOCOL:
            await _hang_up(writer)
            raise PlaneError(f"the plane speaks another protocol than {PROTOCOL}; update both")
        return cls(hello, reader, writer, on_event, on_lost)

    async def bind(self, specs: Sequence[BindingSpec]) -> None:
        """See `api.Engine.bind`."""
        await self._ask(BindRequest(id=next(self._ids), specs=tuple(specs)))

    async def arm(self, orders: Sequence[Arm]) -> None:
        """See `api.Engine.arm`; orders of a generation that is not greater change nothing."""
        await self._ask(ArmRequest(id=next(self._ids), orders=tuple(orders)))

    async def gate(self, orders: Sequence[Gate]) -> None:
        """See `api.Engine.gate`."""
        await self._ask(GateRequest(id=next(self._ids), orders=tuple(orders)))

    async def release(self, names: Sequence[BindingName], linger_s: float) -> None:
        """See `api.Engine.release`."""
        request = ReleaseRequest(id=next(self._ids), names=tuple(names), linger_s=linger_s)
        await self._ask(request)

    async def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        """See `api.Engine.snapshot`."""
        wanted = None if names is None else tuple(names)
        done = await self._ask(SnapshotRequest(id=next(self._ids), names=wanted))
        return list(done.bindings)

    async def ping(self) -> None:
        """Returns when the plane has answered."""
        await self._ask(PingRequest(id=next(self._ids)))

    async def close(self) -> None:
        """Close the connection; the plane goes on forwarding. Safe to call twice."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await _hang_up(self._writer)

    async def _ask(self, request: Request) -> Done:
        if self._lost:
            raise PlaneGone("the control connection is lost")
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        self._writer.write(encode(request))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await future
        except TimeoutError:
            raise PlaneGone(f"the plane did not answer within {ANSWER_S:g} s") from None
        finally:
            self._waiting.pop(request.id, None)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._hear(read_reply(line))
        except (ConnectionError, ValueError, ProtocolViolation) as error:
            log.error("control connection is unusable", why=str(error))
        finally:
            self._lose()

    def _hear(self, reply: Reply) -> None:
        match reply:
            case Happened():
                for event in reply.events:
                    self._on_event(event)
            case Done() if reply.id in self._waiting:
                _settle(self._waiting[reply.id], reply)
            case Failed(id=int(id)) if id in self._waiting:
                error = _ERRORS.get(reply.code, PlaneError)(reply.text)
                _settle(self._waiting[id], error)

    def _lose(self) -> None:
        self._lost = True
        for future in self._waiting.values():
            _settle(future, PlaneGone("the control connection is lost"))
        self._on_lost()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def _settle(future: asyncio.Future[Done], outcome: Done | PlaneError) -> None:
    if future.done():
        return
    if isinstance(outcome, PlaneError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
