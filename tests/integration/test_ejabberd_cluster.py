"""Calls between users of two real ejabberd nodes, through real NATs: as on one."""

from collections.abc import Iterator

import pytest

from tests.integration.test_nat_calls import assert_heard, candidates, talk, with_action
from tests.lab import play
from tests.lab.ejabberd_cluster import AlternatingCluster
from tests.lab.play import stage
from tests.lab.world import RELAY, NatKind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def cluster() -> Iterator[None]:
    """The first who comes is on the second node, and jingle-hnt on the first."""
    before, play.in_use = play.in_use, AlternatingCluster
    yield
    play.in_use = before


async def test_each_calls_the_other_from_node_to_node() -> None:
    """And nobody waits until a request expires, which here nobody would live to see."""
    async with stage(timeout_s=50.0) as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        for caller, callee in ((alice, bob), (bob, alice)):
            await talk(caller, callee, 4)
            await assert_heard(caller, callee)
            for party, action in ((callee, "session-initiate"), (caller, "session-accept")):
                told = {each["ip"] for each in candidates(with_action(party, action))}
                assert told == {RELAY}
        assert (await at.relay.status())["ready"]
