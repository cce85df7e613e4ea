"""Raw-udp calls through every pair of NATs (nat-scenarios, ICE 2003 section 9)."""

from itertools import combinations_with_replacement, product

import pytest

from tests.integration.test_nat_calls import assert_heard, talk
from tests.lab import play
from tests.lab.ejabberd import Ejabberd
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


NINE = list(product((NatKind.NONE, NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC), repeat=2))


async def test_nine_pairs_of_nats_have_media_both_ways_on_ejabberd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(play, "in_use", Ejabberd)
    users = tuple(f"{side}{number}" for number in range(len(NINE)) for side in "ab")
    async with stage(users) as at:
        for number, (caller, callee) in enumerate(NINE):
            alice = await at.phone(f"a{number}", caller)
            bob = await at.phone(f"b{number}", callee)
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
