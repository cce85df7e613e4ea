"""A well-behaved component says who it is."""

from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp.disco import FEATURES, About, answer
from tests.fronts.xmpp.corpus import canonical

ABOUT = About(
    "1.2.3",
    started_at=100.0,
    contacts={"support-addresses": ("xmpp:a@x.example", "mailto:b@x.example")},
)


def ask(query: str, about: About = ABOUT, now: float = 160.9) -> ET.Element | None:
    return answer(ET.fromstring(query), about, now)


def test_info_names_us_what_we_do_and_whom_to_ask() -> None:
    info = ask("<query xmlns='http://jabber.org/protocol/disco#info'/>")
    assert info is not None
    assert [f.get("var") for f in info.findall("{*}feature")] == list(FEATURES)
    [identity] = info.findall("{*}identity")
    assert identity.attrib == {"category": "proxy", "type": "relay", "name": "jingle-hnt"}
    [form] = info.findall("{jabber:x:data}x")
    wanted = (
        "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>"
        "<value>http://jabber.org/network/serverinfo</value></field>"
        "<field var='support-addresses' type='list-multi'><value>xmpp:a@x.example</value>"
        "<value>mailto:b@x.example</value></field></x>"
    )
    assert canonical(form) == canonical(ET.fromstring(wanted))


def test_every_feature_is_answered() -> None:
    for feature in FEATURES:
        name = "ping" if feature == "urn:xmpp:ping" else "query"
        reply = ask(f"<{name} xmlns='{feature}'/>")
        assert reply is None or not reply.tag.endswith("error"), feature


def test_without_contacts_there_is_no_form() -> None:
    info = ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", About("1", 0))
    assert info is not None
    assert info.find("{jabber:x:data}x") is None


def test_there_are_no_items() -> None:
    items = ask("<query xmlns='http://jabber.org/protocol/disco#items'/>")
    assert items is not None
    assert len(items) == 0
    assert items.tag == "{http://jabber.org/protocol/disco#items}query"


@pytest.mark.parametrize("what", ["info", "items"])
def test_there_are_no_nodes(what: str) -> None:
    reply = ask(f"<query xmlns='http://jabber.org/protocol/disco#{what}' node='x'/>")
    assert reply is not None
    assert reply.find("{*}item-not-found") is not None


def test_version_and_uptime() -> None:
    version = ask("<query xmlns='jabber:iq:version'/>")
    assert version is not None
    assert [(c.tag.rpartition("}")[2], c.text) for c in version] == [
        ("name", "jingle-hnt"),
        ("version", "1.2.3"),
    ]
    last = ask("<query xmlns='jabber:iq:last'/>")
    assert last is not None
    assert last.attrib == {"seconds": "60"}


@pytest.mark.parametrize(
    "query",
    [
        "<query xmlns='jabber:iq:roster'/>",
        "<ping xmlns='urn:x'/>",
        "<x xmlns='urn:xmpp:ping'/>",
        "<q/>",
    ],
)
def test_all_else_is_not_available(query: str) -> None:
    reply = ask(query)
    assert reply is not None
    assert reply.get("type") == "cancel"
    assert reply.find("{*}service-unavailable") is not None
