"""The signalling process's end of the control connection."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from jingle_hnt.errors import (
    AddressUnavailable,
    DescriptorsExhausted,
    DuplicateBinding,
    PlaneError,
    PlaneGone,
    PlaneServed,
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
    Part,
    PingRequest,
    ReleaseRequest,
    Reply,
    Request,
    ServeRequest,
    SnapshotRequest,
    encode,
    read_reply,
)
from jingle_hnt.relay.binding import (
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Drained,
    Event,
    Gate,
)
from jingle_hnt.relay.ports import PlaneId, PortPool

log = structlog.get_logger(__name__)

ANSWER_S = 5.0
"""A plane that takes longer than this to answer is treated as gone."""

STOOD_STILL_S = 0.5
"""A process that is woken so much too late stood still itself (SIGSTOP, a suspended machine)."""

ORDERS_AT_ONCE = 1000
"""Orders in one line, if they are short enough for it."""

T = TypeVar("T")
_ERRORS: dict[str, type[PlaneError]] = {
    error.code: error
    for error in (
        AddressUnavailable,
        DescriptorsExhausted,
        DuplicateBinding,
        PlaneServed,
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
        self._parts: dict[int, list[BindingSnapshot]] = {}
        self._unsent: list[bytes] = []
        self._held: list[Event] | None = None
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

    @classmethod
    def ports(cls, plane: PlaneId, choose: Callable[[int], int]) -> PortPool:
        """The local plane's ports are in the configuration."""
        raise NotImplementedError(plane)

    async def serve(self) -> None:
        """Be the only client that orders something. Raises PlaneServed where another one is.

        Who does not ask becomes it with the first order, under the same condition.
        """
        await self._ask(ServeRequest(id=next(self._ids)))

    async def bind(self, specs: Sequence[BindingSpec], orders: Sequence[Arm | Gate] = ()) -> None:
        """See `api.Engine.bind`; the orders are carried out before the answer comes.

        Raises PlaneError also for more than a line can hold.
        """
        arms = tuple(order for order in orders if isinstance(order, Arm))
        gates = tuple(order for order in orders if isinstance(order, Gate))
        request = BindRequest(id=next(self._ids), specs=tuple(specs), arms=arms, gates=gates)
        await self._ask(request)

    async def arm(self, orders: Sequence[Arm]) -> None:
        """See `api.Engine.arm`; orders of a generation that is not greater change nothing.

        Of these orders, and those of `gate` and `release`, each is carried out, also behind one of
        an unknown binding; the error comes at the end.
        """
        await self._ask_all(lambda some: ArmRequest(id=next(self._ids), orders=some), orders)

    async def gate(self, orders: Sequence[Gate]) -> None:
        """See `api.Engine.gate`."""
        await self._ask_all(lambda some: GateRequest(id=next(self._ids), orders=some), orders)

    async def release(self, names: Sequence[BindingName], linger_s: float) -> None:
        """See `api.Engine.release`."""
        await self._ask_all(
            lambda some: ReleaseRequest(id=next(self._ids), names=some, linger_s=linger_s), names
        )

    async def snapshot(self, names: Sequence[BindingName] | None = None) -> list[BindingSnapshot]:
        """See `api.Engine.snapshot`."""
        wanted = None if names is None else tuple(names)
        request = SnapshotRequest(id=next(self._ids), names=wanted)
        found = self._parts[request.id] = []
        try:
            await self._ask(request)
        finally:
            del self._parts[request.id]
        return found

    def hold_events(self) -> None:
        """Tell of no events until `tell_events`: what is newer than a snapshot comes after it."""
        self._held = []

    def tell_events(self) -> None:
        """Tell of events again, first of those since the last snapshot."""
        held, self._held = self._held or [], None
        for event in held:
            self._on_event(event)

    async def ping(self) -> None:
        """Returns when the plane has answered."""
        await self._ask(PingRequest(id=next(self._ids)))

    async def close(self) -> None:
        """Close the connection; the plane goes on forwarding. Safe to call twice."""
        self._flush()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await _hang_up(self._writer)

    async def _ask_all(
        self, request_of: Callable[[tuple[T, ...]], Request], orders: Sequence[T]
    ) -> None:
        """Ask in as many lines as it takes, all of them sent before any later request."""
        requests = [
            request
            for at in range(0, len(orders), ORDERS_AT_ONCE)
            for request in _fitting(request_of, tuple(orders[at : at + ORDERS_AT_ONCE]))
        ]
        outcomes = await asyncio.gather(*map(self._ask, requests), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _ask(self, request: Request) -> Done:
        if self._lost:
            raise PlaneGone("the control connection is lost")
        line = encode(request)
        if len(line) > MAX_LINE:
            raise PlaneError(f"{request.op} of more than {MAX_LINE} bytes; ask for less at once")
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = future
        self._send(line)
        try:
            if await self._in_time(future):
                return await future
        finally:
            self._waiting.pop(request.id, None)
        # What it may yet do with this order is found when it is met again.
        self._lose()
        raise PlaneGone(f"the plane did not answer within {ANSWER_S:g} s")

    async def _in_time(self, future: asyncio.Future[Done]) -> bool:
        """Whether the answer comes in time. Whoever stood still itself has yet to read it."""
        while True:
            since = time.monotonic()
            if (await asyncio.wait([future], timeout=ANSWER_S))[0]:
                return True
            if time.monotonic() - since < ANSWER_S + STOOD_STILL_S:
                return False

    def _send(self, line: bytes) -> None:
        """Lines of one turn of the loop go out together."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(line)

    def _flush(self) -> None:
        self._writer.write(b"".join(self._unsent))
        self._unsent.clear()

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
                if self._held is not None:
                    self._held += reply.events
                    return
                for event in reply.events:
                    self._on_event(event)
            case Part() if reply.id in self._parts:
                self._parts[reply.id] += reply.bindings
            case Done() if reply.id in self._waiting:
                if reply.id in self._parts and self._held is not None:
                    # What it tells is newer; only of what is gone it tells nothing.
                    self._held = [event for event in self._held if isinstance(event, Drained)]
                _settle(self._waiting[reply.id], reply)
            case Failed(id=int(id)) if id in self._waiting:
                error = _ERRORS.get(reply.code, PlaneError)(reply.text, reply.address)
                _settle(self._waiting[id], error)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        for future in self._waiting.values():
            _settle(future, PlaneGone("the control connection is lost"))
        self._on_lost()


def _fitting(
    request_of: Callable[[tuple[T, ...]], Request], orders: tuple[T, ...]
) -> list[Request]:
    """The requests for these orders, halved until each fits a line."""
    request = request_of(orders)
    if len(orders) == 1 or len(encode(request)) <= MAX_LINE:
        return [request]
    half = len(orders) // 2
    return [*_fitting(request_of, orders[:half]), *_fitting(request_of, orders[half:])]


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
