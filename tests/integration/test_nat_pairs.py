"""Raw-udp calls through every pair of NATs (nat-scenarios, ICE 2003 section 9)."""

from itertools import combinations_with_replacement

import pytest

from tests.integration.test_nat_calls import assert_heard, talk
from tests.lab.play import stage
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("caller", "callee"), list(combinations_with_replacement(NatKind, 2)))
async def test_every_pair_of_nats_has_media_both_ways(caller: NatKind, callee: NatKind) -> None:
    async with stage() as at:
        alice = await at.phone("alice", caller)
        bob = await at.phone("bob", callee)
        await talk(alice, bob, seconds=2)
        await assert_heard(alice, bob)


async def test_neighbours_behind_one_nat_hear_each_other() -> None:
    """Their packets come from one address, and each is told a port of its own."""
    async with stage() as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        inside = at.lab.neighbour("bob", of="alice")
        bob = await at.phone_at("bob", "bob", inside, alice.public)
        await talk(alice, bob, seconds=2)
        await assert_heard(alice, bob)
