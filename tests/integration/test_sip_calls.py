"""SIP calls: Debian's Kamailio with the configuration of its package, sipp behind real NATs."""

import asyncio
import shutil
import sys

import pytest

from tests.lab.play import PATIENCE_S, ROOT
from tests.lab.sip import KAMAILIO, OTHER_PORT, Said, sip_stage
from tests.lab.world import RELAY, STRANGER, NatKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.native,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (KAMAILIO.exists() and shutil.which("sipp")), reason="kamailio and sip-tester"
    ),
]

KINDS = list(NatKind)
RELAYED = [kind for kind in KINDS if kind is not NatKind.NONE]
ENOUGH = 20
"""Packets that each party has to hear of the other in a call of two seconds, a hundred long."""


@pytest.mark.timeout(900)
async def test_every_pair_of_nats_hears_each_other() -> None:
    """36 pairs, six at a time. Where neither party is behind a NAT Kamailio does not ask us."""
    heard: dict[tuple[NatKind, NatKind], tuple[int, int]] = {}
    async with sip_stage() as at:
        callers = {kind: await at.phone(f"a{n}", kind) for n, kind in enumerate(KINDS)}
        callees = {kind: await at.phone(f"b{n}", kind) for n, kind in enumerate(KINDS)}
        await asyncio.gather(*map(at.register, callees.values()))
        for turn in range(len(KINDS)):
            pairs = [(kind, KINDS[(n + turn) % len(KINDS)]) for n, kind in enumerate(KINDS)]
            calls = (at.call(callers[one], callees[other], 2.0) for one, other in pairs)
            heard |= zip(pairs, await asyncio.gather(*calls), strict=True)
        relayed = len(KINDS) ** 2 - 1
        await at.relay.until(lambda told: told["ports"]["leased"] == 0)
        async with asyncio.timeout(PATIENCE_S):
            while len((await at.relay.ask("history", count=100))["calls"]) < relayed:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    mute = {pair: packets for pair, packets in heard.items() if min(packets) < ENOUGH}
    assert not mute


async def test_a_call_is_shown_by_its_sip_names() -> None:
    async with sip_stage() as at:
        alice = await at.phone("alice", NatKind.SYMMETRIC)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED)
        await at.register(bob)
        calling = asyncio.create_task(at.call(alice, bob, 4.0))
        await alice.hears(bob, ENOUGH)
        (call,) = await at.relay.calls()
        assert call["initiator"].endswith("@sip")
        assert call["responder"].startswith("callee@sip")
        assert call["sid"].endswith(f"@{alice.address}")
        legs = call["contents"][0]["components"][0]["legs"]
        assert {leg["source_auth"] for leg in legs} == {"signalling-address"}
        explained = await at.relay.ask("explain", call=call["sid"])
        assert explained["call"]["sid"] == call["sid"]
        heard = await calling
        assert min(heard) > ENOUGH
        report = await at.report()
        assert report["call"]["sid"] == call["sid"]
        assert report["why"] == "terminated"
        await at.relay.ask("block", who="sip")
        # Kamailio lets a call go on that is refused a relay, with the addresses of its parties.
        assert await at.call(alice, bob, 1.0) == (0, 0)


async def test_early_media_hold_and_another_port() -> None:
    """A 183, two re-INVITEs: what each phase lets through, at the ports that stay the same."""
    async with sip_stage() as at:
        alice = await at.phone("alice", NatKind.SYMMETRIC)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED)
        moved = await at.phone_at("moved", "alice", alice.address, alice.public, OTHER_PORT)
        await at.register(bob)
        answering = await at.sipp(bob, "follow.xml", length_s=2.0)
        calling = await at.sipp(alice, "changes.xml", to="bob", length_s=2.0)
        await alice.hears(bob, ENOUGH)  # while it rings
        (before,) = await at.relay.calls()
        held = await at.relay.until(
            lambda told: bool(told["calls"]) and told["calls"][0]["held"], command="calls"
        )
        assert ports(held["calls"][0]) == ports(before)
        at_hold = await alice.hears_no_more(bob)
        await bob.hears(alice, 10)  # music
        assert await alice.heard(bob) == at_hold
        await bob.hears(moved, ENOUGH)
        await moved.hears(bob, ENOUGH)
        await at.done(calling)
        await at.done(answering)
        await at.relay.until(lambda told: not told["calls"], command="calls")


def ports(call: Said) -> list[str]:
    """Where the relay takes the media of a call."""
    components = [c for content in call["contents"] for c in content["components"]]
    return [leg["advertised"] for component in components for leg in component["legs"]]


async def test_a_call_that_is_cancelled_holds_no_ports() -> None:
    async with sip_stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED)
        await at.register(bob)
        ringing = await at.sipp(bob, "cancelled.xml")
        calling = await at.sipp(alice, "cancel.xml", to="bob", length_s=1.0)
        await at.relay.until(lambda told: len(told["calls"]) == 1, command="calls")
        await at.done(calling)
        await at.done(ringing)
        await at.relay.until(lambda told: not told["calls"], command="calls")


async def test_either_process_may_be_killed_in_mid_call() -> None:
    """Media goes on over both kills, and what tells of a BYE afterwards finds its call."""
    async with sip_stage() as at:
        alice = await at.phone("alice", NatKind.SYMMETRIC)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        await at.register(bob)
        await at.sipp(bob, "answer.xml")
        await at.sipp(alice, "call.xml", to="bob", length_s=600.0)
        await bob.hears(alice, ENOUGH)
        await alice.hears(bob, ENOUGH)
        (call,) = await at.relay.calls()
        for name in ("signalling", "plane"):
            await at.relay.end(name)
            await at.relay.start(name, until=lambda told: bool(told["plane"]["up"]))
            await bob.hears(alice, ENOUGH)
            await alice.hears(bob, ENOUGH)
            (again,) = await at.relay.calls()
            assert ports(again) == ports(call)
        tag = call["initiator"].partition("@")[0]
        said = {"command": "delete", "call-id": call["sid"], "from-tag": tag}
        assert b"warning" not in await at.order(**said)
        await at.relay.until(lambda told: not told["calls"], command="calls")


async def test_a_stranger_neither_hears_nor_is_heard() -> None:
    """Rows M1, M2 and M7 of the table of threats: before the first packet, and all the time."""
    async with sip_stage() as at:
        at.lab.public("stranger", STRANGER)
        alice = await at.phone("alice", NatKind.SYMMETRIC)
        bob = await at.phone("bob", NatKind.PORT_RESTRICTED)
        await at.register(bob)
        everywhere = ",".join(map(str, range(30000, 31000)))
        command = [sys.executable, "-m", "tests.lab.sprayer", "--address", RELAY]
        command += ["--ports", everywhere, "--seconds", "25", "--rate", "4000"]
        spraying = await asyncio.create_subprocess_exec(
            *at.lab.command("stranger", command), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        await asyncio.sleep(1)
        heard = await at.call(alice, bob, 4.0)
        assert min(heard) > ENOUGH
        for phone, other in ((alice, bob), (bob, alice)):
            rtp, rtcp = await phone.stats()
            assert rtp["foreign"] == rtcp["foreign"] == 0
            assert set(rtp["heard"]) == {other.name}
        report = await at.report()
        legs = [leg for c in report["call"]["contents"][0]["components"] for leg in c["legs"]]
        learned = {leg["learned"].partition(":")[0] for leg in legs if leg["learned"]}
        assert learned == {alice.public, bob.public}
        spraying.kill()
        await spraying.wait()
