"""Calls between the users of two servers, each with a relay of its own."""

import asyncio

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up
from tests.lab.federation import federation
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration

ALWAYS = 'already_relayed = "relay"'


@pytest.mark.rule("J16")
async def test_one_relay_serves_a_call_between_two_servers() -> None:
    async with federation() as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3)
        assert (await one.relay.status())["ports"]["leased"] == 4
        assert (await two.relay.status())["ports"]["leased"] == 0
        await hang_up(alice, bob)
        await assert_heard(alice, bob)


@pytest.mark.rule("L8")
async def test_two_relays_that_face_each_other_do_not_wait_for_ever() -> None:
    async with federation(f"{ALWAYS}\nearly_stream = true") as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3)
        for at in (one, two):
            assert (await at.relay.status())["ports"]["leased"] == 4
        await hang_up(alice, bob)
        await assert_heard(alice, bob)


async def test_without_an_early_stream_they_would() -> None:
    async with federation(ALWAYS) as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(1)
        for party in (alice, bob):
            assert (await party.stats())["rtp"]["numbers"] == []
