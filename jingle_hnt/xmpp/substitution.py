"""Puts other candidates into a <jingle/> element, and changes nothing else of it."""

import re
from collections.abc import Iterable
from copy import deepcopy
from itertools import count
from xml.etree.ElementTree import Element

from jingle_hnt.errors import MalformedJingle
from jingle_hnt.model.content import Candidate
from jingle_hnt.model.jingle import Action
from jingle_hnt.session.effects import Substitution
from jingle_hnt.xmpp.codec import CANDIDATE, TRANSPORT, contents_of, transport_of

_NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*", re.ASCII)


def substitute(element: Element, substitution: Substitution) -> Element:
    """A copy of a <jingle/> element with other raw-udp candidates in the contents named.

    All candidates of such a content are replaced, where the first of them stood; text, order,
    unknown elements and attributes stay as they came. Raises ValueError where a content that is
    named is not there or has no raw-udp transport: who asks for that has misread the stanza.
    """
    copy = deepcopy(element)
    transports = _transports(copy)
    for key, candidates in substitution.items():
        if key not in transports:
            raise ValueError(f"the stanza has no content {key} with a raw-udp transport")
        _replace(transports[key], list(written(candidates)))
    return copy


def _transports(element: Element) -> dict[object, Element]:
    try:
        found = {
            key: transport_of(content)
            for key, content in contents_of(element, Action(element.get("action", "")))
        }
    except MalformedJingle as error:
        raise ValueError(str(error)) from error
    return {k: t for k, t in found.items() if t is not None and t.tag == TRANSPORT}


def _replace(transport: Element, candidates: list[Element]) -> None:
    old = transport.findall(CANDIDATE)
    place = list(transport).index(old[0]) if old else 0
    for candidate in old:
        _remove(transport, candidate)
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
