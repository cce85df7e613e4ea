"""The component is down, silent, dying or talks nonsense."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import (
    CLOSED,
    HOLD_S,
    OPEN,
    Stage,
    jingle_of,
    jingle_text,
    order_of,
)
from tests.lab.xmpp_actors import (
    CLIENT,
    CONDITIONS,
    FORWARD,
    INTERCEPT,
    Disconnected,
    bare_name,
    canonical,
    condition_of,
    unique,
)

pytestmark = pytest.mark.integration


async def test_component_down_open_lets_everything_pass_at_once(stage: Stage) -> None:
    alice, bob = await stage.pair(OPEN)
    alice.request(bob.jid, "session-initiate", sid := unique("sid"), "<a xmlns='x'/>")
    async with asyncio.timeout(HOLD_S / 2):
        arrived = await bob.next_request(sid)
    expected = ET.fromstring(jingle_text(sid, "<a xmlns='x'/>"))
    assert canonical(jingle_of(arrived)) == canonical(expected)


async def test_component_down_closed_refuses_at_once(stage: Stage) -> None:
    alice, bob = await stage.pair(CLOSED)
    stanza_id = alice.request(bob.jid, "session-initiate", unique("sid"))
    async with asyncio.timeout(HOLD_S / 2):
        reply = await alice.reply_to(stanza_id)
    assert reply.get("from") == bob.jid
    assert condition_of(reply) == "remote-server-timeout"
    assert await bob.caught_up() == []


async def test_component_silent_open_passes_after_the_timeout(stage: Stage) -> None:
    alice, bob = await stage.pair(OPEN)
    hnt = await stage.component()
    started = asyncio.get_running_loop().time()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    await bob.next_request(sid)
    assert HOLD_S - 0.05 < asyncio.get_running_loop().time() - started < HOLD_S + 1.5
    expired = await hnt.event("expired")
    assert expired.attrib == {"event": "expired", "id": question.id, "outcome": "passed"}


async def test_component_silent_closed_refuses_after_the_timeout(stage: Stage) -> None:
    alice, bob = await stage.pair(CLOSED)
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"
    expired = await hnt.event("expired")
    assert expired.attrib == {"event": "expired", "id": question.id, "outcome": "refused"}
    error = await hnt.event("error")
    assert (error.get("sid"), error.get("action")) == (sid, "session-initiate")
    assert await bob.caught_up() == []


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_a_late_answer_is_ignored(stage: Stage, domain: str) -> None:
    alice, bob = await stage.pair(domain)
    hnt = await stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    await hnt.event("expired")
    hnt.answer(question, "pass")
    await hnt.request(domain, "get", f"<module xmlns='{INTERCEPT}'/>")
    arrived = [e for e in await bob.caught_up() if e.get("type") == "set"]
    assert len(arrived) == (1 if domain == OPEN else 0)


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("pass-the-salt", ""),
        ("replace", ""),
        ("replace", f"<forwarded xmlns='{FORWARD}'/>"),
        ("replace", f"<forwarded xmlns='{FORWARD}'><iq xmlns='{CLIENT}'/></forwarded>"),
        (
            "replace",
            f"<forwarded xmlns='{FORWARD}'><iq xmlns='{CLIENT}'>"
            "<query xmlns='jabber:iq:roster'/></iq></forwarded>",
        ),
        (
            "replace",
            f"<forwarded xmlns='{FORWARD}'><iq xmlns='{CLIENT}'>"
            f"{jingle_text('s')}{jingle_text('s')}</iq></forwarded>",
        ),
        ("bounce", ""),
        ("bounce", f"<error xmlns='{CLIENT}' type='cancel'/>"),
        (
            "bounce",
            f"<error xmlns='{CLIENT}' type='nonsense'><conflict xmlns='{CONDITIONS}'/></error>",
        ),
    ],
)
@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_an_answer_that_cannot_be_used_is_a_failure(
    stage: Stage, domain: str, action: str, payload: str
) -> None:
    alice, bob = await stage.pair(domain)
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    async with asyncio.timeout(HOLD_S):
        hnt.answer(await hnt.question(sid), action, payload)
        if domain == OPEN:
            await bob.next_request(sid)
        else:
            assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_an_error_of_the_component_is_a_failure(stage: Stage, domain: str) -> None:
    alice, bob = await stage.pair(domain)
    hnt = await stage.component()
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    async with asyncio.timeout(HOLD_S):
        hnt.fail(await hnt.question(sid))
        if domain == OPEN:
            await bob.next_request(sid)
        else:
            assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_a_dying_component_leaves_nothing_waiting(stage: Stage, domain: str) -> None:
    alice, bob = await stage.pair(domain)
    hnt = await stage.component()
    name = unique("sid")
    ids = [alice.request(bob.jid, "transport-info", f"{name}#{n}") for n in range(5)]
    questions = [await hnt.question() for _ in range(5)]
    hnt.answer(questions[3], "pass")  # waits for the three before it
    await hnt.flushed()
    async with asyncio.timeout(HOLD_S):
        await hnt.abort()
        if domain == OPEN:
            arrived = [await bob.next_request() for _ in range(5)]
            assert order_of(arrived) == list(range(5))
        else:
            for number in (0, 1, 2, 4):
                reply = await alice.reply_to(ids[number])
                assert condition_of(reply) == "remote-server-timeout"
            assert order_of([await bob.next_request()]) == [3]
    assert await bob.caught_up() == []


async def test_a_component_that_comes_back_replaces_its_dead_connection(stage: Stage) -> None:
    alice, bob = await stage.pair()
    old = await stage.component()
    alice.request(bob.jid, "session-initiate", first := unique("sid"))
    await old.question(first)
    new = await stage.component()
    await bob.next_request(first)
    with pytest.raises(Disconnected):
        await old.next(lambda e: bare_name(e) == "iq")
    alice.request(bob.jid, "session-initiate", second := unique("sid"))
    new.answer(await new.question(second), "pass")
    await bob.next_request(second)
