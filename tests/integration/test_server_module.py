"""The contract of the server module: what a component may rely on, run on a real server.

Every test here is written against the protocol of config/prosody/README.md and the `Server` of its
kind only, so that another server's module can be put under the same tests.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from xml.etree import ElementTree as ET

import pytest

from tests.lab.ejabberd import Ejabberd
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import (
    CLIENT,
    CONDITIONS,
    FORWARD,
    INTERCEPT,
    JINGLE,
    Client,
    Component,
    Disconnected,
    Element,
    as_text,
    bare_name,
    canonical,
    condition_of,
    unique,
)

pytestmark = pytest.mark.integration

HNT = "hnt.example.org"
OPEN = "open.example.org"
CLOSED = "closed.example.org"
PLAIN = "plain.example.org"  # a host of the same server without the module
HOLD_S = 0.6

USERS = {"alice": "secret", "bob": "secret", "carol": "secret"}
COMPONENTS = {HNT: "secret", "other.example.org": "secret"}


def hosts(hold_s: float = HOLD_S) -> list[VirtualHost]:
    return [
        VirtualHost(OPEN, USERS, component=HNT, fail="open", timeout_s=hold_s),
        VirtualHost(CLOSED, USERS, component=HNT, fail="closed", timeout_s=hold_s),
        VirtualHost(PLAIN, USERS),
    ]


KINDS: dict[str, type[LocalServer]] = {"prosody": Prosody, "ejabberd": Ejabberd}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> type[LocalServer]:
    """The server under test."""
    return KINDS[request.param]


@pytest.fixture(scope="module")
def server(kind: type[LocalServer], request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """One server for all tests that leave it as they found it."""
    with kind(hosts(), COMPONENTS) as running:
        failed = request.session.testsfailed
        yield running
        if request.session.testsfailed > failed:
            sys.stderr.write(running.log_text()[-20000:])


@pytest.fixture
async def actors() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class Stage:
    """Logs actors in and out of one server."""

    def __init__(self, server: LocalServer, actors: AsyncExitStack) -> None:
        self.server = server
        self._actors = actors

    async def client(self, bare: str, local: str | None = None) -> Client:
        login = Client.login(self.server, f"{bare}/{unique('r')}", local=local)
        return await self._actors.enter_async_context(await login)

    async def resumed(self, lost: Client, local: str) -> Client:
        resume = Client.resume(self.server, lost, local=local)
        return await self._actors.enter_async_context(await resume)

    async def component(self, domain: str = HNT) -> Component:
        connect = Component.connect(self.server, domain)
        return await self._actors.enter_async_context(await connect)

    async def pair(self, domain: str = OPEN) -> tuple[Client, Client]:
        return await self.client(f"alice@{domain}"), await self.client(f"bob@{domain}")


@pytest.fixture
def stage(server: LocalServer, actors: AsyncExitStack) -> Stage:
    return Stage(server, actors)


def jingle_of(stanza: Element) -> Element:
    jingle = stanza.find(f"{{{JINGLE}}}jingle")
    assert jingle is not None, as_text(stanza)
    return jingle


def envelope(stanza: Element) -> dict[str, str]:
    """The stanza's attributes; xml:lang apart, which a server may copy from the stream."""
    return {name: value for name, value in stanza.attrib.items() if "}" not in name}


def jingle_text(sid: str, inside: str = "", action: str = "session-initiate") -> str:
    return f"<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{inside}</jingle>"


def order_of(stanzas: list[Element]) -> list[int]:
    return [int(jingle_of(stanza).get("sid", "").partition("#")[2]) for stanza in stanzas]


# What is asked


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


# What can be answered


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


async def test_300_requests_keep_their_order_and_come_once(stage: Stage) -> None:
    alice, bob = await stage.pair()
    hnt = await stage.component()
    name = unique("sid")
    for number in range(300):
        alice.request(bob.jid, "transport-info", f"{name}#{number}")
    for number in range(300):
        question = await hnt.question()
        assert question.jingle.get("sid") == f"{name}#{number}"
        if number % 3:
            hnt.answer(question, "pass")
        else:
            hnt.replace(question, jingle_text(f"{name}#{number}", action="transport-info"))
    arrived = [await bob.next_request() for _ in range(300)]
    assert order_of(arrived) == list(range(300))
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


# Failure


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


# Notices


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

    async with asyncio.timeout(5):
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
    bob.send("<presence/>")
    await bob.next(lambda e: bare_name(e) == "presence")
    sid = unique("sid")
    recipient = bob.jid if to == "full" else bob.jid.partition("/")[0]
    payload = f"<{action} xmlns='urn:xmpp:jingle-message:0' id='{sid}'/>"
    alice.send(f"<message type='chat' to='{recipient}'>{payload}</message>")
    arrived = await bob.next(lambda e: bare_name(e) == "message")
    assert canonical(arrived[0]) == canonical(ET.fromstring(payload))
    told = await hnt.event("message")
    assert told.attrib == {"event": "message", "action": action, "jid": alice.jid, "sid": sid}
    assert hnt.inbox == []


# Injecting


def terminate(sender: str, recipient: str, sid: str, action: str = "session-terminate") -> str:
    return (
        f"<iq xmlns='{CLIENT}' type='set' from='{sender}' to='{recipient}' id='{unique('inj')}'>"
        f"{jingle_text(sid, action=action)}</iq>"
    )


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


# Strangers


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
        assert told.attrib == {"version": "0", "fail": fail, "timeout": f"{HOLD_S:g}"}
    absent = await hnt.request(PLAIN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert condition_of(absent) == "service-unavailable"


# Coming and going of module and server (each on a server of its own)


@pytest.fixture
async def own_stage(kind: type[LocalServer], actors: AsyncExitStack) -> Stage:
    server = await actors.enter_async_context(kind(hosts(hold_s=20), COMPONENTS))
    return Stage(server, actors)


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_unloading_lets_go_what_is_held_and_loading_takes_over_again(
    own_stage: Stage, domain: str
) -> None:
    alice, bob = await own_stage.pair(domain)
    hnt = await own_stage.component()
    name = unique("sid")
    ids = [alice.request(bob.jid, "transport-info", f"{name}#{n}") for n in range(5)]
    for _ in range(5):
        await hnt.question()
    await own_stage.server.reload_module(False, domain)
    if domain == OPEN:
        assert order_of([await bob.next_request() for _ in range(5)]) == list(range(5))
    else:
        for stanza_id in ids:
            assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"

    hnt.inbox.clear()
    alice.request(bob.jid, "session-initiate", without := unique("sid"))
    await bob.next_request(without)
    absent = await hnt.request(domain, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert condition_of(absent) == "service-unavailable"
    assert hnt.inbox == []

    await own_stage.server.reload_module(True, domain)
    alice.request(bob.jid, "session-initiate", again := unique("sid"))
    hnt.answer(await hnt.question(again), "pass")
    await bob.next_request(again)
    assert await bob.caught_up() == []


async def test_a_reload_in_the_middle_of_a_call_forgets_nothing(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    request = await bob.next_request(sid)
    await own_stage.server.reload_module(True)
    bob.reject(request)
    assert (await hnt.event("error")).get("sid") == sid
    await alice.close()
    assert (await hnt.event("gone")).get("jid") == alice.jid
    await hnt.abort()
    async with asyncio.timeout(5):  # the new module follows the component's connection, too
        carol = await own_stage.client(f"carol@{OPEN}")
        carol.request(bob.jid, "session-initiate", other := unique("sid"))
        await bob.next_request(other)


async def test_after_a_restart_of_the_server_everything_works_again(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    await asyncio.to_thread(own_stage.server.restart)
    for actor in (alice, bob, hnt):
        await actor.ended()
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)


# Between servers


@pytest.fixture
async def federation(actors: AsyncExitStack) -> tuple[Stage, Stage]:
    """Two servers with a component each, and a third domain that nobody serves."""
    routes: dict[str, tuple[str, int]] = {"dead.example.net": ("127.0.0.1", 1)}
    stages = []
    for domain in ("one.example.org", "two.example.net"):
        component = f"hnt.{domain}"
        host = VirtualHost(domain, USERS, component=component, timeout_s=20)
        server = Prosody([host], {component: "secret"}, routes=routes)
        routes[domain] = server.s2s
        stages.append(Stage(server, actors))
    for stage in stages:
        await actors.enter_async_context(stage.server)
    return stages[0], stages[1]


async def test_a_call_between_servers_is_shown_once_to_each_component(
    federation: tuple[Stage, Stage],
) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    bob = await two.client("bob@two.example.net", local="127.0.0.4")
    hnt_one = await one.component("hnt.one.example.org")
    hnt_two = await two.component("hnt.two.example.net")

    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    leaving = await hnt_one.question(sid)
    assert leaving.intercept.get("via") == "c2s"
    assert "to-ip" not in leaving.intercept.attrib
    hnt_one.replace(leaving, jingle_text(sid, "<one xmlns='x'/>"))
    arriving = await hnt_two.question(sid)
    assert arriving.intercept.get("via") == "s2s"
    assert arriving.intercept.get("to-ip") == "127.0.0.4"
    assert "from-ip" not in arriving.intercept.attrib
    assert arriving.jingle.find("{x}one") is not None
    hnt_two.replace(arriving, jingle_text(sid, "<two xmlns='x'/>"))

    request = await bob.next_request(sid)
    assert envelope(request) == {"type": "set", "from": alice.jid, "to": bob.jid, "id": stanza_id}
    assert jingle_of(request).find("{x}two") is not None
    bob.reject(request)
    assert (await alice.reply_to(stanza_id)).get("from") == bob.jid
    for hnt in (hnt_one, hnt_two):
        assert (await hnt.event("error")).get("sid") == sid
        assert hnt.inbox == []


async def test_a_bounce_crosses_to_the_other_server(federation: tuple[Stage, Stage]) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    hnt = await two.component("hnt.two.example.net")
    nowhere = "bob@two.example.net/nowhere"
    first = alice.request(nowhere, "session-initiate", sid := unique("sid"))
    error = f"<error xmlns='{CLIENT}' type='cancel'><conflict xmlns='{CONDITIONS}'/></error>"
    hnt.answer(await hnt.question(sid), "bounce", error)
    assert condition_of(await alice.reply_to(first)) == "conflict"
    second = alice.request(nowhere, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert condition_of(await alice.reply_to(second)) == "service-unavailable"
    assert (await hnt.event("error")).get("sid") == sid


async def test_an_unreachable_server_is_reported(federation: tuple[Stage, Stage]) -> None:
    one, _ = federation
    alice = await one.client("alice@one.example.org")
    hnt = await one.component("hnt.one.example.org")
    to = "bob@dead.example.net/x"
    stanza_id = alice.request(to, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert (await hnt.event("error")).get("sid") == sid
    assert (await alice.reply_to(stanza_id)).get("from") == to


async def test_a_request_lost_with_its_recipients_connection_is_reported(
    federation: tuple[Stage, Stage],
) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    bob = await two.client("bob@two.example.net")
    hnt = await two.component("hnt.two.example.net")
    await bob.enable_acknowledgements(resume=False)
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await bob.abort()
    assert (await hnt.event("error")).get("sid") == sid
    assert condition_of(await alice.reply_to(stanza_id)) == "recipient-unavailable"
