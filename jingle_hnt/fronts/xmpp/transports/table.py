"""What reads and writes the transports of each namespace."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Protocol
from xml.etree.ElementTree import Element

from jingle_hnt.call.transports.table import TRANSPORTS
from jingle_hnt.fronts.xmpp.transports import ice, raw_udp
from jingle_hnt.model.content import ICE, ICE_UDP, RAW_UDP, Candidate, Transport


class TransportCodec(Protocol):
    """A module that reads a <transport/> and puts the relay's candidates into it."""

    def read(self, transport: Element) -> Transport:
        """Its value. Never raises."""

    def put(self, transport: Element, candidates: Sequence[Candidate]) -> None:
        """Write ours into it, and change nothing else."""


CODECS: dict[str, TransportCodec] = {RAW_UDP: raw_udp, ICE_UDP: ice, ICE: ice}


@cache
def codec_of(namespace: str) -> TransportCodec | None:
    """What reads transports of this namespace; None where they pass untouched.

    A kind of transport that `call.transports.table` names, and that is none of the above, has its
    codec in a file of the same name here.
    """
    if namespace in CODECS or namespace not in TRANSPORTS:
        return CODECS.get(namespace)
    file = TRANSPORTS[namespace][0].partition(":")[0].rpartition(".")[2]
    return import_module(f"{__package__}.{file}")
