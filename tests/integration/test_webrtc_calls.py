"""Calls between WebRTC phones (aiortc) behind NATs: DTLS, audio and a data channel through us."""

import re

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_ice_calls import TAKING_PART, connect, through_us
from tests.integration.test_nat_calls import hang_up
from tests.integration.test_srtp_calls import spraying
from tests.lab.play import stage
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration

PHONE = "tests.lab.webrtc_phone"


def fingerprints(stanzas: list[str]) -> set[str]:
    return {found for stanza in stanzas for found in re.findall(r">([0-9A-F:]{95,})<", stanza)}


@pytest.mark.timeout(120)
@pytest.mark.rule("I3")
@pytest.mark.parametrize("mode", TAKING_PART)
async def test_audio_and_data_go_through_us_with_fingerprints_unchanged(mode: IceMode) -> None:
    async with stage(extra=f'[ice]\nmode = "{mode}"') as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, program=PHONE)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, program=PHONE)
        for paths in await connect(alice, bob):
            assert through_us(paths)
        assert (await alice.expect("read"))["text"] == "I read: Can you read me?"
        for one, other in ((alice, bob), (bob, alice)):
            shown = (await one.expect("connected"))["fingerprints"]
            assert set(shown) == fingerprints(other.stanzas)
        for party in (alice, bob):
            await party.expect("heard")
        await hang_up(alice, bob)
        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["calls"] == status["ports"]["leased"] == 0


@pytest.mark.timeout(120)
@pytest.mark.rule("L7")
async def test_a_hello_with_null_ciphers_stops_no_handshake() -> None:
    """Row M20, from behind the callee's NAT: before the parties' hellos, and all the time after."""
    async with stage(ports="30000-30015") as at:
        alice = await at.ice_phone("alice", NatKind.SYMMETRIC, program=PHONE)
        bob = await at.ice_phone("bob", NatKind.SYMMETRIC, program=PHONE)
        at.lab.neighbour("guest", of="bob")
        words = ("--only", "hello", "--rate", "2000", "--seconds", "8")
        attack = await spraying(at, list(range(30000, 30016)), *words)
        for paths in await connect(alice, bob):
            assert through_us(paths)
        assert (await alice.expect("read"))["text"] == "I read: Can you read me?"
        assert await attack.wait() == 0
        (call,) = await at.relay.calls()
        components = [part for content in call["contents"] for part in content["components"]]
        legs = [leg for part in components for leg in part["legs"]]
        assert sum(leg["dropped"].get("stranger", 0) for leg in legs) > 100
        await hang_up(alice, bob)
