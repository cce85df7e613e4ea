"""Answers that a component owes anybody: identity, features, version and ping.

XEP-0030 (with XEP-0128 and the contacts of XEP-0157), XEP-0092, XEP-0199, XEP-0012.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.fronts.xmpp.requests import stanza_error

NAME = "jingle-hnt"
FEATURES = (
    names.DISCO_INFO,
    names.DISCO_ITEMS,
    names.LAST_ACTIVITY,
    names.PING,
    names.VERSION,
)
"""No Jingle transport is among them: calls go through us, never to us."""

_SERVER_INFO = "http://jabber.org/network/serverinfo"


@dataclass(frozen=True, slots=True)
class About:
    """The component's name and version.

    `contacts` holds form fields of XEP-0157, such as ``support-addresses``, with their URIs;
    `features` are those that not every installation has.
    """

    version: str
    started_at: float
    contacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    features: tuple[str, ...] = ()


def answer(query: Element, about: About, now: float) -> Element | None:
    """The payload that answers the payload of an IQ-get; an <error/> where there is none to give.

    None is the empty answer to a ping.
    """
    match namespace(query), local_name(query):
        case ((names.DISCO_INFO | names.DISCO_ITEMS), "query") if query.get("node") is not None:
            return stanza_error("item-not-found", "cancel", "there is no such node here")
        case names.DISCO_INFO, "query":
            return _info(about)
        case names.DISCO_ITEMS, "query":
            return Element(query.tag)
        case names.VERSION, "query":
            return _version(about)
        case names.LAST_ACTIVITY, "query":
            return Element(query.tag, {"seconds": str(int(now - about.started_at))})
        case names.PING, "ping":
            return None
    return unavailable()


def unavailable() -> Element:
    """The answer to everything that we do not do."""
    return stanza_error("service-unavailable", "cancel", "")


def _info(about: About) -> Element:
    info = Element(f"{{{names.DISCO_INFO}}}query")
    identity = {"category": "proxy", "type": "relay", "name": NAME}
    SubElement(info, f"{{{names.DISCO_INFO}}}identity", identity)
    for feature in (*FEATURES, *about.features):
        SubElement(info, f"{{{names.DISCO_INFO}}}feature", {"var": feature})
    if about.contacts:
        info.append(_contact_form(about.contacts))
    return info


def _contact_form(contacts: Mapping[str, tuple[str, ...]]) -> Element:
    form = Element(f"{{{names.DATA_FORMS}}}x", {"type": "result"})
    _field(form, {"var": "FORM_TYPE", "type": "hidden"}, (_SERVER_INFO,))
    for name, uris in contacts.items():
        _field(form, {"var": name, "type": "list-multi"}, uris)
    return form


def _field(form: Element, attributes: dict[str, str], values: tuple[str, ...]) -> None:
    element = SubElement(form, f"{{{names.DATA_FORMS}}}field", attributes)
    for value in values:
        SubElement(element, f"{{{names.DATA_FORMS}}}value").text = value


def _version(about: About) -> Element:
    query = Element(f"{{{names.VERSION}}}query")
    SubElement(query, f"{{{names.VERSION}}}name").text = NAME
    SubElement(query, f"{{{names.VERSION}}}version").text = about.version
    return query
