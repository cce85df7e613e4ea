"""Causes of `explain`, each made with real packets: its sentence while the call goes on, and after.

Several calls go on at a time, each with a fault of its own. What test_explain.py and
test_srtp_calls.py play is not here.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.lab.play import ROOT, Caller, Stage, stage
from tests.lab.world import RELAY, NatKind
from tests.mistakes.bench import on_host

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


async def spray(pair: Pair) -> None:
    """A stranger sends to the port that the callee was told."""
    leg = (await pair.call())["contents"][0]["components"][0]["legs"][1]
    host, _, port = leg["advertised"].rpartition(":")
    words = ["--address", host, "--ports", port, "--count", "600", "--seconds", "2"]
    spraying = pair.at.lab.command("guest", [sys.executable, "-m", "tests.lab.sprayer", *words])
    process = await asyncio.create_subprocess_exec(
        *spraying, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
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
        await spray(sprayed)
        await asyncio.sleep(CAUSE_S)
        assert await moved.explained() == [("moved-away", "callee")]
        assert await astray.explained() == [("stranger", "callee")]
        assert await foreign.explained() == [("no-family", "callee")]
        assert await sprayed.explained() == [("other-drops", "callee")]  # by the kernel
        assert await rings.explained() == [("setup-timeout", None)]


@pytest.mark.parametrize(
    ("mode", "walls", "kind", "found"),
    [
        ("pass", (), NatKind.NONE, ("unknown-transport", None)),
        ("append", ("anna", "abel"), NatKind.NONE, ("unused-relay", None)),
        ("terminate", ("abel",), NatKind.NONE, ("unanswered-checks", "callee")),
        ("terminate", ("abel",), NatKind.PORT_RESTRICTED, ("no-candidate", "callee")),
    ],
)
async def test_agents_that_do_without_the_relay_and_agents_that_do_not_reach_it(
    mode: str, walls: tuple[str, ...], kind: NatKind, found: tuple[str, str | None]
) -> None:
    async with stage(("anna", "abel"), extra=f'[ice]\nmode = "{mode}"') as at:
        anna = await at.ice_phone("anna", NatKind.NONE, "--patience", "6")
        abel = await at.ice_phone("abel", kind, "--patience", "6")
        both = Pair(at, anna, abel)
        for node in walls:
            await wall(at, node, RELAY)
        await both.begin()
        await asyncio.sleep(CAUSE_S)
        assert await both.explained() == [found]
        anna.tell("hangup")
        await at.relay.until(lambda a: len(a["calls"]) == 1, command="history")
        assert await both.explained() == [found]


async def test_a_party_that_changes_its_port_one_that_wants_too_much_and_one_on_our_host() -> None:
    users = "anna abel bea ben cleo carl"
    async with stage(tuple(users.split()), extra="[budgets]\ncontents = 1") as at:
        changes, greedy = await pair(at, "anna abel"), await pair(at, "bea ben")
        cleo = await at.phone("cleo", NatKind.PORT_RESTRICTED)
        inside = Pair(at, cleo, await at.phone_at("relay", "carl", RELAY, RELAY))
        for each in (changes, greedy, inside):
            await each.begin()
        await changes.callee.hears(10)
        leg = (await changes.call())["contents"][0]["components"][0]["legs"][1]
        changes.callee.tell("quiet")  # and at once as much as a camera sends in a second
        changes.callee.tell("emit", to=leg["advertised"], count=400, port=9000, interval=0)
        await changes.callee.expect("emitted")
        await asyncio.sleep(0.2)
        assert await changes.explained() == [("changed", "callee")]
        greedy.callee.tell("add", content="camera")
        await greedy.callee.expect("stanza", lambda e: "resource-constraint" in e["xml"])
        await asyncio.sleep(CAUSE_S)
        assert await greedy.explained() == [("over-budget", None)]
        assert await inside.explained() == [("own-address", "callee")]
        for each, cause in ((greedy, "over-budget"), (inside, "own-address")):
            await each.end()
            assert [code for code, _ in await each.explained()] == [cause]


async def test_strangers_that_no_kernel_keeps_out_are_named() -> None:
    """The engine in Python looks at each packet itself."""
    async with stage(("anna", "abel"), engine="reference") as at:
        at.lab.public("guest", "198.51.100.250")
        both = await pair(at, "anna abel")
        await both.begin()
        await both.callee.hears(10)
        await spray(both)
        assert await both.explained() == [("strangers-later", "callee")]
        await both.end()
        assert await both.explained() == [("strangers-later", "callee")]


async def test_ports_that_another_program_takes_from_a_new_plane() -> None:
    """And what `explain` says to write keeps programs off them."""
    async with stage(("anna", "abel"), ports="30000-30099") as at:
        both = await pair(at, "anna abel")
        await both.begin()
        leg = (await both.call())["contents"][0]["components"][0]["legs"][1]
        port = int(leg["advertised"].rpartition(":")[2])
        await at.relay.end("plane")
        with on_host(at.lab.namespace("relay")), socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind((RELAY, port))
            await at.relay.start("plane")
            await at.relay.until(lambda a: len(a["calls"]) == 1, command="history")
        assert await both.explained() == [("ports-lost", None)]
        (told,) = (await at.relay.ask("explain", call=both.name))["diagnosis"]
        assert (
            "keep other programs off relay.ports with net.ipv4.ip_local_reserved" in told["advice"]
        )
        assert f"{RELAY}:{port}" in at.relay.log_text()
        given = "net.ipv4.ip_local_port_range=30000 30099"
        for reserved, is_free in ((False, True), (True, False)):
            values = [given, *(["net.ipv4.ip_local_reserved_ports=30000-30099"] * reserved)]
            await set_sysctl(at, *values)
            with on_host(at.lab.namespace("relay")), socket.socket(type=socket.SOCK_DGRAM) as any_:
                got = any_.connect_ex((RELAY, 9)) == 0
            assert got is is_free


async def set_sysctl(at: Stage, *values: str) -> None:
    command = at.lab.command("relay", ["sysctl", "-qw", *values])
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
