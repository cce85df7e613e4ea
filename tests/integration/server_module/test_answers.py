"""What the component may answer, and that no answer changes the order of requests."""

import asyncio
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import (
    CLOSED,
    HOLD_S,
    OPEN,
    Stage,
    envelope,
    jingle_of,
    jingle_text,
    order_of,
)
from tests.lab.xmpp_actors import CLIENT, CONDITIONS, as_text, canonical, unique
from tests.threats.doses import Measured

pytestmark = pytest.mark.integration


async def test_replace_changes_the_payload_and_nothing_else(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"), "<a xmlns='x'/>")
    other = jingle_text(sid, "<b xmlns='x'><c xmlns='jabber:client'/></b>")
    hnt.replace(
        await hnt.question(sid),
        other,
        f"type='get' id='forged' from='mallory@{OPEN}/x' to='carol@{OPEN}/y'",
    )
    arrived = await bob.next_request(sid)
    assert envelope(arrived) == {"type": "set", "from": alice.jid, "to": bob.jid, "id": stanza_id}
    assert len(arrived) == 1
    assert canonical(jingle_of(arrived)) == canonical(ET.fromstring(other))


async def test_bounce_tells_the_sender_in_the_name_of_the_recipient(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-accept", sid := unique("sid"))
    error = (
        f"<error xmlns='{CLIENT}' type='wait'><unexpected-request xmlns='{CONDITIONS}'/>"
        "<out-of-order xmlns='urn:xmpp:jingle:errors:1'/>"
        f"<text xmlns='{CONDITIONS}' xml:lang='en'>Too early.</text></error>"
    )
    hnt.answer(await hnt.question(sid), "bounce", error)
    reply = await alice.reply_to(stanza_id)
    assert envelope(reply) == {"type": "error", "from": bob.jid, "to": alice.jid, "id": stanza_id}
    assert [canonical(child) for child in reply] == [canonical(ET.fromstring(error))]
    assert await bob.caught_up() == []
    assert hnt.inbox == []


@pytest.mark.parametrize(
    "namespace", ["", f" xmlns='{CLIENT}'", " xmlns='jabber:component:accept'"]
)
async def test_a_bounced_error_may_be_in_any_stream_namespace(stage: Stage, namespace: str) -> None:
    alice, bob = await stage.pair(CLOSED)
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-accept", sid := unique("sid"))
    error = f"<error{namespace} type='modify'><bad-request xmlns='{CONDITIONS}'/></error>"
    hnt.answer(await hnt.question(sid), "bounce", error)
    reply = await alice.reply_to(stanza_id)
    assert reply.find(f"{{{CLIENT}}}error[@type='modify']") is not None, as_text(reply)


async def test_drop_says_nothing_to_anybody_and_makes_way(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    alice.request(bob.jid, "transport-info", dropped := unique("sid"))
    alice.request(bob.jid, "transport-info", sid := unique("sid"))
    hnt.answer(await hnt.question(dropped), "drop")
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await asyncio.sleep(HOLD_S)  # nothing may come of it later either
    assert await bob.caught_up() == []
    assert await alice.caught_up() == []
    assert hnt.inbox == []


# Order

AT_ONCE = 64
"""Requests of one user that are held at a time."""


async def test_who_asks_for_too_much_at_once_is_refused_and_may_hang_up(own_stage: Stage) -> None:
    """All questions go through one stream: what one user has under way the others wait for."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    name = unique("sid")
    sent = [alice.request(bob.jid, "transport-info", f"{name}#{n}") for n in range(AT_ONCE + 1)]
    refusal = await alice.reply_to(sent[-1])
    assert refusal.find(f".//{{{CONDITIONS}}}resource-constraint") is not None
    alice.request(bob.jid, "session-terminate", f"{name}#0")
    bob.request(alice.jid, "transport-info", f"{name}#of-bob")
    asked = [await hnt.question() for _ in range(AT_ONCE + 2)]
    assert {q.jingle.get("action") for q in asked[-2:]} == {"session-terminate", "transport-info"}
    for question in asked:
        hnt.answer(question, "pass")
    assert len([await bob.next_request() for _ in range(AT_ONCE + 1)]) == AT_ONCE + 1
    await alice.next_request(f"{name}#of-bob")
    again = alice.request(bob.jid, "transport-info", f"{name}#again")
    hnt.answer(await hnt.question(f"{name}#again"), "pass")
    assert (await bob.next_request()).get("id") == again


async def test_300_requests_keep_their_order_and_come_once(
    own_stage: Stage, record_property: Measured
) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    name = unique("sid")
    arrived = []
    for first in range(0, 300, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, 300))
        for number in numbers:
            alice.request(bob.jid, "transport-info", f"{name}#{number}")
        for number in numbers:
            question = await hnt.question()
            assert question.jingle.get("sid") == f"{name}#{number}"
            if number % 3:
                hnt.answer(question, "pass")
            else:
                hnt.replace(question, jingle_text(f"{name}#{number}", action="transport-info"))
        arrived += [await bob.next_request() for _ in numbers]
    order = order_of(arrived)
    assert order == list(range(300))
    record_property("requests", len(order))
    record_property("reordered", sum(b < a for a, b in pairwise(order)))
    assert await bob.caught_up() == []
    assert hnt.inbox == []


async def test_answers_in_any_order_do_not_change_the_order_between_two_parties(
    stage: Stage,
) -> None:
    alice, bob = await stage.pair()
    carol = await stage.client(f"carol@{OPEN}")
    hnt = await stage.component()
    name = unique("sid")
    for number in range(5):
        alice.request(bob.jid, "transport-info", f"{name}#{number}")
    carol.request(bob.jid, "transport-info", other := unique("sid"))
    questions = [await hnt.question(f"{name}#{number}") for number in range(5)]
    for question in reversed(questions[1:]):
        hnt.answer(question, "pass")
    hnt.answer(await hnt.question(other), "pass")
    await bob.next_request(other)
    assert await bob.caught_up() == []
    hnt.answer(questions[0], "pass")
    arrived = [await bob.next_request() for _ in range(5)]
    assert order_of(arrived) == list(range(5))
