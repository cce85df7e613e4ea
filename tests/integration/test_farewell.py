"""What both parties are told by a session-terminate that is ours: why, and what was wrong."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from tests.integration.test_explain import callee_of_whom
from tests.integration.test_operators import typed
from tests.lab.play import Caller, stage
from tests.lab.world import NatKind

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("either_server")]

REASON = "{urn:xmpp:jingle:1}reason"
ELSEWHERE = "198.51.100.77"


async def told(party: Caller, after: int = 0) -> tuple[str, str]:
    """The condition and the text of the terminate that a party receives."""
    end = await party.expect("ended", after=after)
    reason = ET.fromstring(end["xml"]).find(REASON)
    assert reason is not None
    condition, text = reason
    assert text.tag == "{urn:xmpp:jingle:1}text"
    return condition.tag.rpartition("}")[2], text.text or ""


async def test_both_are_told_the_diagnosis() -> None:
    async with stage(extra="[times]\nfirst_media_s = 2") as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED, "--mute")
        address, public = at.lab.site("bob", NatKind.NONE)
        at.lab.add_address("bob", ELSEWHERE)
        bob = await at.phone_at("bob", "bob", ELSEWHERE, public, extra=("--from", address))
        wrong = f"; {bob.jid} sends audio from another network than its XMPP connection: "
        alice.tell("call", to=bob.jid)
        for party in (alice, bob):
            condition, text = await told(party)
            assert condition == "timeout"
            assert text.startswith("no media of either party reached the relay" + wrong)
            assert text.endswith(" packets were dropped")
        await at.relay.until(lambda status: status["calls"] == 0)

        assert "times.first_media_s = 30.0" in await typed(at, "set", "times.first_media_s", "30")
        seen = {party: len(party.events) for party in (alice, bob)}
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted", after=seen[alice])
        await callee_of_whom(at, lambda leg: sum(leg["dropped"].values()) > 0)
        await typed(at, "terminate", alice.jid)
        async with asyncio.timeout(20):
            for party, after in seen.items():
                condition, text = await told(party, after)
                assert condition == "gone"
                assert text.startswith("an administrator ended the call" + wrong)
