"""Reads <jingle/> elements into values, tolerant of what real clients leave out.

What is tolerated and for whom is marked COMPAT (`model/compat.py`). Everything else that breaks
the schemas of XEP-0166 and XEP-0177 raises MalformedJingle, with a text that tells the sender what
to write.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TypeVar
from xml.etree.ElementTree import Element

from jingle_hnt.errors import MalformedJingle, OversizedJingle
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
from jingle_hnt.xmpp import names
from jingle_hnt.xmpp.names import local_name, namespace

MOST_CONTENTS = 16
MOST_CANDIDATES = 64
"""In one raw-udp transport; other transports are not looked into."""
MOST_ELEMENTS = 4096
MOST_CHARACTERS = 64 * 1024
"""Of text, names and attributes, namespaces not counted."""
DEEPEST = 32

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

UNCHECKABLE = Crypto("")
"""A way to protect media that has no <crypto/>."""

TRANSPORT = f"{{{names.RAW_UDP}}}transport"
CANDIDATE = f"{{{names.RAW_UDP}}}candidate"

_RTCP_MUX = f"{{{names.RTP}}}rtcp-mux"
ICE_TRANSPORTS = (f"{{{names.ICE_UDP}}}transport", f"{{{names.ICE}}}transport")

LONGEST_CREDENTIAL = 256
"""Of ufrag and pwd (RFC 8445 section 5.3)."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_OFFER_OR_ANSWER = (Action.SESSION_INITIATE, Action.SESSION_ACCEPT)
_Word = TypeVar("_Word", bound=StrEnum)


def parse(element: Element) -> Jingle:
    """The value of a <jingle/> element (XEP-0166 section 7).

    Raises MalformedJingle where it breaks its schema and OversizedJingle where it is larger than
    any call needs; never anything else.
    """
    if element.tag != JINGLE:
        raise MalformedJingle(f"the payload is to be <jingle xmlns='{names.JINGLE}'/>")
    check_size(element)
    action = _action(element)
    sid = element.get("sid", "")
    if not sid:
        raise MalformedJingle("<jingle/> lacks 'sid': write the session's id")
    return Jingle(
        action=action,
        sid=sid,
        initiator=_jid(element, "initiator"),
        responder=_jid(element, "responder"),
        contents=_contents(element, action),
        reason=_reason(element),
        info=_info(element, action),
    )


def check_size(element: Element) -> None:
    """Raise OversizedJingle for an element that is larger, deeper or fuller than any call needs."""
    elements = characters = 0
    waiting = [(element, 1)]
    while waiting:
        each, depth = waiting.pop()
        elements += 1
        characters += _characters(each)
        if depth > DEEPEST:
            raise OversizedJingle(f"<jingle/> may hold at most {DEEPEST} levels of elements")
        if elements > MOST_ELEMENTS:
            raise OversizedJingle(f"<jingle/> may hold at most {MOST_ELEMENTS} elements")
        if characters > MOST_CHARACTERS:
            raise OversizedJingle(f"<jingle/> may hold at most {MOST_CHARACTERS} characters")
        waiting.extend((child, depth + 1) for child in each)


def _characters(element: Element) -> int:
    attributes = sum(len(k.rpartition("}")[2]) + len(v) for k, v in element.items())
    return len(local_name(element)) + attributes + len(element.text or "") + len(element.tail or "")


def _action(element: Element) -> Action:
    text = element.get("action")
    if text is None:
        raise MalformedJingle("<jingle/> lacks 'action': write one of XEP-0166 section 7.2")
    return _word(Action, text, "action is")


def _jid(element: Element, attribute: str) -> JID | None:
    text = element.get(attribute)
    if text is None:
        return None
    try:
        return JID.of(text)
    except ValueError:
        raise MalformedJingle(
            f"{attribute} is {quoted(text)}: write an XMPP address or leave it out"
        ) from None


def _reason(element: Element) -> Reason | None:
    reason = element.find(_REASON)
    if reason is None:
        return None
    conditions = [local_name(c) for c in reason if _is_reason_condition(c)]
    text = reason.findtext(_REASON_TEXT, "")
    return Reason(conditions[0] if conditions else "", text) if conditions or text else None


def _is_reason_condition(child: Element) -> bool:
    return namespace(child) == names.JINGLE and child.tag != _REASON_TEXT


def _info(element: Element, action: Action) -> Info | None:
    """The first payload of XEP-0167 section 8 that we know; others are not ours to judge."""
    if action is not Action.SESSION_INFO:
        return None
    known = {f"{{{names.RTP_INFO}}}{info}": info for info in Info}
    return next((known[child.tag] for child in element if child.tag in known), None)


# Contents


def contents_of(element: Element, action: Action) -> Iterator[tuple[ContentKey, Element]]:
    """Each <content/> with its key. Raises MalformedJingle where a content has none."""
    for content in element.findall(_CONTENT):
        yield _key(content, action), content


def _contents(element: Element, action: Action) -> tuple[Content, ...]:
    if len(element.findall(_CONTENT)) > MOST_CONTENTS:
        raise OversizedJingle(f"<jingle/> may hold at most {MOST_CONTENTS} contents")
    contents: dict[ContentKey, Content] = {}
    for key, content in contents_of(element, action):
        if key in contents:
            raise MalformedJingle(
                f"two contents are named {quoted(key.name)} by the {key.creator}: "
                "give each a name of its own"
            )
        contents[key] = _content(key, content)
    return tuple(contents.values())


def _key(content: Element, action: Action) -> ContentKey:
    name = content.get("name", "")
    if not name:
        raise MalformedJingle("<content/> lacks 'name': write the content's name")
    creator = content.get("creator")
    if creator is None and action in _OFFER_OR_ANSWER:
        # COMPAT old-dialects-name-no-creator: in these two actions it can only be one thing.
        creator = Creator.INITIATOR
    if creator is None:
        raise MalformedJingle(
            f"content {quoted(name)} lacks 'creator': write 'initiator' or 'responder'"
        )
    return ContentKey(_word(Creator, creator, f"creator of content {quoted(name)} is"), name)


def _content(key: ContentKey, content: Element) -> Content:
    what = f"senders of content {quoted(key.name)} is"
    senders = content.get("senders")
    description = content.find(_DESCRIPTION)
    return Content(
        key=key,
        senders=None if senders is None else _word(Senders, senders, what),
        transport=_transport(key, content),
        media=None if description is None else description.get("media"),
        mux=description is not None and description.find(_RTCP_MUX) is not None,
        several=description is not None and _has_several_streams(description),
        crypto=() if description is None else tuple(_crypto(content, description)),
    )


def _has_several_streams(description: Element) -> bool:
    """Whether more than one SSRC is to be expected of a party on this content's port."""
    names = {(kind.get("name") or "").lower() for kind in description.iter(_PAYLOAD_TYPE)}
    if names & REPAIRING or description.find(_SSRC_GROUP) is not None:
        return True
    return len(description.findall(_SOURCE)) > 1


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
    """The content's transport, of whatever namespace. Raises MalformedJingle for two of them."""
    transports = [child for child in content if local_name(child) == "transport"]
    if len(transports) > 1:
        name = quoted(content.get("name", ""))
        raise MalformedJingle(f"content {name} has {len(transports)} transports: write one")
    return transports[0] if transports else None


def _transport(key: ContentKey, content: Element) -> Transport | None:
    element = transport_of(content)
    if element is None:
        return None
    if element.tag in ICE_TRANSPORTS:
        return _ice(element)
    if element.tag != TRANSPORT:
        return OtherTransport(namespace(element))
    candidates = element.findall(CANDIDATE)
    if len(candidates) > MOST_CANDIDATES:
        raise OversizedJingle(
            f"content {quoted(key.name)} may hold at most {MOST_CANDIDATES} candidates"
        )
    return RawUdp(
        tuple(_candidate(c, _where(c, n, key)) for n, c in enumerate(candidates, start=1))
    )


# Candidates of raw-udp (XEP-0177 section 5.2)


def _where(candidate: Element, number: int, key: ContentKey) -> str:
    own = candidate.get("id")
    which = f"candidate {quoted(own)}" if own else f"candidate {number}"
    return f"of {which} in content {quoted(key.name)}"


def _candidate(candidate: Element, where: str) -> Candidate:
    return Candidate(
        # COMPAT switji-omits: gabble takes a missing component as 1, and so do we.
        component=_number(candidate, "component", 1, 255, where, missing=1),
        # COMPAT ice-omits
        generation=_number(candidate, "generation", 0, 255, where, missing=0),
        address=_address(candidate, where),
        # COMPAT switji-omits, ice-omits
        id=candidate.get("id", ""),
        type=_candidate_type(candidate),
    )


def _number(
    candidate: Element,
    attribute: str,
    least: int,
    most: int,
    where: str,
    missing: int | None = None,
) -> int:
    text = candidate.get(attribute)
    if text is None and missing is not None:
        return missing
    if text is None:
        raise MalformedJingle(f"{attribute} {where} is missing: write {least} to {most}")
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise MalformedJingle(
            f"{attribute} {where} is {quoted(text)}: write a number from {least} to {most}"
        )
    return int(text)


def _address(candidate: Element, where: str) -> TransportAddress:
    port = _number(candidate, "port", 1, 65535, where)
    text = candidate.get("ip")
    if text is None:
        raise MalformedJingle(f"ip {where} is missing: write an IPv4 or IPv6 address")
    try:
        return TransportAddress(literal(text), port)
    except ValueError:
        raise MalformedJingle(
            f"ip {where} is {quoted(text)}: write an IPv4 or IPv6 address in its usual form, "
            "without a zone and no host name"
        ) from None


def _candidate_type(candidate: Element) -> CandidateType | None:
    try:
        return CandidateType(candidate.get("type", ""))
    except ValueError:
        return None


# ICE (XEP-0176, XEP-0371): what we cannot read of it is for the parties to judge


def _ice(transport: Element) -> Ice:
    ufrag, pwd = (transport.get(name, "") for name in ("ufrag", "pwd"))
    complete = all(1 <= len(text.encode()) <= LONGEST_CREDENTIAL for text in (ufrag, pwd))
    elements = transport.findall(f"{{{namespace(transport)}}}candidate")[:MOST_CANDIDATES]
    read = [candidate for each in elements if (candidate := _ice_candidate(each)) is not None]
    return Ice(
        namespace(transport),
        ufrag if complete else "",
        pwd if complete else "",
        tuple(read),
        frozenset(_octet(each, "component", 1) for each in elements),
        max((_octet(each, "generation", 0) for each in elements), default=None),
    )


def _ice_candidate(candidate: Element) -> Candidate | None:
    """None for TCP, for mDNS names and for what cannot be read."""
    if candidate.get("protocol", "udp").lower() != "udp":
        return None
    try:
        return Candidate(
            component=_octet(candidate, "component", 1),
            generation=_octet(candidate, "generation", 0),
            address=_address(candidate, ""),
            id=candidate.get("id", ""),
            type=_candidate_type(candidate),
            priority=_priority(candidate),
        )
    except MalformedJingle:
        return None


def _priority(candidate: Element) -> int:
    text = candidate.get("priority", "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def _octet(candidate: Element, attribute: str, otherwise: int) -> int:
    text = candidate.get(attribute, "")
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= 255 else otherwise


# Words


def _word(kind: type[_Word], text: str, what: str) -> _Word:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(kind)
        raise MalformedJingle(f"{what} {quoted(text)}: write one of {known}") from None


def quoted(text: str) -> str:
    """What somebody sent, fit for an error text and for a log: short, on one line, ASCII."""
    shown = ascii(text[:60])
    return shown if len(text) <= 60 and len(shown) <= 80 else f"{shown[:60]}..."
