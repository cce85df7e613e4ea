"""Calls by addresses at the component: what crosses, under which names, and for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.errors import Condition, StanzaError
from jingle_hnt.fronts.xmpp import pending_replies
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.jingle.effects import Bounce, Inject, Pass, Refusal, Replace, Withdrawn
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import Candidate, ContentKey, Creator
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason
from tests.fronts.xmpp.fakeserver import SECRET, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until

COMPONENT = "hnt.example.org"
ALICE = "alice@example.org/phone"
ALICE_THERE = r"alice\40example.org@hnt.example.org/phone"
BOB = "bob@elsewhere.example/desk"
BOB_HERE = r"bob\40elsewhere.example@hnt.example.org/desk"
JINGLE = "{urn:xmpp:jingle:1}jingle"
MESSAGE = "urn:xmpp:jingle-message:0"
DISCO = "<query xmlns='http://jabber.org/protocol/disco#info' node='caps#1'/>"
UNKNOWN = "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/>"
NOT_FOUND = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
OFFER = (
    "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s1'"
    f" initiator='{ALICE}' responder='{BOB_HERE}'><content creator='initiator' name='a'>"
    "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>"
    "<candidate ip='192.0.2.1' port='9' component='1' generation='0' id='c'/>"
    "</transport></content></jingle>"
)
INFO = "<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='s1'/>"


@asynccontextmanager
async def connected(
    server: FakeServer, recorder: Recorder, callers: frozenset[str]
) -> AsyncIterator[Component]:
    settings = ComponentSettings(
        COMPONENT, SECRET, ("example.org",), port=server.port, callers=callers
    )
    component = Component(settings, recorder)
    task = asyncio.create_task(component.run())
    await until(lambda: component.up)
    yield component
    await component.stop()
    await task


@pytest.fixture
async def component(server: FakeServer, recorder: Recorder) -> AsyncIterator[Component]:
    """Users of example.org may call; what the core is asked may pass, unless a test says else."""
    async with connected(server, recorder, frozenset({"example.org"})) as made:
        recorder.on_request = lambda request: made.answer(Pass(request.token))
        yield made
    # X13: whatever happened, nothing left in the name of somebody else.
    for stanza in server.last.stanzas:
        if not stanza.tag.endswith("}handshake"):
            assert JID.of(stanza.get("from", "")).domain == COMPONENT


def iq(payload: str, type_: str = "set", sender: str = ALICE, to: str = BOB_HERE) -> str:
    return f"<iq type='{type_}' from='{sender}' to='{to}' id='i1'>{payload}</iq>"


async def sent_to(server: FakeServer, whom: str, count: int = 1) -> ET.Element:
    """The newest stanza for somebody, once there are so many."""

    def found() -> list[ET.Element]:
        return [s for s in server.last.stanzas if s.get("to") == whom]

    await until(lambda: len(found()) >= count)
    return found()[count - 1]


def names(stanza: ET.Element) -> tuple[str | None, str | None]:
    return stanza.get("from"), stanza.get("to")


def conditions(stanza: ET.Element) -> set[str]:
    return {e.tag.rpartition("}")[2] for e in stanza.iter()}


async def test_an_offer_goes_on_under_other_names_and_is_answered_once(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    audio = ContentKey(Creator.INITIATOR, "a")
    relay = Candidate(1, 0, TransportAddress(literal("203.0.113.9"), 30000), "hnt1", None)
    recorder.on_request = lambda request: component.answer(
        Replace(request.token, {audio: (relay,)} if request.jingle.contents else {})
    )
    server.last.send(iq(OFFER))
    offer = await sent_to(server, BOB)
    (request,) = recorder.requests
    assert (str(request.sender), str(request.recipient)) == (ALICE, BOB)
    assert (str(request.jingle.initiator), str(request.jingle.responder)) == (ALICE, BOB)
    assert request.via == COMPONENT
    assert names(offer) == (ALICE_THERE, BOB)
    jingle = offer.find(JINGLE)
    assert jingle is not None
    assert (jingle.get("initiator"), jingle.get("responder")) == (ALICE_THERE, BOB)
    assert [c.get("ip") for c in jingle.iter() if c.tag.endswith("}candidate")] == ["203.0.113.9"]
    assert offer.get("id") != "i1"

    answer = f"<iq type='result' from='{BOB}' to='{ALICE_THERE}' id='{offer.get('id')}'/>"
    server.last.send(answer * 2 + iq(INFO))
    ack = await sent_to(server, ALICE)
    assert names(ack) == (BOB_HERE, ALICE)
    assert (ack.get("id"), ack.get("type")) == ("i1", "result")
    await sent_to(server, BOB, 2)
    assert len([s for s in server.last.stanzas if s.get("to") == ALICE]) == 1


async def test_the_called_answers_the_same_way(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    accept = (
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='s1'"
        f" initiator='{ALICE_THERE}' responder='{BOB}'/>"
    )
    server.last.send(iq(accept, sender=BOB, to=ALICE_THERE))
    stanza = await sent_to(server, ALICE)
    assert names(stanza) == (BOB_HERE, ALICE)
    jingle = stanza.find(JINGLE)
    assert jingle is not None
    assert (jingle.get("initiator"), jingle.get("responder")) == (ALICE, BOB_HERE)
    assert str(recorder.requests[0].jingle.responder) == BOB


@pytest.mark.parametrize("namespace", ["jabber:component:accept", "jabber:client"])
async def test_an_error_goes_back_and_is_told(
    server: FakeServer, recorder: Recorder, component: Component, namespace: str
) -> None:
    server.last.send(iq(INFO))
    info = await sent_to(server, BOB)
    error = f"<error xmlns='{namespace}' type='cancel'>{NOT_FOUND}{UNKNOWN}</error>"
    forged = error.replace("item-not-found", "gone")
    for sender in ("bob@elsewhere.example/tablet", "bob@elsewhere.example", COMPONENT, BOB):
        server.last.send(
            f"<iq type='error' from='{sender}' to='{ALICE_THERE}' id='{info.get('id')}'>"
            f"{INFO}{error if sender == BOB else forged}</iq>"
        )
    back = await sent_to(server, ALICE)
    assert names(back) == (BOB_HERE, ALICE)
    assert [child.tag for child in back] == ["{jabber:component:accept}error"]
    assert {"item-not-found", "unknown-session"} <= conditions(back)
    who = JID.of(ALICE), JID.of(BOB)
    refusal = Refusal(*who, "s1", Action.SESSION_INFO, unknown_session=True, id="i1")
    assert recorder.refusals == [refusal]


async def test_what_is_refused_by_the_core_goes_nowhere(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    error = StanzaError(Condition.RESOURCE_CONSTRAINT, "wait", "later")
    recorder.on_request = lambda request: component.answer(Bounce(request.token, error))
    server.last.send(iq(OFFER))
    back = await sent_to(server, ALICE)
    assert names(back) == (BOB_HERE, ALICE)
    assert "resource-constraint" in conditions(back)
    assert not [s for s in server.last.stanzas if s.get("to") == BOB]


async def test_who_does_not_answer_is_an_error_in_the_end(
    server: FakeServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_replies, "ANSWER_S", 0.05)
    async with connected(server, recorder, frozenset({"example.org"})) as component:
        recorder.on_request = lambda request: component.answer(Pass(request.token))
        server.last.send(iq(OFFER))
        assert "remote-server-timeout" in conditions(await sent_to(server, ALICE))
        assert [refusal.action for refusal in recorder.refusals] == [Action.SESSION_INITIATE]


async def test_the_peers_own_features_are_told(server: FakeServer, component: Component) -> None:
    server.last.send(iq(DISCO, "get"))
    asked = await sent_to(server, BOB)
    assert names(asked) == (ALICE_THERE, BOB)
    assert asked[0].get("node") == "caps#1"
    features = DISCO.replace("/>", "><feature var='urn:xmpp:jingle:1'/></query>")
    server.last.send(
        f"<iq type='result' from='{BOB}' to='{ALICE_THERE}' id='{asked.get('id')}'>{features}</iq>"
    )
    told = await sent_to(server, ALICE)
    assert (names(told), told.get("id")) == ((BOB_HERE, ALICE), "i1")
    assert [e.get("var") for e in told[0]] == ["urn:xmpp:jingle:1"]


async def test_proposals_reach_a_bare_address_and_nothing_else_does(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    bob_here, bob = BOB_HERE.partition("/")[0], BOB.partition("/")[0]
    server.last.send(
        f"<message from='{ALICE}' to='{bob_here}' type='chat' id='m0'><body>hello</body></message>"
        f"<message from='{ALICE}' to='{bob_here}' type='chat' id='m1'>"
        f"<propose xmlns='{MESSAGE}' id='s1'/><body>hello</body>"
        "<store xmlns='urn:xmpp:hints'/></message>"
    )
    proposal = await sent_to(server, bob)
    assert names(proposal) == (ALICE_THERE, bob)
    assert [e.tag.rpartition("}")[2] for e in proposal] == ["propose", "store"]
    server.last.send(
        f"<message from='{BOB}' to='{ALICE_THERE}' type='chat' id='m2'>"
        f"<proceed xmlns='{MESSAGE}' id='s1'/></message>"
        f"<message from='{bob}' to='{ALICE_THERE}' type='error' id='{proposal.get('id')}'>"
        f"<error type='cancel'>{NOT_FOUND}</error></message>"
        f"<message from='{ALICE}' to='{BOB_HERE}' id='m3'>"
        f"<finish xmlns='{MESSAGE}' id='s1'/></message>"
    )
    proceed = await sent_to(server, ALICE)
    assert names(proceed) == (BOB_HERE, ALICE)
    assert conditions(proceed) == {"message", "proceed"}
    failed = await sent_to(server, ALICE, 2)
    assert (failed.get("id"), failed.get("type")) == ("m1", "error")
    assert failed.get("from") == bob_here
    await sent_to(server, BOB)
    assert recorder.withdrawals == [Withdrawn(JID.of(ALICE), "s1", retract=False)]


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (iq(OFFER, sender="mallory@evil.example/x", to=BOB_HERE), "forbidden"),
        (iq(INFO, sender="mallory@evil.example/x", to=BOB_HERE), "forbidden"),
        (iq(DISCO, "get", sender="mallory@evil.example/x", to=BOB_HERE), "forbidden"),
        # Whom a user called may answer, and no more than that.
        (iq(OFFER, sender="mallory@evil.example/x", to=ALICE_THERE), "forbidden"),
        (iq(OFFER, to=rf"bob\40{COMPONENT}@{COMPONENT}/x"), "item-not-found"),
        (iq(OFFER, to=f"bob@{COMPONENT}/x"), "item-not-found"),
        (iq(OFFER, sender=ALICE_THERE), "item-not-found"),
        (iq(OFFER, to=BOB_HERE.partition("/")[0]), "service-unavailable"),
        (iq("<query xmlns='jabber:iq:version'/>", "get"), "service-unavailable"),
        (iq("<query xmlns='jabber:iq:register'/>"), "service-unavailable"),
        (iq(f"<jingle xmlns='urn:xmpp:jingle:1'>{'x' * 600_000}</jingle>"), "policy-violation"),
        (iq(""), "bad-request"),
    ],
)
async def test_what_does_not_cross(
    server: FakeServer, recorder: Recorder, component: Component, stanza: str, condition: str
) -> None:
    server.last.send(stanza)
    asked = ET.fromstring(stanza)
    back = await sent_to(server, asked.get("from", ""))
    assert names(back) == (asked.get("to"), asked.get("from"))
    assert condition in conditions(back)
    assert recorder.requests == []
    assert {s.get("to") for s in server.last.iqs()} == {asked.get("from")}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (f"bob@{COMPONENT}/desk", r"write user\40domain in front of the component's domain"),
        (BOB_HERE.partition("/")[0], "with a full JID: write the resource, or propose the call"),
    ],
)
async def test_an_offer_to_the_address_that_is_said_crosses(
    server: FakeServer, component: Component, wrong: str, says: str
) -> None:
    server.last.send(iq(OFFER, to=wrong))
    back = await sent_to(server, ALICE)
    assert says in (back.findtext(".//{*}text") or "")
    server.last.send(iq(OFFER, to=BOB_HERE))
    assert names(await sent_to(server, BOB)) == (ALICE_THERE, BOB)


async def test_who_asks_too_much_has_to_wait(
    server: FakeServer, component: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_replies, "MOST_OF_ONE", 2)
    server.last.send(iq(DISCO, "get") * 3)
    assert "resource-constraint" in conditions(await sent_to(server, ALICE))
    asked = await sent_to(server, BOB, 2)
    server.last.send(f"<iq type='result' from='{BOB}' to='{ALICE_THERE}' id='{asked.get('id')}'/>")
    await sent_to(server, ALICE, 2)
    server.last.send(iq(DISCO, "get"))
    await sent_to(server, BOB, 3)


async def test_a_call_that_we_end_ends_under_the_same_names(
    server: FakeServer, component: Component
) -> None:
    end = Jingle(Action.SESSION_TERMINATE, "s1", reason=Reason("timeout", "it rang too long"))
    assert component.inject(Inject(JID.of(BOB), JID.of(ALICE), end, COMPONENT))
    assert component.inject(Inject(JID.of(ALICE), JID.of(BOB), end, COMPONENT))
    for whom, name in ((ALICE, BOB_HERE), (BOB, ALICE_THERE)):
        stanza = await sent_to(server, whom)
        assert (stanza.get("type"), stanza.get("from")) == ("set", name)
        assert {"session-terminate"} == {j.get("action") for j in stanza.iter(JINGLE)}


async def test_what_a_module_asks_about_such_a_call_passes(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    server.last.send(
        f"<iq type='set' from='example.org' to='{COMPONENT}' id='q1'>"
        "<intercept xmlns='urn:hnt:intercept:0' timeout='3'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='set' from='{ALICE}' to='{BOB_HERE}' id='i'>{OFFER}</iq>"
        "</forwarded></intercept></iq>"
    )
    answer = await sent_to(server, "example.org")
    assert answer[0].get("action") == "pass"
    assert recorder.requests == []


async def test_it_is_shut_unless_somebody_may_call(server: FakeServer, recorder: Recorder) -> None:
    async with connected(server, recorder, frozenset()):
        server.last.send(iq(OFFER))
        assert "service-unavailable" in conditions(await sent_to(server, ALICE))
        assert recorder.requests == []
