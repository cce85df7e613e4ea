"""Reads and writes the toy transport: its address is in attributes."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from jingle_hnt.call.transports.toy import ToyTransport  # type: ignore[import-not-found]

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Transport


def read(transport: Element) -> Transport:
    """The value of a transport."""
    where = TransportAddress.of(transport.get("ip", ""), int(transport.get("port", "0")))
    found: Transport = ToyTransport("urn:toy:1", (Candidate(1, 0, where),))
    return found


def write(transport: Transport) -> Element:
    """The element of a transport of our own."""
    return Element(f"{{{transport.namespace}}}transport")


def put(transport: Element, candidates: Sequence[Candidate]) -> None:
    """Write ours in place of its own."""
    transport.set("ip", str(candidates[0].address.ip))
    transport.set("port", str(candidates[0].address.port))
