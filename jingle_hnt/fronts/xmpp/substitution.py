"""Puts other candidates or transports into a <jingle/> element, and changes nothing else of it."""

from copy import deepcopy
from xml.etree.ElementTree import Element

from jingle_hnt.call.effects import NONE_OWN, OwnTransports, Substitution
from jingle_hnt.fronts.xmpp.codec import contents_of, is_known, transport_of
from jingle_hnt.fronts.xmpp.names import namespace
from jingle_hnt.fronts.xmpp.transports.ice import put_own
from jingle_hnt.fronts.xmpp.transports.table import codec_of
from jingle_hnt.model.content import ContentKey


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
        codec = codec_of(namespace(transport))
        assert codec is not None
        codec.put(transport, candidates)
    for key, ours in own.items():
        put_own(_named(transports, key), ours)
    return copy


def _named(transports: dict[ContentKey, Element], key: ContentKey) -> Element:
    if key not in transports:
        raise ValueError(f"the stanza has no content {key} with such a transport")
    return transports[key]


def _transports(element: Element) -> dict[ContentKey, Element]:
    found = {key: transport_of(content) for key, content in contents_of(element)}
    return {k: t for k, t in found.items() if t is not None and is_known(t)}
