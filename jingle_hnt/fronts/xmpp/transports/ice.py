"""ICE (XEP-0176, XEP-0371): ours stand behind a party's candidates, or in place of all of it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.names import local_name, namespace
from jingle_hnt.fronts.xmpp.transports.elements import (
    MOST_CANDIDATES,
    candidates_of,
    octet,
    remove,
    written,
)
from jingle_hnt.fronts.xmpp.transports.raw_udp import TRANSPORT
from jingle_hnt.model.content import Candidate, Ice, OwnTransport, Transport

ICE_TRANSPORTS = (f"{{{names.ICE_UDP}}}transport", f"{{{names.ICE}}}transport")

LONGEST_CREDENTIAL = 256
"""Of ufrag and pwd (RFC 8445 section 5.3)."""

_CREDENTIALS = frozenset({"ufrag", "pwd"})
_OF_ICE = frozenset({*_CREDENTIALS, "ice2"})
"""Attributes of an ICE transport that another kind does not have."""

_OF_AGENT = frozenset({"candidate", "remote-candidate"})
_RENOMINATION = f"{{{names.ICE_OPTION}}}renomination"

HOST_PREFERENCE = (126 << 24) + (65535 << 8)
"""Of a host candidate on the only address there is (RFC 8445 section 5.1.2)."""

_HIDDEN = {4: "0.0.0.0", 6: "::"}
"""A related address that is not told, by IP version; its port is 9 (RFC 8839 section 5.1)."""


def read(transport: Element) -> Ice:
    """The value of a transport, as far as a relay has to know it."""
    ufrag, pwd = (transport.get(name, "") for name in ("ufrag", "pwd"))
    complete = all(1 <= len(text.encode()) <= LONGEST_CREDENTIAL for text in (ufrag, pwd))
    elements = transport.findall(f"{{{namespace(transport)}}}candidate")[:MOST_CANDIDATES]
    components = (octet(each, "component", 1) for each in elements)
    return Ice(
        namespace(transport),
        ufrag if complete else "",
        pwd if complete else "",
        candidates_of(elements),
        frozenset(component for component in components if component is not None),
        max((octet(each, "generation", 0) or 0 for each in elements), default=None),
    )


def write(transport: Transport) -> Element:
    """The element of a transport that a request of our own tells of."""
    assert isinstance(transport, Ice)
    element = Element(f"{{{transport.namespace}}}transport")
    for name, value in (("ufrag", transport.ufrag), ("pwd", transport.pwd)):
        if value:
            element.set(name, value)
    element.extend(list(_written_beside(transport.candidates, element)))
    return element


def put(transport: Element, candidates: Sequence[Candidate]) -> None:
    """Write ours behind the last candidate, and behind the text that follows it."""
    kind = _candidate_tag(transport)
    places = [n for n, child in enumerate(transport, start=1) if child.tag == kind]
    place = places[-1] if places else 0
    for candidate in reversed(list(_written_beside(candidates, transport))):
        transport.insert(place, candidate)


def put_own(transport: Element, ours: OwnTransport) -> None:
    """Our word in place of a party's; fingerprints and whatever else is no ICE stay.

    Credentials are written where the party wrote some: it may trickle candidates without them.
    """
    had_credentials = transport.tag == TRANSPORT or _CREDENTIALS & set(transport.keys())
    gone = [child for child in transport if _is_of_agent(child, transport, ours)]
    place = list(transport).index(gone[0]) if gone else 0
    for child in gone:
        remove(transport, child)
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
    """Return whether it holds for its sender's agent only, or is not known in the other transport.

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


def _written_beside(candidates: Iterable[Candidate], transport: Element) -> Iterable[Element]:
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
