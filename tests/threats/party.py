"""Many parties of one network: marked media of each of its calls, sent and counted.

Reads one JSON object from stdin (see `Plan`), says ``{"open": true}`` when its ports are open,
sends from `starts_at` on, and prints what it sent and heard when the time is over.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

from aioice import stun
from pylibsrtp import Policy

from tests.lab.rtp import RTP_INTERVAL_S, Component, rtp
from tests.lab.srtp_phone import believed
from tests.threats.guards import Terms, check, session

CHECK_S, CONSENT_S = 0.1, 2.0
AFTER_S = 0.4
"""How long packets that are under way are waited for."""
MARKED_AT = 38
TUNNEL_FROM = 100
"""The first packet that is none of RTP in a tunnel."""


class Plan(TypedDict):
    """Calls by number: `own` and `peer` name the streams, `to` holds where RTP and RTCP go.

    `rough` is the way to the relay.
    Times are CLOCK_REALTIME seconds. `late` (by call, 0 if missing) delays a party's first packet;
    `loud` (by call) names what of `LOUD` it sends for RTP; `gone` (by call) says from when to when
    after the start its ports are shut.
    """

    address: str
    first_port: int
    own: str
    peer: str
    to: list[list[tuple[str, int]]]
    starts_at: float
    seconds: float
    late: dict[str, float]
    rough: bool
    loud: dict[str, str]
    gone: dict[str, tuple[float, float]]
    terms: list[Terms]


class Rough(Component):
    """One whose packets meet all that an internet has for them."""

    LOSS, DUPLICATES, LATE_S = 0.10, 0.05, 0.1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the way between ourselves and our socket."""
        super().connection_made(transport)
        self._chance = random.Random(self.ssrc)
        assert self._transport is not None
        self._socket, self._transport = self._transport, cast(asyncio.DatagramTransport, self)

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        """As a transport's: now, later, twice or never."""
        if self._chance.random() < self.LOSS:
            return
        for _ in range(1 + (self._chance.random() < self.DUPLICATES)):
            late_s = self._chance.uniform(0.0, self.LATE_S)
            asyncio.get_running_loop().call_later(late_s, self._socket.sendto, data, address)


class Loud(Component):
    """One that sends more than it should: so many packets at once instead of one, made so."""

    def __init__(self, stream: bytes, ssrc: int, kind: str) -> None:
        super().__init__(stream, ssrc, control=False)
        self.at_once, self.make = LOUD[kind]

    async def _send(self, destination: tuple[str, int]) -> None:
        due = time.monotonic()
        while self._transport is not None:
            for _ in range(self.at_once):
                number = len(self.sent_at)
                self.sent_at.append(time.monotonic())
                self.send(self.make(self.stream, self.ssrc, number), destination)
            due += RTP_INTERVAL_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def loud_size(number: int) -> int:
    """Packets as of video, every 76th larger than a link, some of them as large as can be."""
    if number % 76 != 75:
        return 1200
    return 65507 if number % 760 == 759 else 9000


def large(stream: bytes, ssrc: int, number: int) -> bytes:
    """RTP of `loud_size`, marked where `mark` looks for what is not as short as `rtp`."""
    made = rtp(stream, ssrc, number)
    return (made[:12].ljust(MARKED_AT, b"\x55") + made[12:]).ljust(loud_size(number), b"\x55")


def tunnelled(stream: bytes, ssrc: int, number: int) -> bytes:
    """The same as IPv4 of a VPN, as soon as enough RTP has opened the way."""
    made = large(stream, ssrc, number)
    return made if number < TUNNEL_FROM else b"\x45\x00" + made[2:]


LOUD: dict[str, tuple[int, Callable[[bytes, int, int], bytes]]] = {
    "fast": (10, rtp),
    "large": (76, large),  # some 40 Mbit/s
    "tunnel": (76, tunnelled),
}


class Agent(Component):
    """A component that talks when a check of its own was answered; as little ICE as that takes."""

    def __init__(self, stream: bytes, ssrc: int, control: bool, terms: Terms) -> None:
        super().__init__(stream, ssrc, control)
        self.terms = terms
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:1] not in (b"\0", b"\1"):
            super().datagram_received(data, addr)
            return
        asked = data[:1] == b"\0"
        key = self.terms["own" if asked else "peer"][1]
        try:
            message = stun.parse_message(data)
        except ValueError:
            message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        if not message.check_message_integrity(key.encode()):
            self.heard.foreign += 1
            return
        if asked:
            self.send(self._answer(message, addr, key), addr)
        else:
            self.answered.set()

    @staticmethod
    def _answer(request: stun.Message, addr: tuple[str, int], key: str) -> bytes:
        answer = stun.Message(
            stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        answer.add_message_integrity(key.encode())
        answer.add_fingerprint()
        return bytes(answer)

    async def _send(self, destination: tuple[str, int]) -> None:
        checking = asyncio.create_task(self._check(destination))
        try:
            await self.answered.wait()
            await super()._send(destination)
        finally:
            checking.cancel()

    async def _check(self, destination: tuple[str, int]) -> None:
        """Ten checks a second until one is answered, then one for consent every two seconds."""
        terms, component = self.terms, 1 + self.control
        for count in itertools.count():
            asked = check(terms["own"], terms["peer"], terms["controlling"], component, count)
            self.send(asked, destination)
            await asyncio.sleep(CONSENT_S if self.answered.is_set() else CHECK_S)


class Party:
    """One call's components."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        ssrc = ssrc_of(plan["own"], number)
        self.components = [self._component(ssrc, control) for control in (False, True)]

    def _component(self, ssrc: int, control: bool) -> Component:
        terms, own = self.plan["terms"][self.number], stream(self.plan["own"], self.number)
        if "own" in terms:
            return Agent(own, ssrc, control, terms)
        loud = self.plan["loud"].get(str(self.number))
        if loud is not None and not control:
            return Loud(own, ssrc, loud)
        kind = Rough if self.plan["rough"] else Component
        component = kind(own, ssrc, control)
        if "own_key" in terms:
            sending = session(terms["own_key"], Policy.SSRC_ANY_OUTBOUND)
            hearing = session(terms["peer_key"], Policy.SSRC_ANY_INBOUND)
            component.protect = sending.protect_rtcp if control else sending.protect
            component.unprotect = believed(hearing.unprotect_rtcp if control else hearing.unprotect)
        return component

    async def open(self) -> None:
        """Bind both ports."""
        for component, sink in enumerate(self.components):
            sink.heard.expected = stream(self.plan["peer"], self.number)
            port = self.plan["first_port"] + 2 * self.number + component
            await sink.open(self.plan["address"], port)

    async def _talk_but(self, gone_at: float, back_at: float) -> None:
        """Send; shut the ports, and open them again, at these times."""
        await asyncio.sleep(self.plan["starts_at"] + gone_at - time.time())
        for sink in self.components:
            await sink.close()
        await asyncio.sleep(self.plan["starts_at"] + back_at - time.time())
        await self.open()
        self._start()

    def _start(self) -> None:
        for sink, (host, port) in zip(self.components, self.plan["to"][self.number], strict=True):
            sink.start((host, port))

    async def talk(self) -> None:
        """Send until the time is over; nothing where the first packet would be later than that."""
        late = self.plan["late"].get(str(self.number), 0.0)
        if late >= self.plan["seconds"]:
            await asyncio.sleep(self.plan["starts_at"] + self.plan["seconds"] - time.time())
            return
        await asyncio.sleep(self.plan["starts_at"] + late - time.time())
        self._start()
        if gone := self.plan["gone"].get(str(self.number)):
            await self._talk_but(*gone)
        await asyncio.sleep(self.plan["starts_at"] + self.plan["seconds"] - time.time())
        for sink in self.components:
            sink.stop()

    def told(self) -> list[dict[str, Any]]:
        """What each component sent and heard."""
        return [
            {
                "sent_at": sink.sent_at,
                "numbers": sorted(sink.heard.numbers),
                "heard_at": [at for _, at in sorted(sink.heard.first_at.items())],
                "duplicates": sink.heard.numbers.total() - len(sink.heard.numbers),
                "foreign": sink.heard.foreign,
            }
            for sink in self.components
        ]


def ssrc_of(name: str, number: int) -> int:
    """The SSRC of party ``a`` or ``b`` in one call: 1000 and 2000 on."""
    return 1000 * (1 + "ab".index(name)) + number


def stream(name: str, number: int) -> bytes:
    """The mark of one party's packets in one call."""
    return f"{name}{number}".encode().ljust(16, b"\0")[:16]


def say(value: object) -> None:
    """One line for who started us."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def run(plan: Plan) -> Sequence[object]:
    """All calls of a plan."""
    parties = [Party(plan, number) for number in range(len(plan["to"]))]
    for party in parties:
        await party.open()
    say({"open": True})
    await asyncio.gather(*(party.talk() for party in parties))
    await asyncio.sleep(AFTER_S)
    return [party.told() for party in parties]


if __name__ == "__main__":
    say(asyncio.run(run(json.loads(sys.stdin.readline()))))
