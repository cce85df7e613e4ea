"""The topologies of section 9 of the first ICE draft (draft-rosenberg-sipping-ice-01) by name: who
finds a direct path without us still does with us, and whoever does not goes through us."""

from dataclasses import dataclass

import pytest

from tests.integration.test_ice_calls import (
    HOPELESS_S,
    PATIENT_S,
    assert_talk,
    connect,
    outcome,
    past_us,
    stun_server,
    through_us,
)
from tests.integration.test_nat_calls import talk
from tests.lab.play import Caller, Stage, delivered, stage
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Topology:
    """Where caller and callee are; the callee is beside the caller where it has no place."""

    section: str
    caller: NatKind
    callee: NatKind | None
    meet: bool


TOPOLOGIES = {
    "residential-full-cone": Topology("9.1.1", NatKind.FULL_CONE, NatKind.FULL_CONE, True),
    "residential-symmetric": Topology("9.1.2", NatKind.SYMMETRIC, NatKind.SYMMETRIC, False),
    "enterprise-inside": Topology("9.2.1", NatKind.PORT_RESTRICTED, None, True),
    "enterprise-departments": Topology("9.2.3", NatKind.SYMMETRIC, NatKind.NONE, True),
    "centrex-inside": Topology("9.3.1", NatKind.SYMMETRIC, None, True),
}
"""That of section 9.2.2 is below: its callee is a gateway that knows nothing of ICE."""


async def agents(at: Stage, topology: Topology, *extra: str) -> tuple[Caller, Caller]:
    caller = await at.ice_phone("alice", topology.caller, *extra)
    if topology.callee is not None:
        return caller, await at.ice_phone("bob", topology.callee, *extra)
    inside = at.lab.neighbour("bob", of="alice")
    program = "tests.lab.ice_phone"
    return caller, await at.phone_at(
        "bob", "bob", inside, caller.public, extra=extra, program=program
    )


async def meet_without_us(topology: Topology) -> bool:
    """Whether the same two agents connect where no relay is."""
    async with stage(relayed=False) as at, stun_server(at) as stun:
        patience_s = PATIENT_S if topology.meet else HOPELESS_S
        alice, bob = await agents(at, topology, "--stun", stun, "--patience", str(patience_s))
        return await outcome(alice, bob) is not None


@pytest.mark.timeout(60)
@pytest.mark.rule("I3")
@pytest.mark.parametrize("name", TOPOLOGIES)
async def test_who_meets_without_us_still_does_and_the_others_meet_through_us(name: str) -> None:
    topology = TOPOLOGIES[name]
    assert await meet_without_us(topology) is topology.meet
    async with stage() as at, stun_server(at) as stun:
        alice, bob = await agents(at, topology, "--stun", stun)
        for paths in await connect(alice, bob):
            assert past_us(paths) if topology.meet else through_us(paths)
        await assert_talk(alice, bob)


@pytest.mark.rule("I3", "I4")
async def test_an_enterprise_calls_a_gateway_that_knows_no_ice() -> None:
    """Section 9.2.2: the callee is a public host and has one address to send to, which is ours."""
    async with stage(extra='[ice]\nraw_udp = ["bob@*"]') as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, "--components", "2", "--like-raw")
        bob = await at.phone("bob", NatKind.NONE)
        await talk(alice, bob, seconds=1)
        stats = {party: await party.stats() for party in (alice, bob)}
        for sender, receiver in ((alice, bob), (bob, alice)):
            for component, sent in stats[sender].items():
                assert delivered(sent, stats[receiver][component]) >= 0.99
