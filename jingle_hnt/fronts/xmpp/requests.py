"""Writes the elements that we make ourselves: Jingle requests and stanza errors."""

from xml.etree.ElementTree import Element, SubElement

from jingle_hnt.errors import StanzaError
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import JINGLE
from jingle_hnt.fronts.xmpp.transports.table import codec_of
from jingle_hnt.model.content import Content
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def build(jingle: Jingle) -> Element:
    """The element for a request of our own (XEP-0166 section 7).

    Of an ICE transport all candidates are ours, to be added to those of its party. Raises
    ValueError where the value stands for something that we cannot write: an RTP description or the
    inside of another transport.
    """
    if jingle.action is None:
        raise ValueError("a request of our own has an action that we know")
    element = Element(JINGLE, {"action": jingle.action, "sid": jingle.sid})
    for attribute, jid in (("initiator", jingle.initiator), ("responder", jingle.responder)):
        if jid is not None:
            element.set(attribute, str(jid))
    element.extend([_content(content) for content in jingle.contents])
    if jingle.reason is not None:
        element.append(_reason(jingle.reason))
    if jingle.info is not None:
        SubElement(element, f"{{{names.RTP_INFO}}}{jingle.info}")
    return element


def build_terminate(sid: str, reason: Reason, initiator: JID | None = None) -> Element:
    """A session-terminate with its reason (XEP-0166 section 6.7)."""
    return build(Jingle(Action.SESSION_TERMINATE, sid, initiator=initiator, reason=reason))


def _reason(reason: Reason) -> Element:
    element = Element(f"{{{names.JINGLE}}}reason")
    SubElement(element, f"{{{names.JINGLE}}}{reason.condition}")
    if reason.text:
        SubElement(element, f"{{{names.JINGLE}}}text").text = reason.text
    return element


def _content(content: Content) -> Element:
    if content.media is not None:
        raise ValueError(f"content {content.key}: only the parties can describe their media")
    key = {"creator": content.key.creator, "name": content.key.name}
    element = Element(f"{{{names.JINGLE}}}content", key)
    if content.senders is not None:
        element.set("senders", content.senders)
    if content.transport is not None:
        codec = codec_of(content.transport.namespace)
        if codec is None:
            raise ValueError(f"content {content.key}: {content.transport.namespace} is not ours")
        element.append(codec.write(content.transport))
    return element


def error_element(error: StanzaError) -> Element:
    """An <error/> of the stream's own namespace (RFC 6120 section 8.3)."""
    element = stanza_error(error.condition, error.type, error.text)
    if error.jingle is not None:
        SubElement(element, f"{{{names.JINGLE_ERRORS}}}{error.jingle}")
    return element


def stanza_error(condition: str, type_: str, text: str) -> Element:
    """An <error/> of any condition, with a text in English."""
    element = Element(f"{{{names.COMPONENT}}}error", {"type": type_})
    SubElement(element, f"{{{names.STANZA_ERRORS}}}{condition}")
    if text:
        SubElement(element, f"{{{names.STANZA_ERRORS}}}text", {_LANGUAGE: "en"}).text = text
    return element
