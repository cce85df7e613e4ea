"""Clients that ask for relay channels themselves (XEP-0278), with slixmpp on their streams."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up
from tests.lab.play import COMPONENT, Stage, stage
from tests.lab.world import RELAY, NatKind

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_server")]

NODES = "[relay_nodes]\nenabled = true\nper_user = 2\nper_minute = 4\nexpire_s = 10"


@pytest.fixture
async def at(each_server: None) -> AsyncIterator[Stage]:
    async with stage(extra=NODES) as made:
        yield made


@pytest.mark.rule("J16", "J18")
async def test_a_call_by_a_channel_connects_through_nats_and_is_relayed_once(at: Stage) -> None:
    alice = await at.phone("alice", NatKind.SYMMETRIC, "--slixmpp")
    bob = await at.phone("bob", NatKind.PORT_RESTRICTED, "--slixmpp")
    alice.tell("call-by-node", to=bob.jid, node=COMPONENT)
    channel = await alice.expect("channel")
    assert channel["host"] == RELAY
    assert (channel["expire"], channel["maxkbps"]) == ("10", "4000")
    assert {int(channel[port]) % 2 for port in ("localport", "remoteport")} == {0}
    await alice.expect("accepted")
    await asyncio.sleep(3)
    calls = {call["responder"]: call for call in await at.relay.calls()}
    assert [content["relayed"] for content in calls[bob.jid]["contents"]] == [False]
    (content,) = calls["peer.invalid"]["contents"]
    assert calls["peer.invalid"]["initiator"] == alice.jid
    source_auths = {leg["leg"]: leg["source_auth"] for leg in content["components"][0]["legs"]}
    assert source_auths == {"initiator": "signalling-address", "responder": "probation"}
    await hang_up(alice, bob)
    await assert_heard(alice, bob)


@pytest.mark.rule("J18")
async def test_a_channel_expires_and_no_user_has_more_than_its_share(at: Stage) -> None:
    alice = await at.phone("alice", NatKind.SYMMETRIC, "--slixmpp")
    wanted = '<channel xmlns="http://jabber.org/protocol/jinglenodes#channel" protocol="udp"/>'
    for number in range(3):
        alice.tell("send", xml=f'<iq type="get" to="{COMPONENT}" id="n{number}">{wanted}</iq>')
    refused = await alice.expect("stanza", lambda e: "resource-constraint" in e["xml"])
    assert 'id="n2"' in refused["xml"]
    assert (await at.relay.status())["ports"]["leased"] == 8
    status = await at.relay.until(lambda s: s["ports"]["leased"] == 0, patience_s=20)
    assert status["calls"] == 0
    alice.tell("send", xml=f'<iq type="get" to="{COMPONENT}" id="again">{wanted}</iq>')
    await alice.expect("stanza", lambda e: 'id="again"' in e["xml"] and "remoteport" in e["xml"])
    # Who asks too often in a minute waits, though a channel would be free.
    alice.tell("send", xml=f'<iq type="get" to="{COMPONENT}" id="often">{wanted}</iq>')
    often = await alice.expect("stanza", lambda e: 'id="often"' in e["xml"])
    assert "resource-constraint" in often["xml"]
