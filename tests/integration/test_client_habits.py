"""Whole calls of clients that write Jingle in ways of their own, through NATs, on both servers.

The habits are those of `docs/clients.md`; both parties have them, and whatever they do in the
middle of the call has media of all contents afterwards, both ways.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_call_plays import heard_in, nothing_left
from tests.integration.test_ice_calls import TAKING_PART, both_outcomes, through_us
from tests.integration.test_nat_calls import hang_up
from tests.lab.play import PATIENCE_S, ROOMS, Caller, Event, Stage, stage
from tests.lab.rtp import RTP_INTERVAL_S
from tests.lab.world import NatKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("each_server"),
]

ROOM = f"lounge@{ROOMS}"
PACKETS = 25
"""So many RTP packets of each content are sent while it is looked whether all arrive."""
ENOUGH = 0.99


@dataclass(frozen=True, slots=True)
class Row:
    """How both write `creator` and the `senders` of an accept, and whether they are in a room."""

    creator: str
    senders: str = ""
    in_room: bool = False

    def __str__(self) -> str:
        return f"creator {self.creator}, senders {self.senders or 'absent'}, room {self.in_room}"


ROWS = (
    Row("initiator"),  # Conversations, Dino, Movim
    Row("own", "initiator"),  # Siskin
    Row("none", "rejected"),  # lib-jitsi-meet, strophe.jingle
    Row("initiator", "responder", in_room=True),
)


class Call:
    """A call of two phones, which are ICE agents or know raw UDP only."""

    def __init__(self, at: Stage, alice: Caller, bob: Caller, are_agents: bool) -> None:
        self.at, self.alice, self.bob = at, alice, bob
        self.parties = (alice, bob)
        self.are_agents = are_agents
        self.port = 9000

    async def plays(self, row: Row) -> None:
        """From offer to hang-up, with all that users do in between."""
        for party in self.parties:
            party.tell("habits", creator=row.creator, senders=row.senders)
        await self._begins(f"{ROOM}/bob" if row.in_room else self.bob.jid)
        await self._callee_adds_camera()
        await self._flows()
        await self._is_told("bob", "mute")
        await self._flows()
        await self._caller_holds()
        await self._callee_modifies()
        await self._flows()
        await self._callee_moves()
        await self._flows()
        await hang_up(*self.parties)
        await nothing_left(self.at)

    async def _begins(self, to: str) -> None:
        if self.are_agents:
            ends = await both_outcomes(self.alice, self.bob, to)
            assert all(end["event"] == "connected" for end in ends), ends
            assert all(through_us(end["paths"]) for end in ends), ends
            return
        after = len(self.alice.events)
        self.alice.tell("call", to=to)
        await self.alice.expect("accepted", after=after)

    async def _callee_adds_camera(self) -> None:
        after = [len(party.events) for party in self.parties]
        self.bob.tell("add", content="camera")
        await self.bob.expect("accepted", lambda e: e["contents"] == ["camera"], after=after[1])
        if self.are_agents:
            await self._connect(after, "camera")

    async def _connect(self, after: list[int], *contents: str) -> None:
        for party, number in zip(self.parties, after, strict=True):
            for content in contents:
                end = await party.expect(
                    "connected|unconnected", partial(_is_of, content), after=number
                )
                assert end["event"] == "connected", end
                assert through_us(end["paths"]), end

    async def _is_told(self, who: str, what: str) -> None:
        one, other = self.parties if who == "alice" else self.parties[::-1]
        after = len(other.events)
        one.tell("info", what=what)
        await other.expect("informed", lambda e: e["of"] == [what], after=after)

    async def _caller_holds(self) -> None:
        """Meanwhile it hears nothing but reports."""
        await self._is_told("alice", "hold")
        await self._until_flow("responder", "held")
        async with asyncio.timeout(PATIENCE_S):
            while (await heard_in(0.3, self.alice))["rtp"]:
                pass  # what was on its way
        await self._is_told("alice", "active")
        await self._until_flow("responder", "open")

    async def _callee_modifies(self) -> None:
        """It stops sending voice; between ICE agents one path may carry all, so none is shut."""
        for senders, flow in (("initiator", "held"), ("both", "open")):
            after = len(self.alice.events)
            self.bob.tell("modify", content="voice", senders=senders)
            await self.alice.expect("modified", after=after)
            await self._until_flow("responder", "open" if self.are_agents else flow)

    async def _callee_moves(self) -> None:
        """To other ports: an ICE restart (XEP-0176 section 5.10), or another generation."""
        if self.are_agents:
            after = [len(party.events) for party in self.parties]
            self.bob.tell("restart")
            await self._connect(after, "voice", "camera")
            return
        self.port += 10
        self.bob.tell("move", port=self.port)
        moved = f"{self.bob.public}:{self.port}"
        await self._until(lambda call: _leg(call, "responder")["learned"] == moved)

    async def _until_flow(self, role: str, flow: str) -> None:
        await self._until(lambda call: _leg(call, role)["flow"] == flow)

    async def _until(self, holds: Callable[[Event], bool]) -> None:
        await self.at.relay.until(lambda a: holds(a["calls"][0]), command="calls")

    async def _flows(self) -> None:
        """Of both contents the other hears what each sends from now on."""
        for party in self.parties:
            await _until_heard(party, await _media(party))
        before = [await _media(party) for party in self.parties]
        await asyncio.sleep(PACKETS * RTP_INTERVAL_S)
        after = [await _media(party) for party in self.parties]
        for old, new, receiver in zip(before, after, self.parties[::-1], strict=True):
            assert set(new) == {"voice", "camera"}
            sent = {content: _sent_since(old[content], new[content]) for content in new}
            assert all(numbers[0] for numbers in sent.values()), "nothing was sent"
            await _arrives(receiver, sent)


async def _media(party: Caller) -> dict[str, list[Event]]:
    """What it has sent and heard of each component of each content."""
    after = len(party.events)
    party.tell("stats")
    media: dict[str, list[Event]] = (await party.expect("stats", after=after))["media"]
    return media


def _sent_since(before: list[Event], after: list[Event]) -> list[range]:
    """The numbers of what each component has sent meanwhile."""
    pairs = zip(before, after, strict=True)
    return [range(old["sent"], new["sent"]) for old, new in pairs]


async def _until_heard(party: Caller, before: dict[str, list[Event]]) -> None:
    """Wait until it has heard more of all components of all contents."""

    def heard(media: dict[str, list[Event]]) -> list[int]:
        return [len(component["numbers"]) for two in media.values() for component in two]

    async def has_heard() -> bool:
        now = heard(await _media(party))
        return all(more > less for more, less in zip(now, heard(before), strict=True))

    await _until(has_heard)


async def _arrives(party: Caller, sent: dict[str, list[range]]) -> None:
    """Wait until enough of these packets are there."""

    async def is_there() -> bool:
        media = await _media(party)
        return all(
            len(set(heard["numbers"]).intersection(numbers)) >= ENOUGH * len(numbers)
            for content, ranges in sent.items()
            for heard, numbers in zip(media[content], ranges, strict=True)
        )

    await _until(is_there)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - the phone is in another process
            await asyncio.sleep(0.05)


def _is_of(content: str, said: Event) -> bool:
    return bool(said["content"] == content)


def _leg(call: Event, role: str) -> Event:
    """That of the first content's RTP."""
    legs: list[Event] = call["contents"][0]["components"][0]["legs"]
    (leg,) = (leg for leg in legs if leg["leg"] == role)
    return leg


@pytest.mark.rule("I2", "I3", "G7", "J8")
@pytest.mark.parametrize("mode", TAKING_PART)
async def test_ice_agents_are_heard_whatever_their_habits(mode: IceMode) -> None:
    async with stage(rooms=True, extra=f'[ice]\nmode = "{mode}"') as at:
        words = ("--trickle", "--room", ROOM)
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, *words)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, *words)
        call = Call(at, alice, bob, are_agents=True)
        for row in ROWS:
            await call.plays(row)


@pytest.mark.rule("G7", "J8")
async def test_phones_over_raw_udp_are_heard_whatever_their_habits() -> None:
    async with stage(rooms=True) as at:
        alice = await at.phone("alice", NatKind.SYMMETRIC, "--room", ROOM)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED, "--room", ROOM)
        call = Call(at, alice, bob, are_agents=False)
        for row in ROWS:
            await call.plays(row)
