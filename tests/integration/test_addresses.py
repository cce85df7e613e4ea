"""Calls without a server module, by addresses at the component, with slixmpp on the streams."""

import asyncio
from collections.abc import AsyncIterator, Callable
from xml.etree import ElementTree as ET

import pytest

from tests.integration.test_nat_calls import assert_heard, candidates, hang_up, with_action
from tests.lab.play import COMPONENT, DOMAIN, Caller, Event, Stage, delivered, stage
from tests.lab.world import RELAY, NatKind

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_server")]

ADDRESSES = "[addresses]\nenabled = true"
DISCO = '<query xmlns="http://jabber.org/protocol/disco#info"/>'


def address(user: str, resource: str = "") -> str:
    """What a user of the stage is called at the component."""
    return rf"{user}\40{DOMAIN}@{COMPONENT}{resource}"


@pytest.fixture
async def at(each_server: None) -> AsyncIterator[Stage]:
    async with stage(module=False, extra=ADDRESSES) as made:
        yield made


def is_result(request: str) -> Callable[[Event], bool]:
    """Whether a stanza is the result of a request, whose id begins with its action."""

    def matches(said: Event) -> bool:
        stanza = ET.fromstring(said["xml"])
        return stanza.get("type") == "result" and stanza.get("id", "").startswith(request)

    return matches


async def phones(at: Stage) -> tuple[Caller, Caller]:
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED, "--slixmpp")
    return alice, await at.phone("bob", NatKind.SYMMETRIC, "--slixmpp")


@pytest.mark.rule("J17", "J19")
async def test_who_is_called_by_a_bare_address_answers_and_both_are_heard(at: Stage) -> None:
    alice, bob = await phones(at)
    # A server delivers what is for a bare JID to who is available.
    bob.tell("send", xml="<presence/>")
    await bob.expect("stanza", lambda e: "presence" in e["xml"])
    alice.tell("propose", to=address("bob"))
    proposed = await bob.expect("proposed")
    assert proposed["peer"] == address("alice", "/phone")
    await alice.expect("accepted")
    await asyncio.sleep(3)
    (call,) = await at.relay.calls()
    assert (call["initiator"], call["responder"]) == (alice.jid, bob.jid)
    await hang_up(alice, bob)
    # Nothing is known of either (`probation`): RTCP waits until RTP has shown where it comes from.
    await assert_heard(alice, bob, part=0.75)
    for sender, receiver in ((alice, bob), (bob, alice)):
        assert delivered((await sender.stats())["rtp"], (await receiver.stats())["rtp"]) > 0.97
    for party, other in ((alice, "bob"), (bob, "alice")):
        action = "session-accept" if party is alice else "session-initiate"
        stanza = with_action(party, action)
        assert ET.fromstring(stanza).get("from") == address(other, "/phone")
        assert {c["ip"] for c in candidates(stanza)} == {RELAY}
    for action in ("initiate", "terminate"):
        ack = await alice.expect("stanza", is_result(f"session-{action}"))
        assert ET.fromstring(ack["xml"]).get("from") == address("bob", "/phone")
    status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
    assert status["calls"] == status["ports"]["leased"] == 0


@pytest.mark.rule("J19")
async def test_answers_of_the_peer_and_of_its_server_come_back(at: Stage) -> None:
    alice, bob = await phones(at)
    alice.tell("send", xml=f'<iq type="get" to="{bob.jid}" id="d0">{DISCO}</iq>')
    alice.tell("send", xml=f'<iq type="get" to="{address("bob", "/phone")}" id="d1">{DISCO}</iq>')
    by_name = await alice.expect("stanza", lambda e: 'id="d0"' in e["xml"])
    by_address = await alice.expect("stanza", lambda e: 'id="d1"' in e["xml"])
    one, other = (ET.fromstring(said["xml"]) for said in (by_name, by_address))
    assert other.get("from") == address("bob", "/phone")
    features = [e.get("var") for e in other.iter() if e.tag.endswith("}feature")]
    assert features == [e.get("var") for e in one.iter() if e.tag.endswith("}feature")] != []

    alice.tell("call", to=address("bob", "/nowhere"))
    error = await alice.expect("stanza", lambda e: 'type="error"' in e["xml"])
    assert ET.fromstring(error["xml"]).get("from") == address("bob", "/nowhere")
    status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
    assert status["calls"] == status["ports"]["leased"] == 0


@pytest.mark.rule("J19")
async def test_it_is_shut_unless_configured(each_server: None) -> None:
    async with stage(module=False) as at:
        alice = await at.phone("alice", NatKind.NONE)
        alice.tell("call", to=address("bob", "/phone"))
        error = await alice.expect("stanza", lambda e: 'type="error"' in e["xml"])
        assert "service-unavailable" in error["xml"]
        assert (await at.relay.status())["calls"] == 0
