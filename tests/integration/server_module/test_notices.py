"""What the component is told without asking: errors, addresses, departures, ends of calls."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import CLOSED, OPEN, PLAIN, Stage, envelope
from tests.lab.xmpp_actors import (
    CLIENT,
    FORWARD,
    INTERCEPT,
    Client,
    Element,
    as_text,
    bare_name,
    canonical,
    condition_of,
    unique,
)

pytestmark = pytest.mark.integration

FLOOD = 400


@pytest.mark.parametrize("caller", [OPEN, PLAIN])
async def test_a_refused_request_is_reported(stage: Stage, caller: str) -> None:
    alice, bob = await stage.client(f"alice@{caller}"), await stage.client(f"bob@{OPEN}")
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    extra = "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/>"
    bob.reject(await bob.next_request(sid), extra=extra)
    event = await hnt.event("error")
    assert event.attrib == {"event": "error", "sid": sid, "action": "session-initiate"}
    error = event.find(f"{{{FORWARD}}}forwarded/{{{CLIENT}}}iq")
    assert error is not None
    assert envelope(error) == {"type": "error", "from": bob.jid, "to": alice.jid, "id": stanza_id}
    assert condition_of(error) == "item-not-found"
    assert error.find(".//{urn:xmpp:jingle:errors:1}unknown-session") is not None
    assert (await alice.reply_to(stanza_id)).get("type") == "error"


@pytest.mark.parametrize("domain", [OPEN, PLAIN, "other.example.org"])
async def test_a_request_that_cannot_be_delivered_is_reported(stage: Stage, domain: str) -> None:
    alice = await stage.client(f"alice@{OPEN}")
    hnt = await stage.component()
    stanza_id = alice.request(f"bob@{domain}/gone", "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert (await alice.reply_to(stanza_id)).get("type") == "error"
    event = await hnt.event("error")
    assert event.get("sid") == sid


async def test_an_error_is_reported_once_and_to_a_foreign_request_never(stage: Stage) -> None:
    alice, bob = await stage.pair()
    carol = await stage.client(f"carol@{OPEN}")
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    request = await bob.next_request(sid)
    carol.reject(request)  # knows the id, but was not asked
    await carol.caught_up()
    assert hnt.inbox == []
    bob.reject(request)
    bob.reject(request)
    await hnt.event("error")
    await bob.caught_up()
    await hnt.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert hnt.inbox == []
    assert (await alice.reply_to(stanza_id)).get("from") == carol.jid


# Where parties are


async def test_the_component_may_ask_for_an_address(stage: Stage) -> None:
    alice = await stage.client(f"alice@{OPEN}", local="127.0.0.5")
    hnt = await stage.component()

    async def ask(attributes: str) -> Element:
        return await hnt.request(OPEN, "get", f"<address xmlns='{INTERCEPT}' {attributes}/>")

    answer = (await ask(f"jid='{alice.jid}'")).find(f"{{{INTERCEPT}}}address")
    assert answer is not None
    assert answer.attrib == {"jid": alice.jid, "ip": "127.0.0.5"}
    assert condition_of(await ask(f"jid='bob@{OPEN}/nowhere'")) == "item-not-found"
    assert condition_of(await ask(f"jid='alice@{OPEN}'")) == "bad-request"
    assert condition_of(await ask("")) == "bad-request"
    bob = await stage.client(f"bob@{CLOSED}")
    assert condition_of(await ask(f"jid='{bob.jid}'")) == "item-not-found"


async def test_a_resumed_connection_of_a_party_is_announced(stage: Stage) -> None:
    alice = await stage.client(f"alice@{OPEN}", local="127.0.0.6")
    bob = await stage.client(f"bob@{OPEN}")
    idle = await stage.client(f"carol@{OPEN}")
    hnt = await stage.component()
    for client in (alice, idle):
        await client.enable_acknowledgements(resume=True)
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    for client in (alice, idle):
        await client.abort()

    async def hibernates() -> bool:
        query = f"<address xmlns='{INTERCEPT}' jid='{alice.jid}'/>"
        return (await hnt.request(OPEN, "get", query)).get("type") == "error"

    async with asyncio.timeout(20):
        while not await hibernates():
            pass
    bob.request(alice.jid, "transport-info", sid)
    question = await hnt.question(sid)
    assert "to-ip" not in question.intercept.attrib
    hnt.answer(question, "pass")

    await stage.resumed(idle, "127.0.0.8")
    resumed = await stage.resumed(alice, "127.0.0.7")
    moved = await hnt.event("address")
    assert moved.attrib == {"event": "address", "jid": alice.jid, "ip": "127.0.0.7"}
    await resumed.next_request(sid)
    resumed.request(bob.jid, "transport-info", again := unique("sid"))
    assert (await hnt.question(again)).intercept.get("from-ip") == "127.0.0.7"
    assert list(map(as_text, hnt.inbox)) == []


async def test_a_party_that_leaves_is_announced_and_so_is_its_return(stage: Stage) -> None:
    alice, bob = await stage.pair()
    idle = await stage.client(f"carol@{OPEN}")
    hnt = await stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await idle.close()
    await alice.close()
    gone = await hnt.event("gone")
    assert gone.attrib == {"event": "gone", "jid": alice.jid}
    async with await Client.login(stage.server, alice.jid, local="127.0.0.9"):
        moved = await hnt.event("address")
        assert moved.attrib == {"event": "address", "jid": alice.jid, "ip": "127.0.0.9"}
        assert hnt.inbox == []


@pytest.mark.parametrize("to", ["bare", "full"])
@pytest.mark.parametrize("action", ["retract", "finish"])
async def test_a_message_that_ends_a_call_passes_and_is_announced(
    stage: Stage, to: str, action: str
) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    await stage.available(bob)
    sid = unique("sid")
    recipient = bob.jid if to == "full" else bob.jid.partition("/")[0]
    payload = f"<{action} xmlns='urn:xmpp:jingle-message:0' id='{sid}'/>"
    alice.send(f"<message type='chat' to='{recipient}'>{payload}</message>")
    arrived = await bob.next(lambda e: bare_name(e) == "message")
    assert canonical(arrived[0]) == canonical(ET.fromstring(payload))
    told = await hnt.event("message")
    assert told.attrib == {"event": "message", "action": action, "jid": alice.jid, "sid": sid}
    assert hnt.inbox == []


async def test_no_flood_of_messages_reaches_the_component(stage: Stage) -> None:
    """They are not held, so nothing else would slow them down; all of them go on."""
    alice, bob = await stage.pair()
    hnt = await stage.component()
    payload = "<retract xmlns='urn:xmpp:jingle-message:0' id='{}'/>"
    for number in range(FLOOD):
        alice.send(f"<message to='{bob.jid}'>{payload.format(number)}</message>")
    for _ in range(FLOOD):
        await bob.next(lambda e: bare_name(e) == "message")
    alice.request(bob.jid, "session-info", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert 0 < len(hnt.inbox) < FLOOD / 2
