"""Two towns of phones behind a NAT each, whose users call each other and do what users do.

All phones are in this program; each has its sockets in its town's network namespace and knows of
its calls only what its server tells it. Every packet names the call, the party, the content and the
component that it is of, and its number, so that what is lost and what is somebody else's is known
to the packet.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self, cast
from xml.etree import ElementTree as ET

from benchmarks.network import socket_in, udp_socket
from tests.chaos.verdict import SETTLE_S, Act, Track
from tests.lab.caller import DESCRIPTIONS, JINGLE_ERRORS, RAW_UDP, RTP_INFO, _Endpoint
from tests.lab.rtp import mark, rtcp, rtp
from tests.lab.world import RELAY, SERVER
from tests.lab.xmpp_actors import (
    CONDITIONS,
    JINGLE,
    Client,
    Disconnected,
    Refused,
    bare_name,
    unique,
)

TICK_S = 0.02
TICKS_OF_RTP, TICKS_OF_RTCP = 5, 50
"""A stream speaks once in so many ticks; the streams take turns, so that none is crowded."""
ANSWER_S = 20.0
"""How long an answer to a request is waited for; later it counts as lost."""
RINGS_S = 25.0
NOTICED_S = 4.0
"""A user whose peer has hung up notices by himself, where nobody tells his phone."""
GIVEN_UP_S = 60.0
"""How long the end of a call is waited for whose parties have vanished."""
UNDER_WAY_S = 3.0
"""How long what was sent before the end of a call is waited for."""
RELOGIN_S = 0.5
PORTS = 200
"""Ports of one phone, taken in turn: what comes late for a call finds no other call at its port."""
FIRST_PORT = 10_000
CONTENTS = tuple(DESCRIPTIONS)
VOICE, CAMERA = CONTENTS

_Address = tuple[str, int]


class Lost(Exception):
    """Nobody knows what became of a request."""


@dataclass
class Town:
    """A namespace behind a NAT."""

    name: str
    namespace: str
    address: str
    flushed: list[float] = field(default_factory=list)
    """When the NAT has forgotten its mappings."""


class _Distant(Client):
    """A client whose connection comes from a town."""

    namespace = ""

    async def open(self, endpoint: _Address, local: str | None = None) -> None:
        connection = socket_in(self.namespace, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.get_running_loop().sock_connect(connection, endpoint)
        except BaseException:
            connection.close()
            raise
        _, self._writer = await asyncio.open_connection(sock=connection)
        self._begin_to_read()


class Phone:
    """One user, one call at a time; logs in again whenever its connection is lost."""

    def __init__(self, jid: str, town: Town, first_port: int) -> None:
        self.jid = jid
        self.town = town
        self.online = asyncio.Event()
        self.seat: Seat | None = None
        self.invited: Call | None = None
        self._client: Client | None = None
        self._pending: dict[str, asyncio.Future[ET.Element]] = {}
        self._first_port, self._used = first_port, 0
        self._kind: type[_Distant] = type("_From", (_Distant,), {"namespace": town.namespace})

    async def run(self) -> None:
        """Stay online until cancelled."""
        try:
            while True:
                with contextlib.suppress(OSError, TimeoutError, Disconnected, Refused):
                    self._client = await self._kind.login(_Endpoint((SERVER, 5222)), self.jid)
                    self.online.set()
                    await self._listen(self._client)
                self.online.clear()
                for waiting in self._pending.values():
                    if not waiting.done():
                        waiting.set_exception(Lost)
                self._pending.clear()
                await self._leave()
                await asyncio.sleep(RELOGIN_S)
        finally:
            await self._leave()

    def next_ports(self) -> list[int]:
        """Two ports, RTP and RTCP."""
        port = self._first_port + self._used
        self._used = (self._used + 2) % PORTS
        return [port, port + 1]

    async def ask(self, action: str, payload: str) -> str:
        """Send a request of the call that is going on; returns the error's condition, if any.

        Raises Lost.
        """
        assert self.seat is not None
        id_ = unique(action)
        answered = self._pending[id_] = asyncio.get_running_loop().create_future()
        try:
            if self._client is None or not self.online.is_set():
                raise Lost
            self._client.request(self.seat.peer, action, self.seat.call.sid, payload, id_)
            async with asyncio.timeout(ANSWER_S):
                answer = await answered
        except TimeoutError:
            raise Lost from None
        finally:
            self._pending.pop(id_, None)
        if answer.get("type") == "result":
            return ""
        names = [bare_name(e) for e in answer.iter() if e.tag.startswith(f"{{{CONDITIONS}}}")]
        return next(iter(names), "undefined-condition")

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                await client.abort()

    async def _listen(self, client: Client) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                self._receive(client, await client.next())

    def _receive(self, client: Client, stanza: ET.Element) -> None:
        if stanza.get("type") in ("result", "error"):
            waiting = self._pending.get(stanza.get("id", ""))
            if waiting is not None and not waiting.done():
                waiting.set_result(stanza)
            return
        jingle = stanza.find(f"{{{JINGLE}}}jingle")
        if stanza.get("type") != "set" or jingle is None:
            return
        if jingle.get("action") == "session-initiate":
            self._rung(jingle.get("sid", ""))
        seat = self.seat
        known = seat is not None and seat.call.sid == jingle.get("sid")
        if seat is None or not known or seat.is_over or stanza.get("from") != seat.peer:
            client.reject(stanza, extra=f'<unknown-session xmlns="{JINGLE_ERRORS}"/>')
        else:
            client.acknowledge(stanza)
            seat.told(jingle)

    def _rung(self, sid: str) -> None:
        if self.invited is not None and self.invited.sid == sid and self.seat is None:
            self.seat = self.invited.seats[1]


class Ear(asyncio.DatagramProtocol):
    """A socket of a party."""

    def __init__(self, seat: "Seat") -> None:
        self.seat = seat
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: _Address) -> None:
        self.seat.call.exchange.arrived(self.seat, data)


class Stream:
    """What a party sends on one component of one content, and what of it its peer has heard."""

    def __init__(self, seat: "Seat", content: str, component: int) -> None:
        self.seat, self.content, self.component = seat, content, component
        number = 4 * seat.number + 2 * CONTENTS.index(content) + component
        self.who = 16 * seat.call.number + number
        self.track = Track(seat.number, content, component)
        self.ear: Ear | None = None
        self.destination: _Address | None = None
        self.is_muted = False
        self.known_at = float("inf")
        """When the relay knows where it is: it has spoken since it is there."""

    @property
    def is_talking(self) -> bool:
        ready = self.ear is not None and self.destination is not None
        return ready and not self.is_muted and self.content in self.seat.call.agreed_at

    def say(self, now: float) -> None:
        assert self.ear is not None
        assert self.ear.transport is not None
        if self.destination is not None and self.destination[0] == RELAY:
            self.known_at = min(self.known_at, now + SETTLE_S)
        number = len(self.track.sent)
        self.track.sent.append((now, self.seat.call.is_expected(self, now)))
        make = rtcp if self.component else rtp
        self.ear.transport.sendto(
            make(self.who.to_bytes(4, "big").ljust(16, b"\0"), self.who, number), self.destination
        )


class Seat:
    """One side of a call: 0 calls, 1 is called."""

    def __init__(self, call: "Call", number: int, phone: Phone) -> None:
        self.call, self.number, self.phone = call, number, phone
        self.peer = ""
        self.generation = 0
        self.accepted = asyncio.Event()
        self.told_of_end = asyncio.Event()
        self.is_over = self.has_vanished = False
        self.deaf_until = 0.0
        self.streams: dict[str, list[Stream]] = {}
        self.ports: dict[str, list[int]] = {}
        self._ears: list[Ear] = []

    @property
    def role(self) -> str:
        return ("initiator", "responder")[self.number]

    # What the server tells

    def told(self, jingle: ET.Element) -> None:
        """A request of the peer, or of the relay in its name."""
        match jingle.get("action"):
            case "session-initiate":
                self.call.offered(any(ip == RELAY for _, _, (ip, _) in _candidates(jingle)))
                self._follow(jingle)
                self.call.spawn(self._answer())
            case "session-accept":
                self._follow(jingle)
                self.accepted.set()
            case "content-add":
                self.call.spawn(self._added(jingle))
            case "content-accept":
                self._follow(jingle)
                self.call.agree(CAMERA)
            case "content-remove":
                self.call.disagree(CAMERA)
            case "transport-info":
                self._follow(jingle)
            case "session-terminate":
                self._ended(jingle)

    def _follow(self, jingle: ET.Element) -> None:
        for content, component, address in _candidates(jingle):
            if content in self.streams:
                self.streams[content][component].destination = address

    async def _answer(self) -> None:
        await asyncio.sleep(self.call.rings_s)
        if self.is_over:
            return
        if not await self.request("session-accept", self.content(VOICE, "initiator")):
            self.accepted.set()

    async def _added(self, jingle: ET.Element) -> None:
        creator = ("initiator", "responder")[1 - self.number]
        await self.open(CAMERA)
        self._follow(jingle)
        refused = await self.request("content-accept", self.content(CAMERA, creator))
        if refused and not self.is_over:
            await self.request("content-remove", f'<content creator="{creator}" name="{CAMERA}"/>')
            self.call.disagree(CAMERA)

    def _ended(self, jingle: ET.Element) -> None:
        self.is_over = True
        self._fall_silent()
        self.told_of_end.set()
        reason = jingle.find(f"{{{JINGLE}}}reason")
        words = [] if reason is None else [bare_name(e) + (e.text or "") for e in reason]
        self.call.ended(self, " ".join(words))

    # What its user does

    async def request(self, action: str, payload: str) -> str:
        """Ask the peer for something; returns the error's condition, if any.

        What is lost makes the call doubtful: nobody knows any more what was agreed.
        """
        act = Act(action, time.monotonic())
        self.call.acts.append(act)
        try:
            answer = await self.phone.ask(action, payload)
        except Lost:
            self.call.is_doubtful = True
            answer = "lost"
        act.end, act.answer = time.monotonic(), answer
        return answer

    async def open(self, content: str) -> None:
        """Sockets of a content, and its streams; one that comes again goes on with those."""
        if content not in self.streams:
            self.streams[content] = [Stream(self, content, component) for component in range(2)]
        self._use(content, await self._listen(content))

    async def _listen(self, content: str) -> list[Ear]:
        self.ports[content] = self.phone.next_ports()
        ears = []
        for port in self.ports[content]:
            own = udp_socket(self.phone.town.namespace, (self.phone.town.address, port))
            own.setblocking(False)
            loop = asyncio.get_running_loop()
            _, ear = await loop.create_datagram_endpoint(lambda: Ear(self), sock=own)
            ears.append(ear)
        self._ears += ears
        return ears

    def _use(self, content: str, ears: Sequence[Ear]) -> None:
        for stream, ear in zip(self.streams[content], ears, strict=True):
            stream.ear, stream.known_at = ear, float("inf")

    def content(self, name: str, creator: str, described: bool = True) -> str:
        """The description and the transport of a content, with the addresses that this party has.

        One that moves is not described again.
        """
        candidates = "".join(
            f'<candidate component="{c}" generation="{self.generation}" id="{unique("c")}"'
            f' ip="{self.phone.town.address}" port="{port}"/>'
            for c, port in enumerate(self.ports[name], start=1)
        )
        description = DESCRIPTIONS[name] if described else ""
        return (
            f'<content creator="{creator}" name="{name}">{description}'
            f'<transport xmlns="{RAW_UDP}">{candidates}</transport></content>'
        )

    async def hold(self, seconds: float) -> None:
        """Put the call on hold for a while."""
        self.deaf_until = float("inf")
        await self.request("session-info", f'<hold xmlns="{RTP_INFO}"/>')
        await asyncio.sleep(seconds)
        if not self.is_over:
            await self.request("session-info", f'<active xmlns="{RTP_INFO}"/>')
        self.deaf_until = time.monotonic() + SETTLE_S

    async def mute(self, seconds: float, wholly: bool) -> None:
        """Send nothing for a while, or RTCP only."""
        muted = [s for two in self.streams.values() for s in two if wholly or not s.component]
        for stream in muted:
            stream.is_muted = True
        await asyncio.sleep(seconds)
        for stream in muted:
            stream.is_muted = self.has_vanished or self.is_over

    async def move(self) -> None:
        """Tell the peer of other ports, and take them once it knows; what comes at the old ones is
        still heard."""
        self.generation += 1
        ears = await self._listen(VOICE)
        await self.request("transport-info", self.content(VOICE, "initiator", described=False))
        self._use(VOICE, ears)

    async def add(self) -> None:
        """Show one's camera."""
        await self.open(CAMERA)
        if await self.request("content-add", self.content(CAMERA, self.role)):
            self.call.disagree(CAMERA)

    async def remove(self) -> None:
        """Take the camera away."""
        creator = self.call.camera_of
        self.call.disagree(CAMERA)
        await self.request("content-remove", f'<content creator="{creator}" name="{CAMERA}"/>')

    def vanish(self) -> None:
        """Fall silent for good, without a word."""
        self.has_vanished = True
        self._fall_silent()

    def _fall_silent(self) -> None:
        for stream in (s for two in self.streams.values() for s in two):
            stream.is_muted = True

    async def hang_up(self) -> None:
        """End the call."""
        self.is_over = True
        self._fall_silent()
        await self.request("session-terminate", "<reason><success/></reason>")

    def close(self) -> None:
        """Its sockets are not needed any more."""
        for ear in self._ears:
            if ear.transport is not None:
                ear.transport.close()
        self._ears.clear()
        for stream in (s for two in self.streams.values() for s in two):
            stream.ear = None


class Call:
    """One call: what was agreed, what was done, and what came of it."""

    def __init__(self, exchange: "Exchange", number: int, phones: tuple[Phone, Phone]) -> None:
        self.exchange, self.number = exchange, number
        self.sid = f"n{number}"
        self.seats = (Seat(self, 0, phones[0]), Seat(self, 1, phones[1]))
        self.rings_s = exchange.random.uniform(0, 1.5)
        self.began_at = time.monotonic()
        self.acts: list[Act] = []
        self.is_relayed: bool | None = None
        """Whether its callee was told of the relay; None where no offer came."""
        self.agreed_at: dict[str, float] = {}
        self.camera_of = ""
        self.is_doubtful = self.is_over = False
        self.over_at = 0.0
        self.ends: list[str] = []
        """What the relay has told of an end that is no party's doing."""
        self.done: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __str__(self) -> str:
        return self.sid

    @property
    def streams(self) -> Iterator[Stream]:
        """All of them."""
        return (s for seat in self.seats for two in seat.streams.values() for s in two)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began_at

    def is_wanted(self) -> bool:
        """Whether its parties want to go on."""
        return not self.is_over and not self.exchange.is_closing

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """What a phone does by itself."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def is_expected(self, stream: Stream, now: float) -> bool:
        """Whether what is sent now must be heard."""
        agreed_at = self.agreed_at.get(stream.content)
        if self.is_over or self.is_doubtful or not self.is_relayed or agreed_at is None:
            return False
        hearer = self.seats[1 - stream.seat.number]
        held = stream.component == 0 and now < hearer.deaf_until
        reverse = hearer.streams[stream.content][stream.component]
        return now >= max(agreed_at + SETTLE_S, reverse.known_at) and not held

    # What phones learn

    def offered(self, relayed: bool) -> None:
        self.is_relayed = relayed

    def agree(self, content: str) -> None:
        self.agreed_at.setdefault(content, time.monotonic())

    def disagree(self, content: str) -> None:
        self.agreed_at.pop(content, None)
        for seat in self.seats:
            for stream in seat.streams.get(content, ()):
                stream.destination = None

    def ended(self, seat: Seat, why: str) -> None:
        """A phone was told that the call is over."""
        if not self.is_over:
            vanished = all(each.has_vanished for each in self.seats)
            self.ends.append(f"{why} ({'vanished' if vanished else 'going on'})")
            self._end()

    def _end(self) -> None:
        if not self.is_over:
            self.is_over, self.over_at = True, time.monotonic()

    # Its life

    async def live(self) -> None:
        """From the offer to the end; its sockets are closed and its packets counted then."""
        caller, callee = self.seats
        try:
            caller.phone.seat, callee.phone.invited = caller, self
            caller.peer, callee.peer = callee.phone.jid, caller.phone.jid
            await caller.open(VOICE)
            await callee.open(VOICE)
            if await self._begin():
                self.agree(VOICE)
                await self._go_on()
            await self._over()
        finally:
            self._end()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.sleep(0)
            caller.phone.seat = callee.phone.seat = callee.phone.invited = None

    async def settle(self) -> None:
        """Wait for what is under way, however late it comes, and close the sockets."""
        for stream in self.streams:
            stream.destination = None
        await asyncio.sleep(UNDER_WAY_S)
        await self.exchange.flowing()
        for seat in self.seats:
            seat.close()

    async def _begin(self) -> bool:
        """Whether the call was accepted."""
        caller, callee = self.seats
        refused = await caller.request("session-initiate", caller.content(VOICE, "initiator"))
        if refused:
            self.done.append(f"refused: {refused}")
            caller.is_over = refused != "lost"
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RINGS_S):
                await caller.accepted.wait()
                await callee.accepted.wait()
                return not self.is_over
        self.done.append("not accepted")
        return False

    async def _go_on(self) -> None:
        chance = self.exchange.random
        until = time.monotonic() + chance.expovariate(1 / self.exchange.lasts_s)
        while self.is_wanted() and time.monotonic() < until:
            await asyncio.sleep(chance.uniform(0.3, 4))
            if not (self.is_wanted() and self.is_relayed):
                continue
            seat = chance.choice(self.seats)
            what = chance.choices(*zip(*self._possible(), strict=True))[0]
            self.done.append(f"{time.monotonic() - self.began_at:.1f} {seat.number} {what}")
            await self._do(seat, what)
            if self.is_doubtful or what == "vanish":
                return

    def _possible(self) -> list[tuple[str, int]]:
        camera = "remove" if CAMERA in self.agreed_at else "add"
        return [("hold", 4), ("mute", 3), ("quiet", 2), ("move", 3), (camera, 4), ("vanish", 1)]

    async def _do(self, seat: Seat, what: str) -> None:
        chance = self.exchange.random
        match what:
            case "hold":
                await seat.hold(chance.uniform(0.2, 4))
            case "mute" | "quiet":
                await seat.mute(chance.uniform(0.5, 8), wholly=what == "quiet")
            case "move":
                await seat.move()
            case "add":
                self.camera_of = seat.role
                await seat.add()
            case "remove":
                await seat.remove()
            case "vanish":
                for each in self.seats:
                    each.vanish()
                self.acts.append(Act("vanish", time.monotonic(), time.monotonic()))

    async def _over(self) -> None:
        """Somebody hangs up, unless the call is over; the other notices in the end."""
        if self.seats[0].has_vanished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GIVEN_UP_S):
                    for seat in self.seats:
                        await seat.told_of_end.wait()
            return
        one, other = self.exchange.random.sample(self.seats, 2)
        if one.phone.seat is not one:  # the offer has not come
            one, other = other, one
        was_over = self.is_over
        self._end()
        if not was_over:
            await one.hang_up()
        for seat in (one, other):
            if seat.phone.seat is not seat or seat.is_over:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICED_S):
                    await seat.told_of_end.wait()
            if not seat.is_over:
                await seat.hang_up()


class Exchange:
    """All phones of both towns, in pairs; as many calls as there are pairs, one after the other.

    `flowing` is awaited before a call's packets are counted: nothing holds them up then.
    """

    def __init__(
        self, towns: tuple[Town, Town], domain: str, pairs: int, seed: int, lasts_s: float
    ) -> None:
        self.random = random.Random(seed)
        self.lasts_s = lasts_s
        self.calls: list[Call] = []
        self.crossed: list[str] = []
        self.packets = 0
        self.is_closing = False
        self.pairs = [
            (
                Phone(f"u{2 * n}@{domain}/phone", towns[0], FIRST_PORT + n * PORTS),
                Phone(f"u{2 * n + 1}@{domain}/phone", towns[1], FIRST_PORT + n * PORTS),
            )
            for n in range(pairs)
        ]
        self._live: set[Call] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._calling: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self.flowing: Callable[[], Awaitable[None]] = _nothing

    async def __aenter__(self) -> Self:
        phones = [phone for pair in self.pairs for phone in pair]
        for phone in phones:
            self._tasks.append(asyncio.create_task(phone.run()))
            await asyncio.sleep(0.01)
        self._tasks.append(asyncio.create_task(self._talk()))
        await self.all_online()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._calling, *self._settling, *self._tasks):
            task.cancel()
        tasks = (*self._calling, *self._settling, *self._tasks)
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in self.calls:
            for seat in call.seats:
                seat.close()

    async def all_online(self) -> None:
        """Wait until every phone is logged in."""
        for pair in self.pairs:
            for phone in pair:
                await phone.online.wait()

    @property
    def going_on(self) -> int:
        return len(self._live)

    def begin(self) -> None:
        """Let everybody call, again and again."""
        self.is_closing = False
        self._calling = [asyncio.create_task(self._call_on(pair)) for pair in self.pairs]

    async def close(self) -> None:
        """Let everybody hang up; returns when all is over and what is under way has come."""
        self.is_closing = True
        for ended in await asyncio.gather(*self._calling, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
        self._calling.clear()
        while self._settling:
            await asyncio.gather(*list(self._settling))

    def arrived(self, seat: Seat, datagram: bytes) -> None:
        """A packet has come to a party."""
        self.packets += 1
        found = mark(datagram)
        who = -1 if found is None else int.from_bytes(found[0][:4], "big")
        number, rest = divmod(who, 16)
        if found is None or number != seat.call.number or rest // 4 == seat.number:
            self.crossed.append(f"{seat.call} {seat.role} has heard n{number} {rest}")
            return
        content, component = CONTENTS[rest % 4 // 2], rest % 2
        seat.call.seats[1 - seat.number].streams[content][component].track.heard.add(found[1])

    async def _call_on(self, pair: tuple[Phone, Phone]) -> None:
        await asyncio.sleep(self.random.uniform(0, 3))
        while not self.is_closing:
            for phone in pair:
                await phone.online.wait()
            call = Call(self, len(self.calls), pair)
            self.calls.append(call)
            self._live.add(call)
            try:
                await call.live()
            finally:
                self._live.discard(call)
            settling = asyncio.create_task(call.settle())
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)
            await asyncio.sleep(self.random.uniform(0, 1))

    async def _talk(self) -> None:
        tick, due = 0, time.monotonic()
        while True:
            now = time.monotonic()
            for call in self._live:
                for stream in call.streams:
                    every = (TICKS_OF_RTP, TICKS_OF_RTCP)[stream.component]
                    if (tick + stream.who) % every == 0 and stream.is_talking:
                        stream.say(now)
            tick += 1
            due = max(due + TICK_S, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _nothing() -> None:
    pass


def _candidates(jingle: ET.Element) -> Iterator[tuple[str, int, _Address]]:
    """Content, component and address of what a request tells."""
    for content in jingle.iter(f"{{{JINGLE}}}content"):
        for candidate in content.iter(f"{{{RAW_UDP}}}candidate"):
            component = int(candidate.get("component", "1")) - 1
            address = candidate.get("ip", ""), int(candidate.get("port", "0"))
            yield content.get("name", ""), component, address
