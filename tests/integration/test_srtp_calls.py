"""Calls between phones with SDES keys (`srtp-auth`): who cannot sign with them wins nothing."""

import asyncio
import sys
from typing import Any

import pytest

from tests.integration.test_explain import callee_of_whom, causes, explained
from tests.integration.test_nat_calls import assert_heard, hang_up, legs
from tests.lab.play import ROOT, Caller, Stage, stage
from tests.lab.world import NatKind
from tests.threats.doses import Measured

pytestmark = pytest.mark.integration

PHONE = "tests.lab.srtp_phone"
METRICS = "http://127.0.0.1:9399/metrics"


async def phones(at: Stage, *extra: str) -> tuple[Caller, Caller]:
    """Alice, and Bob with a guest in his house who is behind the same NAT."""
    alice = await at.ice_phone("alice", NatKind.PORT_RESTRICTED, program=PHONE)
    bob = await at.ice_phone("bob", NatKind.SYMMETRIC, *extra, program=PHONE)
    at.lab.neighbour("guest", of="bob")
    return alice, bob


async def spraying(at: Stage, ports: list[int], *extra: str) -> asyncio.subprocess.Process:
    """The guest sends to ports of the relay, as Bob's NAT lets it."""
    told = ["--address", "203.0.113.9", "--ports", ",".join(map(str, ports)), *extra]
    command = at.lab.command("guest", [sys.executable, "-m", "tests.lab.sprayer", *told])
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )


async def facing_bob(at: Stage) -> list[int]:
    """Bob's ports at the relay, which the guest is assumed to know."""
    (call,) = await at.relay.calls()
    return [
        int(leg["advertised"].rpartition(":")[2])
        for (_, role), leg in sorted(legs(call).items())
        if role == "responder"
    ]


async def dropped(at: Stage, *reasons: str) -> int:
    """What was dropped of Bob's RTP for these reasons."""
    (call,) = await at.relay.calls()
    counts: dict[str, Any] = legs(call)[1, "responder"]["dropped"]
    return sum(counts.get(reason, 0) for reason in reasons)


@pytest.mark.timeout(120)
@pytest.mark.rule("L7", "L11", "L12")
async def test_a_neighbour_without_the_key_wins_nothing_and_ends_nothing() -> None:
    """It sends before the party does and all the time after, from the party's own address: SRTP
    that is signed with another key, and everything that is no SRTP."""
    async with stage(engine="native") as at:
        alice, bob = await phones(at, "--answer", "early")
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing")
        ports = await facing_bob(at)
        words = ("--rate", "2000", "--seconds", "8")
        attacks = [await spraying(at, ports, *words, "--only", "srtp")]
        attacks.append(await spraying(at, ports, *words))
        await callee_of_whom(at, lambda leg: leg["dropped"].get("kernel", 0) > 100)
        bob.tell("accept")
        await alice.expect("accepted")
        for attack in attacks:
            assert await attack.wait() == 0
        (call,) = await at.relay.calls()
        for leg in legs(call).values():
            party = alice if leg["leg"] == "initiator" else bob
            assert (leg["source_auth"], leg["latch"]) == ("srtp-auth", "latched")
            assert leg["learned"].rpartition(":")[0] == party.public
        assert await dropped(at, "rival") > 100
        await hang_up(alice, bob)
        await assert_heard(alice, bob)
        report = await explained(at)
        assert (report["why"], report["reason"]) == ("terminated", "success")
        assert causes(report) == [("forged-media", bob.jid)]


@pytest.mark.rule("L11", "L12")
async def test_a_party_that_signs_with_another_key_than_it_signalled_is_named() -> None:
    async with stage() as at:
        alice, bob = await phones(at, "--wrong-key")
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await callee_of_whom(at, lambda leg: leg["dropped"].get("unfit", 0) > 50)
        assert (await callee_of_whom(at, lambda _: True))["learned"] is None
        await hang_up(alice, bob)
        assert (await alice.stats())["rtp"]["foreign"] == 0
        assert causes(await explained(at)) == [("unsigned-media", bob.jid)]


WRAPS = 65536 - 50
"""The sequence number of a stream that wraps after a second."""
HEARD_AGAIN_S = 1.5


@pytest.mark.rule("L11")
async def test_clients_that_make_their_srtp_state_anew_hear_each_other_on(
    record_property: Measured,
) -> None:
    """Past a rollover, with the same keys and SSRCs: their counters are 0 again."""
    async with stage() as at:
        extra = ("--first", str(WRAPS))
        alice = await at.ice_phone("alice", NatKind.PORT_RESTRICTED, *extra, program=PHONE)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, *extra, program=PHONE)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3.0)
        for party in (alice, bob):
            party.tell("renew")
        renewed = [(await party.expect("renewed"))["at"] for party in (alice, bob)]
        await asyncio.sleep(4.0)
        await hang_up(alice, bob)
        one, other = await alice.stats(), await bob.stats()
        for name, sent, heard in (("bob", one, other), ("alice", other, one)):
            since = max(renewed) + HEARD_AGAIN_S
            wanted = {n for n, at_s in enumerate(sent["rtp"]["sent_at"]) if at_s > since}
            share = len(wanted & set(heard["rtp"]["numbers"])) / len(wanted)
            record_property(f"live at {name}", round(share, 4))
            assert len(wanted) > 50
            assert share >= 0.99
