"""Causes of `explain`, each made with real packets: its sentence while the call goes on, and after.

Several calls go on at a time, each with a fault of its own. What test_explain.py and
test_srtp_calls.py play is not here.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.lab.play import ROOT, Caller, Stage, stage
from tests.lab.world import RELAY, NatKind

pytestmark = pytest.mark.integration

CAUSE_S = 6.0
"""Media is missed when a call is 5 s old."""

Found = list[tuple[str, str | None]]


class Pair:
    """A caller and a callee of their own, and what the relay knows of their call."""

    def __init__(self, at: Stage, caller: Caller, callee: Caller) -> None:
        self.at, self.caller, self.callee = at, caller, callee
        self.name = ""

    async def begin(self) -> None:
        """Call, and wait for the accept."""
        after = len(self.caller.events)
        self.caller.tell("call", to=self.callee.jid)
        await self.caller.expect("accepted", after=after)
        self.name = (await self.call())["call"]

    async def call(self) -> dict[str, Any]:
        (call,) = [c for c in await self.at.relay.calls() if c["initiator"] == self.caller.jid]
        return call

    async def callee_sends(self, count: int, **how: object) -> None:
        """The callee sends packets by hand to where it is told to."""
        leg = (await self.call())["contents"][0]["components"][0]["legs"][1]
        self.callee.tell("emit", to=leg["advertised"], count=count, **how)
        await self.callee.expect("emitted")

    async def explained(self) -> Found:
        answer = await self.at.relay.ask("explain", call=self.name)
        who = {self.caller.jid: "caller", self.callee.jid: "callee", None: None}
        return [(finding["cause"], who[finding["party"]]) for finding in answer["diagnosis"]]

    async def end(self) -> None:
        """Hang up, and wait for the report."""
        for party in (self.caller, self.callee):
            party.tell("quiet")
            await party.stats()
        self.caller.tell("hangup")
        await self.at.relay.until(
            lambda a: any(r["call"]["call"] == self.name for r in a["calls"]), command="history"
        )


async def pair(
    at: Stage, users: str, caller: str = "", callee: str = "", kind: NatKind = NatKind.SYMMETRIC
) -> Pair:
    """Two phones; each has the options that are named. The callee's NAT is of this kind."""
    one, other = users.split()
    return Pair(
        at,
        await at.phone(one, NatKind.PORT_RESTRICTED, *caller.split()),
        await at.phone(other, kind, *callee.split()),
    )


async def wall(at: Stage, node: str, address: str) -> None:
    """A node's own firewall does not let its UDP out to there."""
    rules = (
        "add table ip t; add chain ip t out { type filter hook output priority 0; };"
        f" add rule ip t out ip daddr {address} meta l4proto udp drop"
    )
    process = await asyncio.create_subprocess_exec(*at.lab.command(node, ["nft", rules]))
    assert await process.wait() == 0


Play = Callable[[Pair], Awaitable[object]]


async def test_faults_of_calls_are_named_while_they_go_on_and_afterwards() -> None:
    users = "anna abel bea ben cleo carl dora dirk emma emil"
    async with stage(tuple(users.split()), relay_extra="max_kbps = 200") as at:
        loud, dead, short, other, walled = [
            await pair(at, "anna abel"),
            await pair(at, "bea ben", callee="--mute"),
            await pair(at, "cleo carl", caller="--mute", callee="--mute"),
            await pair(at, "dora dirk", "--mute", "--mute", kind=NatKind.NONE),
            await pair(at, "emma emil"),
        ]
        plays: dict[str, tuple[Pair, Play, Found]] = {
            "policed": (
                loud,
                lambda p: p.callee_sends(900, interval=0.0005),
                [("policed", "callee")],
            ),
            "no-rtp": (dead, lambda p: p.callee_sends(8, kind="rtcp"), [("no-rtp", "callee")]),
            "asymmetric-ports": (
                other,
                lambda p: p.callee_sends(60, port=9998),
                [("one-way", "caller"), ("asymmetric-ports", "callee")],
            ),
            "not-delivered": (
                walled,
                lambda p: wall(at, "relay", p.caller.public),
                [("not-delivered", "caller")],
            ),
        }
        for each, play, _ in plays.values():
            await each.begin()
            await play(each)
        await short.begin()
        assert await short.explained() == []
        await short.end()
        assert await short.explained() == [("too-short", None)]
        await asyncio.sleep(CAUSE_S)
        live = {name: await each.explained() for name, (each, _, _) in plays.items()}
        for each, _, _ in plays.values():
            await each.end()
        after = {name: await each.explained() for name, (each, _, _) in plays.items()}
        expected = {name: found for name, (_, _, found) in plays.items()}
        assert live == expected
        assert after == expected


async def test_nobody_who_is_heard_in_any_call_and_a_plane_that_is_away() -> None:
    """Three calls in which nobody is heard say something of the relay, and of no party."""
    async with stage(("anna", "abel", "bea", "ben", "cleo", "carl")) as at:
        names = "anna abel", "bea ben", "cleo carl"
        pairs = [await pair(at, users, "--mute", "--mute") for users in names]
        for each in pairs:
            await each.begin()
        await asyncio.sleep(CAUSE_S)
        for each in pairs:
            assert await each.explained() == [("never-sent", "caller"), ("never-sent", "callee")]
            await each.end()
        assert await pairs[2].explained() == [("nobody-heard", None)]
        again = pairs[0]
        await again.begin()
        await at.relay.end("plane")
        await asyncio.sleep(CAUSE_S)
        assert await again.explained() == [("plane-away", None), ("nobody-heard", None)]


async def test_parties_of_whom_too_little_is_known() -> None:
    async with stage(("anna", "abel", "bea", "ben")) as at:
        few = await pair(at, "anna abel", callee="--mute")
        other = await pair(at, "bea ben")
        proxies = ", ".join(f'"{p.callee.public}"' for p in (few, other))
        await at.relay.ask("set", option="relay.proxies", value=f"[{proxies}]")
        await few.begin()
        await few.callee_sends(3)
        await asyncio.sleep(CAUSE_S)
        assert await few.explained() == [("on-probation", "callee")]
        await few.end()
        assert await few.explained() == [("on-probation", "callee")]
        await at.relay.ask("set", option="relay.unknown_source", value="refuse")
        other.caller.tell("call", to=other.callee.jid)
        answer = await at.relay.until(lambda a: len(a["calls"]) == 2, command="history")
        assert [f["cause"] for f in answer["calls"][0]["diagnosis"]] == ["unproven"]


async def test_parties_that_are_elsewhere_and_strangers_that_are_near() -> None:
    """Hosts without a NAT, each of which has two addresses."""
    users = "anna abel bea ben cleo carl dora dirk emma emil"
    async with stage(tuple(users.split()), extra="[times]\nsetup_s = 1") as at:
        second = iter(range(201, 220))

        async def roaming(name: str, *extra: str) -> tuple[Caller, str]:
            """A phone on a public host, and the host's other address."""
            address, public = at.lab.site(name, NatKind.NONE)
            other = f"198.51.100.{next(second)}"
            at.lab.add_address(name, other)
            return await at.phone_at(name, name, address, public, extra=extra), other

        callers = [
            await at.phone(name, NatKind.PORT_RESTRICTED)
            for name in ("anna", "bea", "cleo", "dora", "emma")
        ]
        abel, abels_other = await roaming("abel")
        ben, _ = await roaming("ben")
        carl, carls_other = await roaming("carl", "--mute")
        dirk = await at.phone("dirk", NatKind.SYMMETRIC)
        address, public = at.lab.site("emil", NatKind.NONE)
        at.lab.also("emil", "2001:db8:7::7")
        six = ("--from", address, "--mute")
        emil = await at.phone_at("emil", "emil", "2001:db8:7::7", public, extra=six)
        at.lab.public("guest", "198.51.100.250")

        moved, sprayed, astray = (
            Pair(at, caller, callee)
            for caller, callee in zip(callers, (abel, ben, carl), strict=False)
        )
        rings, foreign = Pair(at, callers[3], dirk), Pair(at, callers[4], emil)
        await at.relay.ask("set", option="relay.proxies", value=f'["{carl.public}"]')
        for each in (moved, sprayed, astray, foreign):
            await each.begin()
        dirk.tell("answer", how="ring")
        rings.caller.tell("call", to=dirk.jid)
        await dirk.expect("ringing")
        rings.name = (await rings.call())["call"]
        await dirk.vanish()

        for party in (abel, ben):
            await party.hears(10)
        abel.tell("quiet")
        await moved.callee_sends(40, port=9000, address=abels_other)
        await astray.callee_sends(40, port=9000, address=carls_other)
        leg = (await sprayed.call())["contents"][0]["components"][0]["legs"][1]
        host, _, port = leg["advertised"].rpartition(":")
        words = ["--address", host, "--ports", port, "--count", "600", "--seconds", "2"]
        spraying = at.lab.command("guest", [sys.executable, "-m", "tests.lab.sprayer", *words])
        process = await asyncio.create_subprocess_exec(
            *spraying, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        await asyncio.sleep(CAUSE_S)
        assert await moved.explained() == [("moved-away", "callee")]
        assert await astray.explained() == [("stranger", "callee")]
        assert await foreign.explained() == [("no-family", "callee")]
        assert await sprayed.explained() == [("other-drops", "callee")]  # by the kernel
        assert await rings.explained() == [("setup-timeout", None)]


@pytest.mark.parametrize(
    ("mode", "walls", "found"),
    [
        ("pass", (), ("unknown-transport", None)),
        ("append", ("anna", "abel"), ("unused-relay", None)),
        ("terminate", ("abel",), ("unanswered-checks", "callee")),
    ],
)
async def test_agents_that_do_without_the_relay_and_agents_that_do_not_reach_it(
    mode: str, walls: tuple[str, ...], found: tuple[str, str | None]
) -> None:
    async with stage(("anna", "abel"), extra=f'[ice]\nmode = "{mode}"') as at:
        anna = await at.ice_phone("anna", NatKind.NONE, "--patience", "6")
        abel = await at.ice_phone("abel", NatKind.NONE, "--patience", "6")
        both = Pair(at, anna, abel)
        for node in walls:
            await wall(at, node, RELAY)
        await both.begin()
        await asyncio.sleep(CAUSE_S)
        assert await both.explained() == [found]
        anna.tell("hangup")
        await at.relay.until(lambda a: len(a["calls"]) == 1, command="history")
        assert await both.explained() == [found]
