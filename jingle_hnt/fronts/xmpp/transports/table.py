"""The codecs of the transports of each namespace."""

from collections.abc import Sequence
from typing import Protocol
from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp.transports import ice, raw_udp
from jingle_hnt.model.content import ICE, ICE_UDP, RAW_UDP, Candidate, Transport


class TransportCodec(Protocol):
    """A module that reads a <transport/> and puts the relay's candidates into it."""

    def read(self, transport: Element) -> Transport:
        """Its value. Never raises."""

    def write(self, transport: Transport) -> Element:
        """The element of a transport that a request of our own tells of."""

    def put(self, transport: Element, candidates: Sequence[Candidate]) -> None:
        """Write ours into it, and change nothing else."""


CODECS: dict[str, TransportCodec] = {
    # What a kind of `call.transports` is written like: a file and one line here.
    RAW_UDP: raw_udp,
    ICE_UDP: ice,
    ICE: ice,
}


def codec_of(namespace: str) -> TransportCodec | None:
    """Return the codec of this namespace; None if its transports pass untouched."""
    return CODECS.get(namespace)
