"""Relay channels for clients that ask for them, and where to ask (XEP-0278, Jingle Nodes)."""

from xml.etree.ElementTree import Element, SubElement

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.requests import stanza_error
from jingle_hnt.jingle.effects import Opened

CHANNEL = f"{{{names.NODES_CHANNEL}}}channel"
SERVICES = f"{{{names.NODES}}}services"
FEATURES = (names.NODES, names.NODES_CHANNEL)


def services(component: str) -> Element:
    """The answer to a tracker request: ourselves, for who may use us (section 4.2)."""
    element = Element(SERVICES)
    relay = {"policy": "public", "address": component, "protocol": "udp"}
    SubElement(element, f"{{{names.NODES}}}relay", relay)
    return element


def fault(wanted: Element) -> Element | None:
    """The error for a request that asks for what we do not have; None where it is in order."""
    protocol = wanted.get("protocol", "udp")
    if protocol == "udp":
        return None
    return stanza_error(
        "feature-not-implemented", "cancel", f"there are no {protocol[:20]!r} channels: ask for udp"
    )


def channel(opened: Opened) -> Element:
    """The answer to a request for a channel (section 6.1)."""
    attributes = {
        "component": "1",
        "id": opened.id,
        "host": str(opened.local.ip),
        "localport": str(opened.local.port),
        "remoteport": str(opened.remote.port),
        "protocol": "udp",
        "expire": str(int(opened.expire_s)),
    }
    if opened.max_kbps:
        attributes["maxkbps"] = str(opened.max_kbps)
    return Element(CHANNEL, attributes)
