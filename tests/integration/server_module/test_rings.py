"""What makes a phone ring (XEP-0353, XEP-0482): held if the component wants it, and only then."""

from xml.etree import ElementTree as ET

import pytest

from tests.integration.server_module.stage import CLOSED, HNT, OPEN, Stage, jingle_text
from tests.lab.server import LocalServer
from tests.lab.xmpp_actors import (
    CLIENT,
    CONDITIONS,
    INTERCEPT,
    Client,
    Component,
    Element,
    as_text,
    bare_name,
    canonical,
    condition_of,
    unique,
)

pytestmark = pytest.mark.integration

MESSAGE = "urn:xmpp:jingle-message:0"
INVITES = "urn:xmpp:call-invites:0"
NO_SUCH_USER = (
    "bounce",
    f"<error xmlns='{CLIENT}' type='cancel'><service-unavailable xmlns='{CONDITIONS}'/></error>",
    "as='unknown-user'",
)


async def asked(stage: Stage, domain: str = OPEN) -> Component:
    """A component that wants to be asked before a phone rings."""
    hnt = await stage.component()
    wish = f"<module xmlns='{INTERCEPT}' instance='{unique('i')}' node='here' rings='1'/>"
    answer = await hnt.request(domain, "get", wish)
    assert answer.find(f"{{{INTERCEPT}}}module[@rings='1']") is not None, as_text(answer)
    return hnt


async def online(stage: Stage, bare: str) -> Client:
    """A client that messages to its bare JID reach."""
    client = await stage.client(bare)
    client.send("<presence/>")
    await client.caught_up()
    client.inbox.clear()
    return client


def proposal(sid: str, inside: str = "") -> str:
    return (
        f"<propose xmlns='{MESSAGE}' id='{sid}'>"
        f"<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>{inside}</propose>"
    )


def rings(client: Client, to: str, inside: str, kind: str = "chat") -> str:
    stanza_id = unique("m")
    client.send(f"<message to='{to}' type='{kind}' id='{stanza_id}'>{inside}</message>")
    return stanza_id


async def made_to_ring(client: Client, sid: str) -> None:
    """Wait for what makes its phone ring for this call."""
    await client.next(lambda e: bare_name(e) == "message" and e[0].get("id") == sid)


async def heard(client: Client) -> list[str]:
    """The names of what has come in messages."""
    came = [e for e in await client.caught_up() if bare_name(e) == "message"]
    return [bare_name(child) for e in came for child in e if "jingle" in child.tag + "call-inv"]


async def test_nothing_is_held_unless_the_component_wants_it(stage: Stage) -> None:
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    await hnt.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")  # one that knows no rings
    stanza_id = rings(alice, f"bob@{OPEN}", proposal(unique("sid")))
    await bob.next(lambda e: e.get("id") == stanza_id)
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    assert not {n for n in question.intercept.attrib if "contact" in n}
    hnt.answer(question, "pass")
    await bob.next_request(sid)


@pytest.mark.parametrize("form", ["bare", "full", "invite"])
async def test_a_ring_is_shown_without_what_it_says_besides_and_goes_on_whole(
    stage: Stage, form: str
) -> None:
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    sid = unique("sid")
    element = proposal(sid)
    if form == "invite":
        element = (
            f"<invite xmlns='{INVITES}' id='{sid}'><jingle sid='{sid}' jid='{alice.jid}'/></invite>"
        )
    inside = f"{element}<body>call me &amp; mine</body>"
    stanza_id = rings(alice, bob.jid if form == "full" else f"bob@{OPEN}", inside)
    question = await hnt.ring(sid)
    assert question.stanza.get("from") == alice.jid
    assert [canonical(child) for child in question.stanza] == [canonical(ET.fromstring(element))]
    assert question.intercept.get("to-contact") == "none"
    assert await heard(bob) == []
    hnt.answer(question, "pass")
    arrived = await bob.next(lambda e: e.get("id") == stanza_id)
    sent = ET.fromstring(f"<message xmlns='{CLIENT}'>{inside}</message>")
    assert [canonical(e) for e in arrived if "stanza-id" not in e.tag] == list(map(canonical, sent))


async def befriend(one: Client, other: Client) -> None:
    """Each has the other in its roster, by a subscription (RFC 6121 section 3.1)."""
    for client in (one, other):
        client.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        await client.reply_to("roster")
    for asks, grants in ((one, other), (other, one)):
        asks.send(f"<presence type='subscribe' to='{bare(grants)}'/>")
        await grants.next(lambda e: e.get("type") == "subscribe")
        grants.send(f"<presence type='subscribed' to='{bare(asks)}'/>")
        await asks.next(lambda e: e.get("type") == "subscribed")
    for client in (one, other):
        await client.caught_up()
        client.inbox.clear()


def bare(client: Client) -> str:
    return client.jid.partition("/")[0]


async def test_the_recipients_roster_says_who_is_a_contact(stage: Stage) -> None:
    alice, carol = await online(stage, f"alice@{OPEN}"), await online(stage, f"carol@{OPEN}")
    hnt = await asked(stage)
    await befriend(alice, carol)
    rings(alice, f"carol@{OPEN}", proposal(sid := unique("sid")))
    ring = await hnt.ring(sid)
    assert ring.intercept.get("to-contact") == "both"
    hnt.answer(ring, "pass")
    alice.request(carol.jid, "session-initiate", sid)
    offer = await hnt.question(sid)
    assert offer.intercept.get("to-contact") == "both"
    hnt.answer(offer, "pass")
    for client, other in ((alice, carol), (carol, alice)):
        client.send(f"<presence type='unsubscribe' to='{bare(other)}'/>")
        client.send(f"<presence type='unsubscribed' to='{bare(other)}'/>")
        await client.caught_up()


async def test_what_is_said_of_a_call_that_is_held_comes_after_it(stage: Stage) -> None:
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    rings(alice, f"bob@{OPEN}", proposal(sid := unique("sid")))
    rings(alice, f"bob@{OPEN}", f"<retract xmlns='{MESSAGE}' id='{sid}'/>")
    question = await hnt.ring(sid)
    assert await heard(bob) == []
    hnt.answer(question, "pass")
    first = await bob.next(lambda e: bare_name(e) == "message")
    second = await bob.next(lambda e: bare_name(e) == "message")
    assert [bare_name(e[0]) for e in (first, second)] == ["propose", "retract"]


def told(error: Element, *names: str) -> str:
    """An error as it stands on the stream, but for whom it is of."""
    text = canonical(error)
    for name in names:
        text = text.replace(name, "-")
    return text


@pytest.mark.parametrize("form", ["propose", "invite", "full", "offer", "normal"])
async def test_who_is_refused_as_by_an_unknown_user_learns_no_more(stage: Stage, form: str) -> None:
    """The answer is that of the server about a user who does not exist, byte for byte."""
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    answers = []
    for user in ("bob", "nobody"):
        sid = "the-same"
        to = f"{user}@{OPEN}"
        if form in ("full", "offer"):
            to += f"/{bob.jid.partition('/')[2]}"
        if form == "offer":
            alice.send(f"<iq type='set' id='same' to='{to}'>{jingle_text(sid)}</iq>")
            question = await hnt.question(sid)
        else:
            element = proposal(sid)
            if form == "invite":
                element = f"<invite xmlns='{INVITES}' id='{sid}'/>"
            kind = "normal" if form == "normal" else "chat"
            alice.send(f"<message type='{kind}' id='same' to='{to}'>{element}</message>")
            question = await hnt.ring(sid)
        hnt.answer(question, *(NO_SUCH_USER if user == "bob" else ("pass",)))
        error = await alice.next(lambda e: e.get("id") == "same" and e.get("type") == "error")
        assert condition_of(error) == "service-unavailable"
        answers.append(told(error, f"{user}@{OPEN}"))
    assert answers[0] == answers[1]
    assert await heard(bob) == []


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_what_rings_goes_on_if_the_component_is_silent_or_gone(
    own_stage: Stage, domain: str
) -> None:
    """Also on a host that refuses calls then: no address is in what makes a phone ring."""
    alice, bob = (
        await online(own_stage, f"alice@{domain}"),
        await online(own_stage, f"bob@{domain}"),
    )
    hnt = await asked(own_stage, domain)
    sids = [unique("sid") for _ in range(5)]
    for sid in sids:
        rings(alice, f"bob@{domain}", proposal(sid))
    for sid in sids:
        await hnt.ring(sid)
    await hnt.abort()
    for sid in sids:
        await made_to_ring(bob, sid)
    rings(alice, f"bob@{domain}", proposal(sid := unique("sid")))
    await made_to_ring(bob, sid)


async def test_an_answer_that_cannot_be_used_lets_it_ring(stage: Stage) -> None:
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    for answer in ("replace", "nonsense"):
        rings(alice, f"bob@{OPEN}", proposal(sid := unique("sid")))
        question = await hnt.ring(sid)
        if answer == "replace":
            hnt.replace(question, jingle_text(sid))
        else:
            hnt.answer(question, answer)
        await made_to_ring(bob, sid)


async def test_nobody_else_is_asked_to_ring_nor_about_it(server: LocalServer, stage: Stage) -> None:
    """Carbons, errors, one's own clients, and messages of no call go their way."""
    alice, bob = await online(stage, f"alice@{OPEN}"), await online(stage, f"bob@{OPEN}")
    hnt = await asked(stage)
    rings(alice, f"bob@{OPEN}", "<body>hello</body>")
    rings(alice, f"bob@{OPEN}", f"<proceed xmlns='{MESSAGE}' id='x'/>")
    rings(alice, f"alice@{OPEN}", proposal(unique("sid")))
    rings(alice, bob.jid, f"{proposal(unique('sid'))}<error type='cancel'/>", "error")
    assert "proceed" in await heard(bob)
    await alice.caught_up()
    assert not [e for e in hnt.inbox if e.find(f"{{{INTERCEPT}}}intercept") is not None]
    assert HNT not in server.log_text().partition("Traceback")[2]
