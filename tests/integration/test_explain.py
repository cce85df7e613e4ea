"""Calls that were made to fail in different ways, each explained with the right cause."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_ice_calls import TAKING_PART, both_outcomes
from tests.integration.test_nat_calls import hang_up
from tests.lab.play import ROOT, Caller, Stage, stage
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration


async def explained(at: Stage, number: int = 1) -> dict[str, Any]:
    """The report of the call that ended last, when there are so many."""
    history = await at.relay.until(lambda a: len(a["calls"]) == number, command="history")
    reports = history["calls"]
    answer = await at.relay.ask("explain", call=reports[0]["call"]["call"])
    report: dict[str, Any] = answer["report"]
    assert report == reports[0]
    return report


def causes(report: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(finding["cause"], finding["party"]) for finding in report["diagnosis"]]


async def talk(at: Stage, alice: Caller, bob: Caller) -> dict[str, Any]:
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted")
    await asyncio.sleep(6)
    await hang_up(alice, bob)
    return await explained(at)


@pytest.mark.rule("L12")
async def test_a_good_call_is_reported_without_findings_and_counted() -> None:
    async with stage(extra='[metrics]\nlisten = "127.0.0.1:9399"') as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        report = await talk(at, alice, bob)
        assert (report["why"], report["reason"], causes(report)) == ("terminated", "success", [])
        legs = report["call"]["contents"][0]["components"][0]["legs"]
        assert all(leg["received_packets"] > 50 for leg in legs)
        assert all(leg["learned"] for leg in legs)
        code = (
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9399/metrics').read())"
        )
        command = at.lab.command("relay", ["python3", "-c", code])
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        page, _ = await process.communicate()
        assert b'calls_ended_total{why="terminated"} 1.0' in page
        assert b'latches_total{kind="first",source_auth="signalling-address"} 4.0' in page


@pytest.mark.rule("L9")
async def test_a_mute_callee_is_named() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC, "--mute")
        report = await talk(at, alice, bob)
        assert causes(report) == [("one-way", bob.jid)]
        assert bob.jid in report["diagnosis"][0]["text"]


async def test_two_that_send_nothing_are_named() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED, "--mute")
        bob = await at.phone("bob", NatKind.SYMMETRIC, "--mute")
        report = await talk(at, alice, bob)
        assert causes(report) == [("never-sent", alice.jid), ("never-sent", bob.jid)]


@pytest.mark.rule("I2", "I3", "L12")
@pytest.mark.parametrize("mode", TAKING_PART)
async def test_checks_that_are_signed_with_other_credentials_are_named(mode: IceMode) -> None:
    """Where ICE ends at the relay Bob answers its checks rightly; his own are wrong still."""
    async with stage(extra=f'[ice]\nmode = "{mode}"') as at:
        words = ("--patience", "5")
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, *words)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, "--sign-with", "x" * 22, *words)
        _, end = await both_outcomes(alice, bob)
        assert end["event"] == "unconnected"
        alice.tell("hangup")
        await bob.expect("ended")
        report = await explained(at)
        assert causes(report) == [("forged-checks", bob.jid)]
        failures = [
            leg["check_failure"] for leg in report["call"]["contents"][0]["components"][0]["legs"]
        ]
        assert failures == [None, "wrong-credentials"]


@pytest.mark.rule("L9")
async def test_media_from_another_network_than_the_xmpp_connection_is_named() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        address, public = at.lab.site("bob", NatKind.NONE)
        at.lab.add_address("bob", "198.51.100.77")
        bob = await at.phone_at("bob", "bob", "198.51.100.77", public, extra=("--from", address))
        report = await talk(at, alice, bob)
        assert causes(report) == [("other-network", bob.jid)]


async def test_a_callee_that_never_answers_and_one_that_is_not_there() -> None:
    async with stage(extra="[times]\nsetup_s = 1") as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        bob.tell("answer", how="ring")
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing")
        alice.tell("hangup")
        await bob.expect("ended")
        assert causes(await explained(at)) == [("never-accepted", None)]
        alice.tell("call", to=f"{bob.jid}-gone")
        await alice.expect("stanza", lambda e: "service-unavailable" in e["xml"])
        assert causes(await explained(at, 2)) == [("refused-by-party", None)]


async def test_ports_that_are_gone() -> None:
    async with stage(ports="30000-30003") as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        (why,) = (await at.relay.until(lambda status: not status["ready"]))["not_ready"]
        assert why.startswith("media ports: none of 203.0.113.9 free for another call; widen")
        bob.tell("add", content="camera")
        await bob.expect("stanza", lambda e: "resource-constraint" in e["xml"])
        await hang_up(alice, bob)
        again = len(alice.events)
        alice.tell("call", to=bob.jid)
        await alice.expect("stanza", lambda e: "resource-constraint" in e["xml"], after=again)
        answer = await at.relay.ask("explain", call=alice.jid)
        assert [finding["cause"] for finding in answer["diagnosis"]] == ["refused-ports"]
        assert answer["refused"]["callee"] == bob.jid
        assert len((await at.relay.ask("history"))["calls"]) == 1
        await at.relay.until(lambda status: status["ready"])  # when their quarantine is over
        again = len(alice.events)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted", after=again)


async def callee_of_whom(at: Stage, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the relay knows of the callee's RTP, as soon as it is as wanted."""
    leg: dict[str, Any] = {}
    for _ in range(200):
        (call,) = await at.relay.calls()
        leg = call["contents"][0]["components"][0]["legs"][1]
        if holds(leg):
            return leg
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the callee's leg stays {leg}")


@pytest.mark.rule("G1")
async def test_a_gate_that_never_opened_is_named_and_who_sent_to_it() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        bob.tell("answer", how="early")
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing")
        await callee_of_whom(at, lambda leg: leg["dropped"].get("gate", 0) >= 20)
        alice.tell("hangup")
        await bob.expect("ended")
        report = await explained(at)
        assert causes(report) == [("never-accepted", None), ("gated", bob.jid)]
        assert "the gate was never opened" in report["diagnosis"][0]["text"]


@pytest.mark.rule("L7")
async def test_a_neighbour_who_sends_to_a_partys_port_is_named_a_rival() -> None:
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        at.lab.neighbour("guest", of="bob")
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        leg = await callee_of_whom(at, lambda leg: leg["latch"] == "latched")
        address, _, port = leg["advertised"].rpartition(":")
        words = ["--address", address, "--ports", port, "--count", "600", "--seconds", "3"]
        spraying = at.lab.command("guest", [sys.executable, "-m", "tests.lab.sprayer", *words])
        process = await asyncio.create_subprocess_exec(
            *spraying, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        await callee_of_whom(at, lambda leg: leg["dropped"].get("rival", 0) > 0)
        await hang_up(alice, bob)
        assert causes(await explained(at)) == [("rival", bob.jid)]


@pytest.mark.rule("L12")
async def test_who_removes_every_content_before_hanging_up_leaves_what_they_counted() -> None:
    """As Gajim does."""
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC, "--mute")
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(6)
        alice.tell("remove", content="voice")
        await bob.expect("removed")
        await hang_up(alice, bob)
        report = await explained(at)
        assert causes(report) == [("one-way", bob.jid)]
        (voice,) = report["call"]["removed"]
        assert [leg["rtp_packets"] > 200 for leg in voice["components"][0]["legs"]] == [True, False]
        assert (await at.relay.ask("stats"))["one_way"] == 1
