"""Puts other candidates or transports into a <jingle/> element, and changes nothing else of it."""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from itertools import count
from xml.etree.ElementTree import Element

from jingle_hnt.call.effects import NONE_OWN, OwnTransports, Substitution
from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import (
    CANDIDATE,
    ICE_TRANSPORTS,
    TRANSPORT,
    contents_of,
    transport_of,
)
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.model.content import Candidate, ContentKey, OwnTransport

_CREDENTIALS = frozenset({"ufrag", "pwd"})
_OF_ICE = frozenset({*_CREDENTIALS, "ice2"})
"""Attributes of an ICE transport that another kind does not have."""

_OF_AGENT = frozenset({"candidate", "remote-candidate"})
_RENOMINATION = f"{{{names.ICE_OPTION}}}renomination"

HOST_PREFERENCE = (126 << 24) + (65535 << 8)
"""Of a host candidate on the only address there is (RFC 8445 section 5.1.2)."""

_HIDDEN = {4: "0.0.0.0", 6: "::"}
"""A related address that is not told, by IP version; its port is 9 (RFC 8839 section 5.1)."""

_NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*", re.ASCII)


def substitute(
    element: Element, substitution: Substitution, own: OwnTransports = NONE_OWN
) -> Element:
    """A copy of a <jingle/> element with other candidates in the contents named.

    All raw-udp candidates of such a content are replaced, where the first of them stood; of ICE all
    stay, and the others come behind them; what is named in `own` gets that transport. Text, order,
    unknown elements and attributes stay as they came. Raises ValueError where a content that is
    named is not there or has neither transport: who asks for that has misread the stanza.
    """
    copy = deepcopy(element)
    transports = _transports(copy)
    for key, candidates in substitution.items():
        transport = _named(transports, key)
        if transport.tag == TRANSPORT:
            _replace(transport, list(written(candidates)))
        else:
            _append(transport, list(written_for_ice(candidates, transport)))
    for key, ours in own.items():
        _terminate(_named(transports, key), ours)
    return copy


def _named(transports: dict[ContentKey, Element], key: ContentKey) -> Element:
    if key not in transports:
        raise ValueError(f"the stanza has no content {key} with such a transport")
    return transports[key]


def _transports(element: Element) -> dict[ContentKey, Element]:
    found = {key: transport_of(content) for key, content in contents_of(element)}
    known = (TRANSPORT, *ICE_TRANSPORTS)
    return {k: t for k, t in found.items() if t is not None and t.tag in known}


def _terminate(transport: Element, ours: OwnTransport) -> None:
    """Our word in place of a party's; fingerprints and whatever else is no ICE stay.

    Credentials are written where the party wrote some: it may trickle candidates without them.
    """
    had_credentials = transport.tag == TRANSPORT or _CREDENTIALS & set(transport.keys())
    gone = [child for child in transport if _is_of_agent(child, transport, ours)]
    place = list(transport).index(gone[0]) if gone else 0
    for child in gone:
        _remove(transport, child)
    if not ours.namespace:
        for name in _OF_ICE & set(transport.keys()):
            del transport.attrib[name]
    elif had_credentials:
        transport.set("ufrag", ours.ufrag)
        transport.set("pwd", ours.pwd)
    transport.tag = f"{{{ours.namespace or names.RAW_UDP}}}transport"
    for candidate in reversed(list(_written_for(ours))):
        transport.insert(place, candidate)


def _is_of_agent(child: Element, transport: Element, ours: OwnTransport) -> bool:
    """Whether it holds for its sender's agent only, or is not known in the other transport.

    What that agent can do beyond RFC 8445 is not said of ours.
    """
    if child.tag == _RENOMINATION:
        return True
    if not ours.namespace:
        return namespace(child) in (namespace(transport), names.ICE_OPTION)
    return namespace(child) == namespace(transport) and local_name(child) in _OF_AGENT


def _written_for(ours: OwnTransport) -> Iterable[Element]:
    if not ours.namespace:
        return written(ours.candidates)
    return _written_as_hosts(ours)


def _replace(transport: Element, candidates: list[Element]) -> None:
    old = transport.findall(CANDIDATE)
    place = list(transport).index(old[0]) if old else 0
    for candidate in old:
        _remove(transport, candidate)
    for candidate in reversed(candidates):
        transport.insert(place, candidate)


def _append(transport: Element, candidates: list[Element]) -> None:
    """Behind the last candidate, and behind the text that follows it."""
    kind = _candidate_tag(transport)
    places = [n for n, child in enumerate(transport, start=1) if child.tag == kind]
    place = places[-1] if places else 0
    for candidate in reversed(candidates):
        transport.insert(place, candidate)


def _remove(parent: Element, child: Element) -> None:
    """Take a child away and leave the text that followed it."""
    before = list(parent).index(child) - 1
    if before >= 0:
        parent[before].tail = (parent[before].tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")
    parent.remove(child)


def written(candidates: Iterable[Candidate]) -> Iterable[Element]:
    """Candidates as XEP-0177 section 5.2 has them, with ids that are NCNames and distinct.

    Nothing else is written: libpurple and Yate skip a candidate that lacks any of these, and no
    client needs more.
    """
    used: set[str] = set()
    for candidate in candidates:
        own = candidate.id
        if own in used or not _NCNAME.fullmatch(own):
            own = next(name for n in count(1) if (name := f"hnt{n}") not in used)
        used.add(own)
        yield _candidate(candidate, own)


def written_for_ice(candidates: Iterable[Candidate], transport: Element) -> Iterable[Element]:
    """Candidates as XEP-0176 section 5.3 has them, to stand beside those of a transport.

    Theirs is the lowest priority there is (RFC 8445 section 5.1.2.1, all preferences 0), so that
    whatever else connects is preferred. Their foundation is none that the transport uses, and a
    number up to 255, which is all that older clients read. A relay candidate must name a related
    address (RFC 8839 section 5.1: Firefox drops one that does not); ours says that it is hidden.
    """
    kind = _candidate_tag(transport)
    theirs = transport.findall(kind)
    taken = {candidate.get("foundation", "") for candidate in theirs}
    foundation = next(text for n in count(255, -1) if (text := str(n)) not in taken)
    for candidate, element in zip(candidates, written(candidates), strict=True):
        element.tag = kind
        element.set("foundation", foundation)
        element.set("network", "0")
        element.set("priority", str(256 - candidate.component))
        element.set("protocol", "udp")
        element.set("rel-addr", _HIDDEN[candidate.address.ip.version])
        element.set("rel-port", "9")
        yield element


def _written_as_hosts(ours: OwnTransport) -> Iterator[Element]:
    """Candidates of an agent that has no others: the relay is no relay to its peer then."""
    for candidate, element in zip(ours.candidates, written(ours.candidates), strict=True):
        element.tag = f"{{{ours.namespace}}}candidate"
        element.set("foundation", "1")
        element.set("network", "0")
        element.set("priority", str(HOST_PREFERENCE + 256 - candidate.component))
        element.set("protocol", "udp")
        element.set("type", "host")
        yield element


def _candidate_tag(transport: Element) -> str:
    return transport.tag.removesuffix("transport") + "candidate"


def _candidate(candidate: Candidate, own: str) -> Element:
    return Element(
        CANDIDATE,
        {
            "component": str(candidate.component),
            "generation": str(candidate.generation),
            "id": own,
            "ip": str(candidate.address.ip),
            "port": str(candidate.address.port),
            "type": "relay",
        },
    )
