"""What the component is asked, and what it is not asked."""

from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import (
    CLOSED,
    HNT,
    HOLD_S,
    OPEN,
    PLAIN,
    Stage,
    envelope,
    jingle_of,
    jingle_text,
)
from tests.lab.xmpp_actors import as_text, bare_name, canonical, condition_of, unique

pytestmark = pytest.mark.integration


async def test_a_request_is_shown_whole_and_waits(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    sid = unique("sid")
    payload = (
        "<content creator='initiator' name='a&amp;b'>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
        "<x xmlns='jabber:client' q='&apos;'>text</x></description>"
        "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'/></content>"
    )
    stanza_id = alice.request(bob.jid, "session-initiate", sid, payload)
    question = await hnt.question(sid)

    assert question.iq.get("from") == OPEN
    assert question.iq.get("to") == HNT
    assert question.intercept.get("via") == "c2s"
    assert float(question.intercept.get("timeout", "")) == HOLD_S
    sent = {"type": "set", "from": alice.jid, "to": bob.jid, "id": stanza_id}
    assert envelope(question.stanza) == sent
    assert canonical(question.jingle) == canonical(ET.fromstring(jingle_text(sid, payload)))
    assert await bob.caught_up() == []

    hnt.answer(question, "pass")
    arrived = await bob.next_request(sid)
    assert envelope(arrived) == sent
    assert canonical(jingle_of(arrived)) == canonical(question.jingle)


async def test_the_parties_addresses_are_told(stage: Stage) -> None:
    alice = await stage.client(f"alice@{OPEN}", local="127.0.0.2")
    bob = await stage.client(f"bob@{OPEN}", local="127.0.0.3")
    hnt = await stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    assert question.intercept.get("from-ip") == "127.0.0.2"
    assert question.intercept.get("to-ip") == "127.0.0.3"
    hnt.answer(question, "pass")
    await bob.next_request(sid)


async def test_who_is_not_online_has_no_address(stage: Stage) -> None:
    alice = await stage.client(f"alice@{OPEN}")
    hnt = await stage.component()
    stanza_id = alice.request(f"bob@{OPEN}/nowhere", "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    assert question.intercept.get("from-ip") == "127.0.0.1"
    assert "to-ip" not in question.intercept.attrib
    hnt.answer(question, "pass")
    assert condition_of(await alice.reply_to(stanza_id)) == "service-unavailable"


async def test_only_jingle_requests_between_full_jids_are_asked_about(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    sid = unique("sid")
    alice.send(
        f"<message to='{bob.jid}' type='chat'>"
        f"<propose xmlns='urn:xmpp:jingle-message:0' id='{sid}'/></message>"
        f"<iq type='get' to='{bob.jid}' id='v'><query xmlns='jabber:iq:version'/></iq>"
        f"<iq type='set' to='bob@{OPEN}' id='bare'>{jingle_text(sid)}</iq>"
    )
    assert condition_of(await alice.reply_to("bare")) == "service-unavailable"
    assert bare_name(await bob.next()) == "message"
    assert (await bob.next()).get("id") == "v"
    bob.send(f"<iq type='error' to='{alice.jid}' id='w'>{jingle_text(sid)}</iq>")
    await bob.caught_up()
    alice.request(f"user@{HNT}/x", "session-initiate", sid)
    to_component = await hnt.next(lambda e: bare_name(e) == "iq")
    assert to_component.get("from") == alice.jid
    assert hnt.inbox == []


async def test_acks_and_errors_are_the_peers_own(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    for refuse in (False, True):
        stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
        hnt.answer(await hnt.question(sid), "pass")
        request = await bob.next_request(sid)
        if refuse:
            bob.reject(request, extra="<tie-break xmlns='urn:xmpp:jingle:errors:1'/>")
        else:
            bob.acknowledge(request)
        reply = await alice.reply_to(stanza_id)
        assert reply.get("from") == bob.jid
        assert reply.get("type") == ("error" if refuse else "result")


@pytest.mark.parametrize(("caller", "callee"), [(OPEN, PLAIN), (PLAIN, OPEN), (OPEN, CLOSED)])
async def test_each_stanza_between_two_hosts_is_asked_about_once(
    stage: Stage, caller: str, callee: str
) -> None:
    alice, bob = await stage.client(f"alice@{caller}"), await stage.client(f"bob@{callee}")
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    bob.acknowledge(await bob.next_request(sid))
    assert (await alice.reply_to(stanza_id)).get("type") == "result"
    bob.request(alice.jid, "session-accept", sid)
    hnt.answer(await hnt.question(sid), "pass")
    await alice.next_request(sid)
    assert hnt.inbox == []
    assert await bob.caught_up() == []
    assert await alice.caught_up() == []


async def test_a_stanza_too_large_for_the_component_is_refused(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    # Quotes grow when a server writes them anew: small enough for a client, too large then.
    filler = "<x xmlns='urn:example:x'>" + "'" * 100_000 + "</x>"
    stanza_id = alice.request(bob.jid, "session-initiate", unique("sid"), filler)
    reply = await alice.reply_to(stanza_id)
    assert condition_of(reply) == "policy-violation"
    assert "larger than any call needs" in as_text(reply)
    assert await bob.caught_up() == []
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)


async def test_a_request_from_another_component_is_shown_unless_it_is_no_proper_iq(
    stage: Stage,
) -> None:
    alice = await stage.client(f"alice@{OPEN}")
    gateway = await stage.component("other.example.org")
    hnt = await stage.component()
    sender, sid = "phone@other.example.org/x", unique("sid")
    two = jingle_text(sid) + jingle_text(sid)
    assert condition_of(await gateway.request(alice.jid, "set", two, sender)) == "bad-request"
    gateway.send(f"<iq type='set' from='{sender}' to='{alice.jid}' id='i'>{jingle_text(sid)}</iq>")
    question = await hnt.question(sid)
    assert question.intercept.get("via") == "component"
    assert "from-ip" not in question.intercept.attrib
    hnt.answer(question, "pass")
    await alice.next_request(sid)
    assert await alice.caught_up() == []
