"""The filter protocol: what modules ask and tell, and whom they may speak for."""

import math
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.errors import Condition, ProtocolViolation, StanzaError
from jingle_hnt.fronts.xmpp.intercept import (
    Expired,
    Notice,
    address_in,
    answer_element,
    host_for,
    inject_element,
    module_query,
    module_state,
    notice,
    question,
    ring,
)
from jingle_hnt.jingle.effects import Bounce, Gone, Moved, Pass, Passed, Refusal, Replace, Withdrawn
from jingle_hnt.jingle.refusals import NO_SUCH_USER
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import Candidate, ContentKey, Creator
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.evidence import Sighting, Via
from tests.fronts.xmpp.corpus import canonical, stanza

HOST = "example.org"
ALICE = "alice@example.org/phone"
BOB = "bob@example.org/desk"
ZOE = "zoe@elsewhere.example/x"


def intercept(
    attributes: str = "", inside: str = "", from_: str = ALICE, to: str = BOB
) -> ET.Element:
    inside = inside or "<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='s'/>"
    return ET.fromstring(
        f"<intercept xmlns='urn:hnt:intercept:0' {attributes}>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='set' id='1' from='{from_}' to='{to}'>{inside}</iq>"
        "</forwarded></intercept>"
    )


def event(attributes: str) -> ET.Element:
    return ET.fromstring(f"<intercept xmlns='urn:hnt:intercept:0' {attributes}/>")


# Questions


def test_a_question_is_read() -> None:
    asked = question(
        intercept("via='c2s' timeout='2.5' from-ip='198.51.100.7' to-ip='2001:db8::9'"), HOST
    )
    assert (asked.sender, asked.recipient) == (JID.of(ALICE), JID.of(BOB))
    assert (asked.sender_ip, asked.recipient_ip) == (
        literal("198.51.100.7"),
        literal("2001:db8::9"),
    )
    assert asked.timeout_s == 2.5
    assert asked.id == "1"
    assert asked.jingle.get("sid") == "s"


def test_addresses_are_what_the_server_knows() -> None:
    asked = question(intercept("from-ip='unix' to-ip='fe80::1%eth0'"), HOST)
    assert (asked.sender_ip, asked.recipient_ip) == (None, None)


@pytest.mark.parametrize(
    ("attributes", "ip", "seen"),
    [
        ("from-ip='198.51.100.7' from-via='tcp'", "198.51.100.7", []),
        (
            "from-ip='2001:db8::9' from-ip4='198.51.100.7' from-ip4-age='90'",
            "2001:db8::9",
            [("198.51.100.7", Via.EARLIER, 90.0)],
        ),
        ("from-ip='198.51.100.7' from-via='bosh'", None, [("198.51.100.7", Via.BOSH, 0.0)]),
        ("from-ip='198.51.100.7' from-via='carrier'", None, [("198.51.100.7", Via.EARLIER, 0.0)]),
        (
            "from-ip='198.51.100.7' from-via='hibernating' from-age='30' from-ip4='198.51.100.8'",
            None,
            [("198.51.100.7", Via.HIBERNATING, 30.0), ("198.51.100.8", Via.EARLIER, 0.0)],
        ),
        ("from-ip='198.51.100.7' from-age='-1'", None, [("198.51.100.7", Via.TCP, math.inf)]),
        ("from-ip='198.51.100.7' from-age='x'", None, [("198.51.100.7", Via.TCP, math.inf)]),
    ],
)
def test_an_address_comes_with_its_kind_and_its_age(
    attributes: str, ip: str | None, seen: list[tuple[str, Via, float]]
) -> None:
    asked = question(intercept(attributes), HOST)
    assert asked.sender_ip == (None if ip is None else literal(ip))
    assert asked.sender_seen == tuple(Sighting(literal(t), via, age) for t, via, age in seen)
    assert (asked.recipient_ip, asked.recipient_seen) == (None, ())


@pytest.mark.parametrize(
    ("text", "timeout_s"),
    [("", 3.0), ("x", 3.0), ("nan", 3.0), ("-1", 3.0), ("0", 3.0), ("inf", 3.0), ("1e9", 60.0)],
)
def test_a_timeout_that_makes_no_sense(text: str, timeout_s: float) -> None:
    assert question(intercept(f"timeout='{text}'"), HOST).timeout_s == timeout_s


@pytest.mark.parametrize(("from_", "to"), [(ALICE, ZOE), (ZOE, ALICE)])
def test_one_party_of_the_host_is_enough(from_: str, to: str) -> None:
    assert str(question(intercept(from_=from_, to=to), HOST).sender) == from_


@pytest.mark.parametrize(
    ("from_", "to", "text"),
    [
        (ZOE, "eve@other.example/y", "no party is of example.org"),
        (f"eve@sub.{HOST}/y", ZOE, "no party is of example.org"),
        ("alice@example.org", BOB, "'from' is 'alice@example.org', which is no full JID"),
        (ALICE, "example.org", "'to' is 'example.org', which is no full JID"),
        ("", BOB, "'from' is ''"),
        ("@/", BOB, "'from' is '@/'"),
    ],
)
def test_a_module_speaks_for_its_own_users_only(from_: str, to: str, text: str) -> None:
    with pytest.raises(ProtocolViolation, match=text.replace(".", r"\.")):
        question(intercept(from_=from_, to=to), HOST)


@pytest.mark.parametrize(
    "element",
    [
        event(""),
        ET.fromstring(
            "<intercept xmlns='urn:hnt:intercept:0'>"
            "<forwarded xmlns='urn:xmpp:forward:0'/></intercept>"
        ),
        intercept(inside="<query xmlns='urn:x'/>"),
    ],
)
def test_a_question_about_nothing(element: ET.Element) -> None:
    with pytest.raises(ProtocolViolation):
        question(element, HOST)


def test_of_a_pruned_question_the_envelope_is_enough() -> None:
    asked = question(intercept(inside="<query xmlns='urn:x'/>"), HOST, pruned=True)
    assert str(asked.recipient) == BOB


# Events


ERROR = (
    "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{}</error>"
)
UNKNOWN = "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/>"


@pytest.mark.parametrize(("extra", "unknown"), [("", False), (UNKNOWN, True)])
def test_a_refusal(extra: str, unknown: bool) -> None:
    element = intercept(
        "event='error' sid='s' action='session-accept'", ERROR.format(extra), from_=BOB, to=ALICE
    )
    assert notice(element, HOST) == Refusal(
        sender=JID.of(ALICE),
        recipient=JID.of(BOB),
        sid="s",
        action=Action.SESSION_ACCEPT,
        unknown_session=unknown,
        id="1",
    )


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (
            f"event='address' jid='{ALICE}' ip='203.0.113.5'",
            Moved(JID.of(ALICE), literal("203.0.113.5")),
        ),
        (
            f"event='address' jid='{ALICE}' ip='203.0.113.5' via='bosh' ip6='2001:db8::9'",
            Moved(
                JID.of(ALICE),
                None,
                (
                    Sighting(literal("203.0.113.5"), Via.BOSH),
                    Sighting(literal("2001:db8::9"), Via.EARLIER),
                ),
            ),
        ),
        (f"event='gone' jid='{ALICE}'", Gone(JID.of(ALICE))),
        (
            f"event='message' action='finish' jid='{ALICE}' sid='s'",
            Withdrawn(JID.of(ALICE), "s"),
        ),
        (
            f"event='message' action='retract' jid='{ALICE}' sid='s'",
            Withdrawn(JID.of(ALICE), "s", retract=True),
        ),
        ("event='expired' id='q' outcome='passed'", Expired(HOST, "q", True)),
        ("event='expired' id='q' outcome='refused'", Expired(HOST, "q", False)),
        ("event='of tomorrow'", None),
        ("", None),
    ],
)
def test_other_events(attributes: str, told: Notice | None) -> None:
    assert notice(event(attributes), HOST) == told


JINGLE_XML = "<jingle xmlns='urn:xmpp:jingle:1' action='{}' sid='{}'>{}</jingle>"


@pytest.mark.parametrize(
    ("attributes", "age_s", "missed"),
    [("age='2.5' missed='7'", 2.5, 7), ("age='-1' missed='-1'", 0, 0), ("age='nan'", 0, 0)],
)
def test_a_request_that_went_on_unasked(attributes: str, age_s: float, missed: int) -> None:
    payload = JINGLE_XML.format("session-terminate", "s", "")
    told = notice(intercept(f"event='passed' {attributes}", payload), HOST)
    assert isinstance(told, Passed)
    assert (told.sid, told.action) == ("s", Action.SESSION_TERMINATE)
    assert (told.age_s, told.missed) == (age_s, missed)
    assert told.jingle is not None


def test_a_request_that_went_on_is_told_whatever_is_in_it() -> None:
    payload = JINGLE_XML.format("session-initiate", "s", "<content/>")
    told = notice(intercept("event='passed'", payload), HOST)
    assert isinstance(told, Passed)
    assert told.action is Action.SESSION_INITIATE
    assert told.jingle is not None
    assert told.jingle.contents[0].key.name == ""


@pytest.mark.parametrize(
    "element",
    [
        event("event='passed'"),
        intercept("event='passed'", inside=JINGLE_XML.format("strange", "s", "")),
        intercept("event='passed'", inside=JINGLE_XML.format("session-info", "", "")),
        intercept("event='passed'", inside="<query xmlns='urn:x'/>"),
        event("event='error' sid='s' action='session-accept'"),
        intercept("event='error' action='session-accept'"),
        intercept("event='error' sid='s' action='strange'"),
        intercept("event='error' sid='s' action='session-accept'", from_=ZOE, to="e@o.example/y"),
        event(f"event='address' jid='{ZOE}' ip='203.0.113.5'"),
        event(f"event='address' jid='{ALICE}' ip='x'"),
        event(f"event='address' jid='{ALICE}'"),
        event("event='gone' jid='alice@example.org'"),
        event(f"event='gone' jid='{ZOE}'"),
        event("event='gone'"),
    ],
)
def test_events_that_are_not_believed(element: ET.Element) -> None:
    with pytest.raises(ProtocolViolation):
        notice(element, HOST)


# Rings


def rings(inside: str, attributes: str = "", from_: str = ZOE) -> ET.Element:
    bare = BOB.partition("/")[0]
    return ET.fromstring(
        f"<intercept xmlns='urn:hnt:intercept:0' {attributes}>"
        "<forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{from_}' to='{bare}'>{inside}</message>"
        "</forwarded></intercept>"
    )


PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='{}'/>"
INVITE = "<invite xmlns='urn:xmpp:call-invites:0' id='i'/>"


@pytest.mark.parametrize(
    ("attributes", "contact"),
    [
        ("to-contact='both'", True),
        ("to-contact='from'", True),
        ("to-contact='to' from-contact='none'", True),
        ("to-contact='none' from-contact='both'", False),
        ("from-contact='both'", True),
        ("to-contact='whatever'", None),
        ("", None),
    ],
)
def test_a_ring_is_read_with_what_rosters_say(attributes: str, contact: bool | None) -> None:
    asked = ring(rings(PROPOSE.format("s1"), f"timeout='2' {attributes}"), HOST)
    assert asked is not None
    assert (str(asked.sender), str(asked.recipient)) == (ZOE, "bob@example.org")
    assert (asked.sid, asked.contact, asked.timeout_s) == ("s1", contact, 2.0)
    offer = question(intercept(attributes), HOST)
    assert offer.contact is contact


def test_an_invitation_rings_and_a_request_does_not() -> None:
    asked = ring(rings(INVITE, from_="elsewhere.example"), HOST)
    assert asked is not None
    assert asked.sid == "i"
    assert ring(intercept(), HOST) is None


def test_a_long_id_is_no_name() -> None:
    asked = ring(rings(PROPOSE.format("x" * 5000)), HOST)
    assert asked is not None
    assert asked.sid == ""


@pytest.mark.parametrize(
    ("element", "host"),
    [
        (rings("<body>hello</body>"), HOST),
        (rings(PROPOSE.format("s")), "third.example"),
        (rings(PROPOSE.format("s"), from_=""), HOST),
    ],
)
def test_rings_that_are_not_believed(element: ET.Element, host: str) -> None:
    with pytest.raises(ProtocolViolation):
        ring(element, host)


def test_a_module_is_told_whether_to_ask_about_rings() -> None:
    assert module_query("i", "n", rings=True).get("rings") == "1"
    assert module_query("i", "n").get("rings") is None


# Answers


def test_who_is_refused_as_by_an_unknown_user_is_so_by_an_older_module_too() -> None:
    bounce = answer_element(Bounce(1, NO_SUCH_USER), ET.fromstring(INVITE))
    assert bounce.attrib == {"action": "bounce", "as": "unknown-user"}
    [error] = bounce
    assert (error.get("type"), [child.text for child in error]) == ("cancel", [None])


def test_the_short_answers() -> None:
    jingle = stanza("libpurple-initiate")
    assert answer_element(Pass(1), jingle).attrib == {"action": "pass"}
    bounce = answer_element(Bounce(1, StanzaError(Condition.CONFLICT, "cancel", "no")), jingle)
    assert bounce.get("action") == "bounce"
    [error] = bounce
    assert error.get("type") == "cancel"
    assert error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}conflict") is not None


def test_a_replacement_carries_the_changed_payload() -> None:
    key = ContentKey(Creator.INITIATOR, "audio-session")
    ours = Candidate(1, 0, TransportAddress.of("203.0.113.9", 30000), "r1")
    answer = answer_element(Replace(1, {key: (ours,)}), stanza("libpurple-initiate"))
    path = "{urn:xmpp:forward:0}forwarded/{jabber:client}iq/{urn:xmpp:jingle:1}jingle"
    jingle = answer.find(path)
    assert jingle is not None
    assert [c.get("ip") for c in jingle.iter() if c.get("ip")] == ["203.0.113.9"]


def test_an_injection_names_both_parties() -> None:
    jingle = stanza("libpurple-terminate")
    element = inject_element(JID.of(BOB), JID.of(ALICE), "i1", jingle)
    iq = element.find("{urn:xmpp:forward:0}forwarded/{jabber:client}iq")
    assert iq is not None
    assert iq.attrib == {"type": "set", "from": BOB, "to": ALICE, "id": "i1"}
    assert canonical(iq[0]) == canonical(jingle)


def test_whose_module_speaks_for_a_pair() -> None:
    alice, zoe = JID.of(ALICE), JID.of(ZOE)
    assert host_for(alice, zoe, [HOST]) == HOST
    assert host_for(zoe, alice, [HOST]) == HOST
    assert host_for(alice, zoe, [HOST, zoe.domain]) == zoe.domain
    assert host_for(zoe, zoe, [HOST]) is None


def test_an_address_in_an_answer() -> None:
    iq = ET.fromstring("<iq><address xmlns='urn:hnt:intercept:0' ip='198.51.100.7'/></iq>")
    assert address_in(iq) == literal("198.51.100.7")
    assert address_in(ET.fromstring("<iq type='error'/>")) is None


@pytest.mark.parametrize("kind", ["via='bosh'", "via='hibernating'", "age='60'"])
def test_an_address_that_may_be_stale_is_none(kind: str) -> None:
    told = f"<address xmlns='urn:hnt:intercept:0' ip='198.51.100.7' {kind}/>"
    assert address_in(ET.fromstring(f"<iq>{told}</iq>")) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "does not answer: is it a virtual host"),
        ("<iq type='result'><module xmlns='urn:hnt:intercept:0' version='0'/></iq>", ""),
        ("<iq type='error'><error><forbidden/></error></iq>", 'jingle_hnt_component = "hnt.x"'),
        ("<iq type='error'><error><service-unavailable/></error></iq>", "modules_enabled"),
        ("<iq type='result'/>", "modules_enabled"),
        ("<iq type='error'><error><item-not-found/></error></iq>", "component: hnt.x"),
        (
            "<iq type='result'><module xmlns='urn:hnt:intercept:0' without='a@b'/></iq>",
            "does not answer on a@b, or",
        ),
        (
            "<iq type='result'><module xmlns='urn:hnt:intercept:0' without='a b c d e'/></iq>",
            "does not answer on a, b, c and 2 more, or",
        ),
    ],
)
def test_what_is_wrong_with_a_module(answer: str | None, text: str) -> None:
    element = None if answer is None else ET.fromstring(answer)
    fault = module_state(element, HOST, "hnt.x").fault
    assert text in fault
    assert bool(fault) == bool(text)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("server='prosody' conflict='kick_old'", ""),
        ("server='ejabberd' routes='1'", ""),
        ("", ""),  # a module of before
        ("server='prosody' conflict='kick_new'", 'component_conflict_resolve = "kick_old"'),
        ("server='ejabberd' routes='2'", "second jingle-hnt"),
    ],
)
def test_what_will_go_wrong_when_a_connection_breaks(told: str, text: str) -> None:
    module = f"<module xmlns='urn:hnt:intercept:0' version='0' {told}/>"
    state = module_state(ET.fromstring(f"<iq type='result'>{module}</iq>"), HOST, "hnt.x")
    assert not state.fault
    assert text in state.caution
    assert bool(state.caution) == bool(text)
    assert state.server in told
