"""Calls between IPv4 and IPv6, through a relay that has both."""

import pytest

from tests.integration.test_nat_calls import assert_heard, candidates, talk, with_action
from tests.lab.play import Caller, Stage, stage
from tests.lab.world import RELAY, RELAY6, SERVER6, NatKind

pytestmark = pytest.mark.integration


async def phone(at: Stage, user: str, six: bool) -> Caller:
    """A phone behind an IPv4 NAT, or one that has IPv6 only."""
    if not six:
        return await at.phone(user, NatKind.PORT_RESTRICTED)
    address = at.lab.six_only(user, f"2001:db8:1::{'ab'.index(user[0]) + 10}")
    return await at.phone_at(user, user, address, address, server=SERVER6)


@pytest.mark.rule("L2", "G8")
@pytest.mark.parametrize(
    ("caller", "callee"), [(True, False), (False, True), (True, True)], ids=["6-4", "4-6", "6-6"]
)
async def test_each_party_is_told_an_address_that_it_can_use(caller: bool, callee: bool) -> None:
    async with stage(six=True) as at:
        alice, bob = await phone(at, "alice", caller), await phone(at, "bob", callee)
        await talk(alice, bob, seconds=2)
        await assert_heard(alice, bob)
        for party, six, action in (
            (alice, caller, "session-accept"),
            (bob, callee, "session-initiate"),
        ):
            told = {c["ip"] for c in candidates(with_action(party, action))}
            assert told == {RELAY6 if six else RELAY}
