"""Candidates as elements, which the kinds of transports have in common."""

import re
from collections.abc import Iterable
from enum import StrEnum
from itertools import count
from typing import TypeVar
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import Candidate, CandidateType

MOST_CANDIDATES = 64
"""Read of one transport; the others are replaced like them, or left out."""

CANDIDATE = f"{{{names.RAW_UDP}}}candidate"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
Word = TypeVar("Word", bound=StrEnum)

_NCNAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*", re.ASCII)


def candidates_of(elements: list[Element]) -> tuple[Candidate, ...]:
    """Return the readable candidates over UDP: no TCP, mDNS name, zone, or invalid port."""
    return tuple(found for each in elements if (found := _read(each)) is not None)


def _read(candidate: Element) -> Candidate | None:
    component = octet(candidate, "component", 1)
    address = _address(candidate)
    if address is None or not component or candidate.get("protocol", "udp").lower() != "udp":
        return None
    return Candidate(
        component=component,
        generation=octet(candidate, "generation", 0) or 0,
        address=address,
        id=candidate.get("id", ""),
        type=word(CandidateType, candidate.get("type")),
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


def _priority(candidate: Element) -> int:
    text = candidate.get("priority", "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def octet(candidate: Element, attribute: str, missing: int) -> int | None:
    """A number up to 255, `missing` where it is not said, None where it is something else."""
    text = candidate.get(attribute)
    if text is None:
        return missing
    return int(text) if _NUMBER.fullmatch(text) and int(text) <= 255 else None


def word(kind: type[Word], text: str | None) -> Word | None:
    """One of the words that we know; None for others."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None


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
        yield _element(candidate, own)


def remove(parent: Element, child: Element) -> None:
    """Take a child away and leave the text that followed it."""
    before = list(parent).index(child) - 1
    if before >= 0:
        parent[before].tail = (parent[before].tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")
    parent.remove(child)


def _element(candidate: Candidate, own: str) -> Element:
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
