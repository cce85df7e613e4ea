"""Reads <jingle/> elements into values, as far as a middlebox has to.

Nothing is an error here. An endpoint judges what it is sent; we only read what we may have to
rewrite. What cannot be read is left out, or is what the XEPs give as its default, and the stanza
passes. `Jingle.is_whole` is False where something that was left out may hold addresses. What real
clients write and for whom that is tolerated is marked COMPAT (`model/compat.py`).
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeVar
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import (
    Candidate,
    CandidateType,
    Content,
    ContentKey,
    Creator,
    Crypto,
    Ice,
    OtherTransport,
    RawUdp,
    Senders,
    Transport,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from jingle_hnt.relay.srtp import read_keys

MOST_CANDIDATES = 64
"""Read of one transport; the others are replaced like them, or left out."""

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

TRANSPORT = f"{{{names.RAW_UDP}}}transport"
CANDIDATE = f"{{{names.RAW_UDP}}}candidate"

_RTCP_MUX = f"{{{names.RTP}}}rtcp-mux"
ICE_TRANSPORTS = (f"{{{names.ICE_UDP}}}transport", f"{{{names.ICE}}}transport")
_KNOWN_TRANSPORTS = (TRANSPORT, *ICE_TRANSPORTS)

LONGEST_MEDIUM = 32
"""Characters of a medium's name that are kept: it is for people to read."""

LONGEST_CREDENTIAL = 256
"""Of ufrag and pwd (RFC 8445 section 5.3)."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_Word = TypeVar("_Word", bound=StrEnum)


def parse(element: Element) -> Jingle:
    """The value of a <jingle/> element (XEP-0166 section 7). Never raises."""
    contents, is_whole = _contents(element)
    action = _word(Action, element.get("action"))
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
    return any(child.tag in _KNOWN_TRANSPORTS for child in content)


def _key(content: Element) -> ContentKey:
    """What names a content; its creator is the initiator where it does not say (XEP-0166, 7.3)."""
    creator = _word(Creator, content.get("creator")) or Creator.INITIATOR
    return ContentKey(creator, content.get("name", ""))


def _content(key: ContentKey, content: Element) -> Content:
    description = content.find(_DESCRIPTION)
    return Content(
        key=key,
        senders=_word(Senders, content.get("senders")),
        transport=_transport(content),
        media=None if description is None else description.get("media", "")[:LONGEST_MEDIUM],
        mux=description is not None and description.find(_RTCP_MUX) is not None,
        several=description is not None and _has_several_streams(description),
        events=frozenset() if description is None else frozenset(_events(description)),
        crypto=() if description is None else tuple(_crypto(content, description)),
    )


def _has_several_streams(description: Element) -> bool:
    """Whether more than one SSRC is to be expected of a party on this content's port."""
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
    if element.tag in ICE_TRANSPORTS:
        return _ice(element)
    if element.tag != TRANSPORT:
        return OtherTransport(namespace(element))
    # XEP-0177 section 5.2. COMPAT switji-omits, ice-omits: what is missing has its default.
    elements = element.findall(CANDIDATE)
    read = _candidates(elements[:MOST_CANDIDATES])
    return RawUdp(read, odd=len(read) < len(elements))


def _candidates(elements: list[Element]) -> tuple[Candidate, ...]:
    """Those over UDP that can be read: no TCP, mDNS names, zones, or ports that are none."""
    return tuple(found for each in elements if (found := _candidate(each)) is not None)


def _candidate(candidate: Element) -> Candidate | None:
    component = _octet(candidate, "component", 1)
    address = _address(candidate)
    if address is None or not component or candidate.get("protocol", "udp").lower() != "udp":
        return None
    return Candidate(
        component=component,
        generation=_octet(candidate, "generation", 0) or 0,
        address=address,
        id=candidate.get("id", ""),
        type=_word(CandidateType, candidate.get("type")),
        priority=_priority(candidate),
    )


def _address(candidate: Element) -> TransportAddress | None:
    port = candidate.get("port", "")
    if not _NUMBER.fullmatch(port) or not 1 <= int(port) <= 65535:
        return None
    try:
        return TransportAddress(literal(candidate.get("ip", "")), int(port))
    except ValueError:
        return None


# ICE (XEP-0176, XEP-0371)


def _ice(transport: Element) -> Ice:
    ufrag, pwd = (transport.get(name, "") for name in ("ufrag", "pwd"))
    complete = all(1 <= len(text.encode()) <= LONGEST_CREDENTIAL for text in (ufrag, pwd))
    elements = transport.findall(f"{{{namespace(transport)}}}candidate")[:MOST_CANDIDATES]
    components = (_octet(each, "component", 1) for each in elements)
    return Ice(
        namespace(transport),
        ufrag if complete else "",
        pwd if complete else "",
        _candidates(elements),
        frozenset(component for component in components if component is not None),
        max((_octet(each, "generation", 0) or 0 for each in elements), default=None),
    )


def _priority(candidate: Element) -> int:
    text = candidate.get("priority", "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def _octet(candidate: Element, attribute: str, missing: int) -> int | None:
    """A number up to 255, `missing` where it is not said, None where it is something else."""
    text = candidate.get(attribute)
    if text is None:
        return missing
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= 255 else None


# Words


def _word(kind: type[_Word], text: str | None) -> _Word | None:
    """One of the words that we know; None for others."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None


def quoted(text: str) -> str:
    """What somebody sent, fit for an error text and for a log: short, on one line, ASCII."""
    shown = ascii(text[:60])
    return shown if len(text) <= 60 and len(shown) <= 80 else f"{shown[:60]}..."
