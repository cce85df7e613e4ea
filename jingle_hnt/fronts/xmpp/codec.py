"""Reads <jingle/> elements into values, as far as a middlebox has to.

Nothing is an error here. An endpoint judges what it is sent; we only read what we may have to
rewrite. What cannot be read is left out, or is what the XEPs give as its default, and the stanza
passes. `Jingle.is_whole` is False where something that was left out may hold addresses. What real
clients write and for whom that is tolerated is marked COMPAT (`model/compat.py`).
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.fronts.xmpp.transports.elements import word
from jingle_hnt.fronts.xmpp.transports.table import codec_of
from jingle_hnt.model.content import (
    Content,
    ContentKey,
    Creator,
    Crypto,
    OtherTransport,
    Senders,
    Transport,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from jingle_hnt.relay.srtp import read_keys

JINGLE = f"{{{names.JINGLE}}}jingle"
_CONTENT = f"{{{names.JINGLE}}}content"
_REASON = f"{{{names.JINGLE}}}reason"
_REASON_TEXT = f"{{{names.JINGLE}}}text"
_DESCRIPTION = f"{{{names.RTP}}}description"
_PAYLOAD_TYPE = f"{{{names.RTP}}}payload-type"
_ENCRYPTION = f"{{{names.RTP}}}encryption"
_CRYPTO = f"{{{names.RTP}}}crypto"
_FINGERPRINT = f"{{{names.DTLS}}}fingerprint"
_SOURCE = f"{{{names.SOURCES}}}source"
_SSRC_GROUP = f"{{{names.SOURCES}}}ssrc-group"

REPAIRING = frozenset({"rtx", "ulpfec", "parityfec", "flexfec", "flexfec-03"})
"""Payloads that are sent in a stream of their own beside the one that they repair."""

_SHORT_NUMBER = re.compile("[0-9]{1,3}")

UNCHECKABLE = Crypto("")
"""A way to protect media that has no <crypto/>."""

_RTCP_MUX = f"{{{names.RTP}}}rtcp-mux"
LONGEST_MEDIUM = 32
"""Characters of a medium's name that are kept: it is for people to read."""


def parse(element: Element) -> Jingle:
    """The value of a <jingle/> element (XEP-0166 section 7). Never raises."""
    contents, is_whole = _contents(element)
    action = word(Action, element.get("action"))
    return Jingle(
        action=action,
        sid=element.get("sid", ""),
        initiator=_jid(element, "initiator"),
        responder=_jid(element, "responder"),
        contents=contents,
        reason=_reason(element),
        info=_info(element, action),
        is_whole=is_whole,
    )


def _jid(element: Element, attribute: str) -> JID | None:
    try:
        return JID.of(element.get(attribute, ""))
    except ValueError:
        return None


def _reason(element: Element) -> Reason | None:
    reason = element.find(_REASON)
    if reason is None:
        return None
    conditions = [local_name(c) for c in reason if _is_reason_condition(c)]
    text = reason.findtext(_REASON_TEXT, "")
    return Reason(conditions[0] if conditions else "", text) if conditions or text else None


def _is_reason_condition(child: Element) -> bool:
    return namespace(child) == names.JINGLE and child.tag != _REASON_TEXT


def _info(element: Element, action: Action | None) -> Info | None:
    """The first payload of XEP-0167 section 8 that we know; others are not ours to judge."""
    if action is not Action.SESSION_INFO:
        return None
    known = {f"{{{names.RTP_INFO}}}{info}": info for info in Info}
    return next((known[child.tag] for child in element if child.tag in known), None)


# Contents


def contents_of(element: Element) -> Iterator[tuple[ContentKey, Element]]:
    """Each <content/> with its key, in order. A key that occurs again is not told of again."""
    seen = set()
    for content in element.findall(_CONTENT):
        key = _key(content)
        if key not in seen:
            seen.add(key)
            yield key, content


def _contents(element: Element) -> tuple[tuple[Content, ...], bool]:
    """The contents, and whether every transport that we might have to rewrite is in them."""
    named = dict(contents_of(element))
    read = set(map(id, named.values()))
    others = (content for content in element.findall(_CONTENT) if id(content) not in read)
    is_whole = not any(_has_known_transport(content) for content in others)
    is_whole &= not any(
        transport_of(content) is None and _has_known_transport(content)
        for content in named.values()
    )
    return tuple(_content(key, content) for key, content in named.items()), is_whole


def _has_known_transport(content: Element) -> bool:
    return any(is_known(child) for child in content)


def is_known(child: Element) -> bool:
    """Return whether an element is a transport that we might have to rewrite."""
    return local_name(child) == "transport" and codec_of(namespace(child)) is not None


def _key(content: Element) -> ContentKey:
    """Return the key of a content. Its creator is the initiator by default (XEP-0166, 7.3)."""
    creator = word(Creator, content.get("creator")) or Creator.INITIATOR
    return ContentKey(creator, content.get("name", ""))


def _content(key: ContentKey, content: Element) -> Content:
    description = content.find(_DESCRIPTION)
    return Content(
        key=key,
        senders=word(Senders, content.get("senders")),
        transport=_transport(content),
        media=None if description is None else description.get("media", "")[:LONGEST_MEDIUM],
        mux=description is not None and description.find(_RTCP_MUX) is not None,
        several=description is not None and _has_several_streams(description),
        events=frozenset() if description is None else frozenset(_events(description)),
        crypto=() if description is None else tuple(_crypto(content, description)),
    )


def _has_several_streams(description: Element) -> bool:
    """Return whether more than one SSRC is to be expected of a party on this content's port."""
    names = {(kind.get("name") or "").lower() for kind in description.iter(_PAYLOAD_TYPE)}
    if names & REPAIRING or description.find(_SSRC_GROUP) is not None:
        return True
    return len(description.findall(_SOURCE)) > 1


def _events(description: Element) -> Iterator[int]:
    """Payload types of key presses (RFC 4733); what is no payload type is passed over."""
    for kind in description.iterfind(_PAYLOAD_TYPE):
        number, name = kind.get("id") or "", (kind.get("name") or "").lower()
        is_number = _SHORT_NUMBER.fullmatch(number) and int(number) < 128
        if name == "telephone-event" and is_number:
            yield int(number)


def _crypto(content: Element, description: Element) -> Iterator[Crypto]:
    """Every way that the content names to protect its media; master keys go no further than here.

    DTLS and ZRTP are ways that only the parties can check, and so is what cannot be read.
    """
    if content.find(f".//{_FINGERPRINT}") is not None:
        yield UNCHECKABLE
    for way in description.iterfind(f"{_ENCRYPTION}/*"):
        if way.tag == _CRYPTO:
            suite, key_params = way.get("crypto-suite", ""), way.get("key-params", "")
            keys = read_keys(suite, key_params, way.get("session-params", ""))
            yield Crypto(way.get("tag", ""), keys)
        else:
            yield UNCHECKABLE


def transport_of(content: Element) -> Element | None:
    """The content's transport, of whatever namespace; None where it has none, or several."""
    transports = [child for child in content if local_name(child) == "transport"]
    return transports[0] if len(transports) == 1 else None


def _transport(content: Element) -> Transport | None:
    element = transport_of(content)
    if element is None:
        return None
    codec = codec_of(namespace(element))
    return OtherTransport(namespace(element)) if codec is None else codec.read(element)


def quoted(text: str) -> str:
    """Return a foreign text for an error or a log: short, on one line, ASCII."""
    shown = ascii(text[:60])
    return shown if len(text) <= 60 and len(shown) <= 80 else f"{shown[:60]}..."
