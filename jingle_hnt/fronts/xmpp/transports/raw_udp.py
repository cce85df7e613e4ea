"""Raw UDP (XEP-0177): all candidates are replaced, where the first of them stood."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.transports.elements import (
    CANDIDATE,
    MOST_CANDIDATES,
    candidates_of,
    remove,
    written,
)
from jingle_hnt.model.content import Candidate, RawUdp, Transport

TRANSPORT = f"{{{names.RAW_UDP}}}transport"


def read(transport: Element) -> RawUdp:
    """The value of a transport (section 5.2).

    COMPAT switji-omits, ice-omits: what is missing has its default.
    """
    elements = transport.findall(CANDIDATE)
    candidates = candidates_of(elements[:MOST_CANDIDATES])
    return RawUdp(candidates, odd=len(candidates) < len(elements))


def write(transport: Transport) -> Element:
    """The element of a transport that a request of our own tells of."""
    assert isinstance(transport, RawUdp)
    element = Element(TRANSPORT)
    element.extend(list(written(transport.candidates)))
    return element


def put(transport: Element, candidates: Sequence[Candidate]) -> None:
    """Write ours in place of its own."""
    old = transport.findall(CANDIDATE)
    place = list(transport).index(old[0]) if old else 0
    for candidate in old:
        remove(transport, candidate)
    for candidate in reversed(list(written(candidates))):
        transport.insert(place, candidate)
