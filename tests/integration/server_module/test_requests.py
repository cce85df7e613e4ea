"""What the component may ask of the module, and that nobody else may."""

from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import (
    CLOSED,
    HNT,
    HOLD_S,
    OPEN,
    PLAIN,
    Stage,
    jingle_of,
    terminate,
)
from tests.lab.xmpp_actors import CLIENT, FORWARD, INTERCEPT, canonical, condition_of, unique

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("action", ["session-terminate", "session-info", "transport-info"])
async def test_the_component_may_speak_for_a_party_of_a_session(stage: Stage, action: str) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    sent = terminate(bob.jid, alice.jid, sid := unique("sid"), action)
    assert (await hnt.inject(OPEN, sent)).get("type") == "result"
    arrived = await alice.next_request(sid)
    assert canonical(arrived) == canonical(ET.fromstring(sent))
    alice.acknowledge(arrived)
    assert (await bob.reply_to(arrived.get("id", ""))).get("from") == alice.jid
    assert hnt.inbox == []


async def test_an_injected_request_takes_its_turn_and_its_error_is_reported(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    alice.request(bob.jid, "transport-info", first := unique("sid"))
    question = await hnt.question(first)
    await hnt.inject(OPEN, terminate(alice.jid, bob.jid, second := unique("sid")))
    assert await bob.caught_up() == []
    hnt.answer(question, "pass")
    arrived = [await bob.next_request(), await bob.next_request()]
    assert [jingle_of(stanza).get("sid") for stanza in arrived] == [first, second]
    bob.reject(arrived[1])
    event = await hnt.event("error")
    assert (event.get("sid"), event.get("action")) == (second, "session-terminate")


async def test_what_may_not_be_injected(stage: Stage) -> None:
    alice, bob = await stage.pair()
    stranger = await stage.client(f"carol@{PLAIN}")
    hnt = await stage.component()
    message = (
        f"<message xmlns='{CLIENT}' from='{bob.jid}' to='{alice.jid}'><body>x</body></message>"
    )
    good = terminate(bob.jid, alice.jid, "s")
    refused = {
        message: "bad-request",
        terminate(bob.jid, alice.jid, "s", "session-initiate"): "bad-request",
        terminate(bob.jid, alice.jid, ""): "bad-request",
        terminate(bob.jid, f"alice@{OPEN}", "s"): "bad-request",
        terminate(f"bob@{OPEN}", alice.jid, "s"): "bad-request",
        good.replace(" id=", " x="): "bad-request",
        good.replace("'set'", "'get'"): "bad-request",
        good.replace("</iq>", "<x xmlns='x'/></iq>"): "bad-request",
        terminate(stranger.jid, f"alice@{CLOSED}/r", "s"): "not-allowed",
        terminate(bob.jid, f"alice@{OPEN}/offline", "s"): "item-not-found",
    }
    for iq, condition in refused.items():
        assert condition_of(await hnt.inject(OPEN, iq)) == condition, iq
    for client in (alice, bob, stranger):
        assert await client.caught_up() == []


async def test_nobody_else_may_inject_or_ask(stage: Stage) -> None:
    alice, bob = await stage.pair()
    other = await stage.component("other.example.org")
    hnt = await stage.component()
    wrapped = f"<forwarded xmlns='{FORWARD}'>{terminate(bob.jid, alice.jid, 's')}</forwarded>"
    requests = {
        f"<address xmlns='{INTERCEPT}' jid='{alice.jid}'/>": "get",
        f"<module xmlns='{INTERCEPT}'/>": "get",
        f"<inject xmlns='{INTERCEPT}'>{wrapped}</inject>": "set",
    }
    for payload, kind in requests.items():
        assert condition_of(await other.request(OPEN, kind, payload)) == "forbidden"
        inside = await hnt.request(OPEN, kind, payload, sender=f"user@{HNT}")
        assert condition_of(inside) == "forbidden"
        stanza_id = unique("ask")
        alice.send(f"<iq type='{kind}' to='{OPEN}' id='{stanza_id}'>{payload}</iq>")
        assert condition_of(await alice.reply_to(stanza_id)) == "forbidden"
    assert await alice.caught_up() == []
    assert await bob.caught_up() == []


async def test_nobody_else_may_answer(stage: Stage) -> None:
    alice, bob = await stage.pair(CLOSED)
    other = await stage.component("other.example.org")
    hnt = await stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    other.answer(question, "pass")
    await other.request(CLOSED, "get", f"<module xmlns='{INTERCEPT}'/>")
    alice.send(
        f"<iq type='result' to='{CLOSED}' id='{question.id}'>"
        f"<intercept xmlns='{INTERCEPT}' action='pass'/></iq>"
    )
    await alice.caught_up()
    hnt.send(
        f"<iq type='result' from='user@{HNT}' to='{CLOSED}' id='{question.id}'>"
        f"<intercept xmlns='{INTERCEPT}' action='pass'/></iq>"
    )
    await hnt.request(CLOSED, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert await bob.caught_up() == []
    hnt.answer(question, "pass")
    await bob.next_request(sid)


async def test_the_module_tells_what_it_is_set_to(stage: Stage) -> None:
    hnt = await stage.component()
    for domain, fail in ((OPEN, "open"), (CLOSED, "closed")):
        answer = await hnt.request(domain, "get", f"<module xmlns='{INTERCEPT}'/>")
        told = answer.find(f"{{{INTERCEPT}}}module")
        assert told is not None
        own = {"prosody": {"conflict": "kick_old"}, "ejabberd": {"routes": "1"}}[stage.server.kind]
        set_to = {"version": "0", "fail": fail, "timeout": f"{HOLD_S:g}"}
        known = {"server": stage.server.kind, "hosts": told.get("hosts"), "rings": "1"}
        assert told.attrib == {**set_to, **own, **known}
        assert {OPEN, CLOSED} <= set(told.get("hosts", "").split())
        assert PLAIN not in told.get("hosts", "").split()
    absent = await hnt.request(PLAIN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert condition_of(absent) == "service-unavailable"
