"""Who may say what to the component, and from whom it speaks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.errors import Condition, StanzaError
from jingle_hnt.fronts.xmpp import connection as connection_module
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.fronts.xmpp.pending_requests import PendingRequests
from jingle_hnt.jingle.effects import Bounce, Gone, Inject, Moved, Pass, Replace, Request, Withdrawn
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import Candidate, ContentKey, Creator
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason
from tests.fronts.xmpp.fakeserver import SECRET, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until

DOMAIN = "example.org"
OTHER = "other.example"
COMPONENT = "hnt.example.org"
ALICE = "alice@example.org/phone"
BOB = "bob@elsewhere.example/desk"
INTERCEPT = "urn:hnt:intercept:0"
PING = "<ping xmlns='urn:xmpp:ping'/>"
GOOD = "<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='s1'/>"
OFFER = (
    "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s1'>"
    "<content creator='initiator' name='a'>"
    "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>"
    "<candidate ip='192.0.2.1' port='{}'/></transport></content></jingle>"
)


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def component(
    server: FakeServer, recorder: Recorder, clock: Clock
) -> AsyncIterator[Component]:
    settings = ComponentSettings(COMPONENT, SECRET, (DOMAIN, OTHER), port=server.port, ask_s=0.1)
    component = Component(settings, recorder, clock)
    task = asyncio.create_task(component.run())
    await until(lambda: component.up)
    yield component
    await component.stop()
    await task
    # X13: whatever happened, nothing left in the name of somebody else.
    for connection in server.connections:
        for stanza in connection.stanzas:
            if not stanza.tag.endswith(("}handshake", "}error")):
                assert JID.of(stanza.get("from", "")).domain == COMPONENT


def question(
    jingle: str = GOOD, id_: str = "q1", host: str = DOMAIN, extra: str = "", from_: str = ALICE
) -> str:
    return (
        f"<iq type='set' from='{host}' to='{COMPONENT}' id='{id_}'>"
        f"<intercept xmlns='{INTERCEPT}' timeout='3' {extra}><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='set' from='{from_}' to='{BOB}' id='i'>{jingle}</iq>"
        "</forwarded></intercept></iq>"
    )


def action(iq: ET.Element) -> str | None:
    intercept = iq.find(f"{{{INTERCEPT}}}intercept")
    return None if intercept is None else intercept.get("action")


async def settled(server: FakeServer) -> None:
    """Until the component has dealt with all that was sent to it."""
    number = len(server.last.stanzas)
    id_ = f"settle{number}"
    server.last.send(f"<iq type='get' from='x@y.example/z' to='{COMPONENT}' id='{id_}'>{PING}</iq>")
    await server.last.reply(id_)


async def test_an_announcement_is_a_headline_of_our_own(
    component: Component, server: FakeServer
) -> None:
    assert component.announce(JID.of(ALICE), "Update <now>\nSorry")
    await settled(server)
    [message] = [s for s in server.last.stanzas if s.tag.endswith("}message")]
    assert message.attrib == {"type": "headline", "from": COMPONENT, "to": ALICE}
    assert [child.text for child in message] == ["Update <now>\nSorry"]


# Questions


async def test_a_question_becomes_a_request_and_is_answered_later(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    server.last.send(question(extra="from-ip='198.51.100.7'"))
    await until(lambda: recorder.requests)
    [request] = recorder.requests
    assert request == Request(
        token=request.token,
        sender=JID.of(ALICE),
        recipient=JID.of(BOB),
        jingle=Jingle(Action.SESSION_INFO, "s1"),
        sender_ip=literal("198.51.100.7"),
        recipient_ip=None,
        id="i",
    )
    await settled(server)
    assert server.last.iqs("result")[:-1] == []
    component.answer(Pass(request.token))
    answer = await server.last.reply("q1")
    assert (answer.get("to"), answer.get("from")) == (DOMAIN, COMPONENT)
    assert action(answer) == "pass"


async def test_answers_may_come_in_any_order_and_once(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    server.last.send(
        question(id_="q1") + question(OFFER.format(5), "q2", OTHER, from_=f"a@{OTHER}/x")
    )
    await until(lambda: len(recorder.requests) == 2)
    first, second = recorder.requests
    key = ContentKey(Creator.INITIATOR, "a")
    ours = Candidate(1, 0, TransportAddress.of("203.0.113.9", 30000), "r1")
    component.answer(Replace(second.token, {key: (ours,)}))
    component.answer(Bounce(first.token, StanzaError(Condition.CONFLICT, "cancel", "")))
    component.answer(Pass(first.token))
    component.answer(Pass(second.token))
    await settled(server)
    answers = server.last.iqs()[:-1]
    assert [(a.get("id"), a.get("to"), action(a)) for a in answers] == [
        ("q2", OTHER, "replace"),
        ("q1", DOMAIN, "bounce"),
    ]


async def test_a_late_answer_is_not_sent(
    component: Component, server: FakeServer, recorder: Recorder, clock: Clock
) -> None:
    server.last.send(question())
    await until(lambda: recorder.requests)
    clock.now += 3
    component.answer(Pass(recorder.requests[0].token))
    await settled(server)
    assert len(server.last.iqs()) == 1


async def test_answers_to_a_lost_stream_are_not_sent_on_the_next(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    server.last.send(question())
    await until(lambda: recorder.requests)
    server.last.cut()
    await until(lambda: len(server.connections) == 2 and component.up)
    component.answer(Pass(recorder.requests[0].token))
    await settled(server)
    assert len(server.last.iqs()) == 1


@pytest.mark.parametrize(
    ("jingle", "whole"),
    [
        (OFFER.format(99999), True),
        ("<jingle xmlns='urn:xmpp:jingle:1' action='x' sid='s'/>", True),
        (GOOD.replace("/>", f">{'<x/>' * 4097}</jingle>"), True),
        (GOOD.replace("/>", f">{'<x/>' * 9000}</jingle>"), False),
        (GOOD.replace("/>", f"><x a='{'x' * 600_000}'/></jingle>"), False),
    ],
    ids=["port", "action", "large", "pruned", "pruned to something small"],
)
async def test_what_is_odd_is_no_error_here(
    component: Component, server: FakeServer, recorder: Recorder, jingle: str, whole: bool
) -> None:
    """The core is asked, which knows what was promised; of what was pruned nothing is known."""
    server.last.send(question(jingle))
    await until(lambda: recorder.requests)
    assert recorder.requests[0].jingle.is_whole == whole
    assert recorder.rejections == []


@pytest.mark.parametrize(
    ("host", "from_", "condition"),
    [
        ("evil.example", ALICE, "forbidden"),
        (f"user@{DOMAIN}", ALICE, "forbidden"),
        (f"{DOMAIN}/x", ALICE, "forbidden"),
        (f"sub.{DOMAIN}", ALICE, "forbidden"),
        (COMPONENT, ALICE, "forbidden"),
        (DOMAIN, "zoe@evil.example/x", "bad-request"),
        (DOMAIN, f"alice@{DOMAIN}", "bad-request"),
    ],
)
async def test_who_may_not_ask_gets_an_error_and_changes_nothing(
    component: Component,
    server: FakeServer,
    recorder: Recorder,
    host: str,
    from_: str,
    condition: str,
) -> None:
    server.last.send(question(host=host, from_=from_))
    answer = (await server.last.reply("q1")) if host != COMPONENT else None
    if answer is not None:
        assert answer.get("type") == "error"
        assert answer.find(f".//{{*}}{condition}") is not None
    await settled(server)
    assert (recorder.requests, recorder.rejections) == ([], [])


async def test_a_question_without_sender_is_ignored(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    server.last.send(question().replace(f"from='{DOMAIN}'", ""))
    await settled(server)
    assert len(server.last.iqs()) == 1
    assert recorder.requests == []


async def test_too_many_questions_get_an_error_at_once(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    component._requests = PendingRequests(capacity=1)
    server.last.send(question(id_="q1") + question(id_="q2"))
    answer = await server.last.reply("q2")
    assert answer.get("type") == "error"
    assert answer.find(".//{*}resource-constraint") is not None
    assert len(recorder.requests) == 1


async def test_an_error_of_ours_harms_no_other_stanza(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    def fail_once(request: Request) -> None:
        recorder.on_request = lambda r: component.answer(Pass(r.token))
        raise RuntimeError("a mistake of ours")

    recorder.on_request = fail_once
    server.last.send(question(id_="q1") + question(id_="q2"))
    assert action(await server.last.reply("q2")) == "pass"
    assert component.up


# Events


EVENT = "<message from='{}' to='{}'><intercept xmlns='urn:hnt:intercept:0' {}/></message>"
MOVED = f"event='address' jid='{ALICE}' ip='203.0.113.5'"
GONE = f"event='gone' jid='{ALICE}'"
FINISHED = f"event='message' action='finish' jid='{ALICE}' sid='s'"


async def test_what_went_on_unasked_is_told(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    told = (
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='set' from='{ALICE}' to='{BOB}' id='i7'>"
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate' sid='s'/></iq></forwarded>"
    )
    server.last.send(
        f"<message from='{DOMAIN}' to='{COMPONENT}'><intercept xmlns='urn:hnt:intercept:0'"
        f" event='passed' age='1.5' missed='3'>{told}</intercept></message>"
    )
    await until(lambda: recorder.passed_by)
    [passed] = recorder.passed_by
    assert (passed.sender, passed.recipient) == (JID.of(ALICE), JID.of(BOB))
    assert (passed.sid, passed.action, passed.id) == ("s", Action.SESSION_TERMINATE, "i7")
    assert (passed.age_s, passed.missed) == (1.5, 3)
    assert passed.jingle is not None


async def test_events_are_told(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    for told in (MOVED, FINISHED, GONE):
        server.last.send(EVENT.format(DOMAIN, COMPONENT, told))
    await until(lambda: recorder.departures)
    assert recorder.withdrawals == [Withdrawn(JID.of(ALICE), "s")]
    assert recorder.moves == [Moved(JID.of(ALICE), literal("203.0.113.5"))]
    assert recorder.departures == [Gone(JID.of(ALICE))]


@pytest.mark.parametrize(
    ("host", "to", "attributes"),
    [
        ("evil.example", COMPONENT, GONE),
        (ALICE, COMPONENT, GONE),
        (OTHER, COMPONENT, GONE),
        (DOMAIN, f"x@{COMPONENT}", GONE),
        (DOMAIN, COMPONENT, "event='gone' jid=''"),
        (DOMAIN, COMPONENT, "event='expired' id='q' outcome='passed'"),
        (DOMAIN, COMPONENT, "event='new'"),
    ],
)
async def test_other_events_change_nothing(
    component: Component,
    server: FakeServer,
    recorder: Recorder,
    host: str,
    to: str,
    attributes: str,
) -> None:
    server.last.send(EVENT.format(host, to, attributes) + "<message from='example.org'/>")
    await settled(server)
    assert (recorder.moves, recorder.departures, recorder.refusals) == ([], [], [])


async def test_a_request_that_was_asked_about_and_has_gone_on_is_told_once(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    inside = "<content creator='initiator' name='voice'/>"
    moved = f"<jingle xmlns='urn:xmpp:jingle:1' action='transport-info' sid='s1'>{inside}</jingle>"
    told = "event='expired' id='{}' outcome='{}'"
    for id_ in ("q1", "q2", "q3"):
        server.last.send(question(moved, id_=id_))
    await until(lambda: len(recorder.requests) == 3)
    for id_, outcome in (("q1", "refused"), ("q2", "passed"), ("q2", "passed"), ("q9", "passed")):
        server.last.send(EVENT.format(DOMAIN, COMPONENT, told.format(id_, outcome)))
    server.last.send(EVENT.format(OTHER, COMPONENT, told.format("q3", "passed")))
    await settled(server)
    assert recorder.expirations == [recorder.requests[1]]


# Requests of ours


async def test_an_injection_goes_to_a_host_that_knows_a_party(
    component: Component, server: FakeServer
) -> None:
    jingle = Jingle(Action.SESSION_TERMINATE, "s1", reason=Reason("timeout"))
    assert component.inject(Inject(JID.of(BOB), JID.of(ALICE), jingle))
    await settled(server)
    [iq, _] = server.last.iqs()
    assert (iq.get("to"), iq.get("type")) == (DOMAIN, "set")
    inner = iq.find(f"{{{INTERCEPT}}}inject/{{*}}forwarded/{{jabber:client}}iq")
    assert inner is not None
    assert (inner.get("from"), inner.get("to")) == (BOB, ALICE)
    assert inner.get("id") not in (None, "", iq.get("id"))


async def test_an_address_is_taken_from_who_was_asked_only(
    component: Component, server: FakeServer
) -> None:
    asking = asyncio.create_task(component.address(JID.of(ALICE)))
    await until(lambda: server.last.iqs("get"))
    [iq] = server.last.iqs("get")
    answer = (
        "<iq type='result' from='{}' to='hnt.example.org' id='{}'>"
        "<address xmlns='urn:hnt:intercept:0' ip='{}'/></iq>"
    )
    id_ = iq.get("id")
    for liar in (ALICE, COMPONENT, OTHER, f"{DOMAIN}/x"):
        server.last.send(answer.format(liar, id_, "203.0.113.66"))
    server.last.send(f"<iq type='result' id='{id_}'/>")
    server.last.send(answer.format(DOMAIN, id_, "198.51.100.7"))
    assert await asking == literal("198.51.100.7")


async def test_a_question_without_answer_ends(component: Component, server: FakeServer) -> None:
    assert await component.address(JID.of(ALICE)) is None
    assert len(component._queries) == 0


async def test_a_question_ends_with_the_stream(component: Component, server: FakeServer) -> None:
    component._settings = replace(component._settings, ask_s=60)
    asking = asyncio.create_task(component.address(JID.of(ALICE)))
    await until(lambda: len(component._queries) == 1)
    server.last.cut()
    assert await asyncio.wait_for(asking, 5) is None


@pytest.mark.parametrize(("action", "kept"), [("session-terminate", True), ("session-info", False)])
async def test_what_ends_a_call_waits_longest_for_a_slow_server(
    component: Component, server: FakeServer, recorder: Recorder, action: str, kept: bool
) -> None:
    server.last.send(question(GOOD.replace("session-info", action)))
    await until(lambda: recorder.requests)
    component._connection.on_writable(False)
    component.answer(Pass(recorder.requests[0].token))
    assert [keep for _, keep in component._connection._queue._waiting] == [kept]


async def test_unsolicited_results_leave_nothing_behind(
    component: Component, server: FakeServer, recorder: Recorder
) -> None:
    for number in range(500):
        server.last.send(f"<iq type='result' from='{DOMAIN}' to='{COMPONENT}' id='{number}'/>")
        server.last.send(f"<iq type='error' from='a@b.example/c' to='{COMPONENT}' id='{number}'/>")
    await settled(server)
    assert len(server.last.iqs()) == 1
    assert len(component._queries) == 0


async def test_while_the_link_is_down_nothing_is_asked(recorder: Recorder) -> None:
    component = Component(ComponentSettings(COMPONENT, SECRET, (DOMAIN,)), recorder)
    assert await component.address(JID.of(ALICE)) is None
    assert await component.probe() == []
    assert not component.inject(
        Inject(JID.of(BOB), JID.of(ALICE), Jingle(Action.SESSION_TERMINATE, "s"))
    )
    await component.stop()


# Others


async def test_others_are_answered_from_the_address_they_asked(
    component: Component, server: FakeServer
) -> None:
    for number, (to, type_, payload) in enumerate(
        [
            (COMPONENT, "get", PING),
            (f"x@{COMPONENT}/y", "get", PING),
            (COMPONENT, "set", "<x xmlns='urn:x'/>"),
            (COMPONENT, "get", ""),
            ("somebody@else.example", "get", PING),
        ]
    ):
        server.last.send(
            f"<iq type='{type_}' from='{ALICE}' to='{to}' id='o{number}'>{payload}</iq>"
        )
    answers = [await server.last.reply(f"o{n}") for n in range(5)]
    assert [a.get("type") for a in answers] == ["result", "error", "error", "error", "error"]
    assert [a.get("from") for a in answers] == [COMPONENT, f"x@{COMPONENT}/y", *[COMPONENT] * 3]
    assert {a.get("to") for a in answers} == {ALICE}


async def test_presence_and_messages_of_users_are_ignored(
    component: Component, server: FakeServer
) -> None:
    server.last.send(f"<presence type='subscribe' from='{ALICE}' to='{COMPONENT}'/>")
    server.last.send(f"<message from='{ALICE}' to='{COMPONENT}'><body>hi</body></message>")
    server.last.send(
        f"<iq type='strange' from='{ALICE}' to='{COMPONENT}' id='x'/><other xmlns=''/>"
    )
    await settled(server)
    assert len(server.last.iqs()) == 1
    kinds = {stanza.tag.rpartition("}")[2] for stanza in server.last.stanzas}
    assert kinds == {"handshake", "iq"}
