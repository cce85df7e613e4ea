"""Where ICE ends at the relay nothing of a party's agent is left, and everything else is."""

from copy import deepcopy
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp.codec import parse
from jingle_hnt.fronts.xmpp.names import ICE_OPTION, ICE_UDP, JINGLE, RAW_UDP, local_name
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.fronts.xmpp.transports.ice import ICE_TRANSPORTS
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, Ice, OwnTransport, RawUdp
from tests.fronts.xmpp.corpus import canonical, stanza
from tests.fronts.xmpp.test_appending import ICE_STANZAS, ice_keys, offer

PAIR = tuple(
    Candidate(c, 0, TransportAddress.of("203.0.113.9", 29999 + c), f"r{c}") for c in (1, 2)
)
NAMELESS = f"{{{JINGLE}}}transport-of-nobody"


def own(content: Content, to_raw: bool = False) -> OwnTransport:
    assert isinstance(content.transport, Ice)
    if to_raw:
        return OwnTransport(PAIR)
    return OwnTransport(PAIR, content.transport.namespace, "our-ufrag", "our-pwd")


def terminated(element: ET.Element, to_raw: bool = False) -> ET.Element:
    contents = [c for c in parse(element).contents if isinstance(c.transport, Ice)]
    return substitute(element, {}, {c.key: own(c, to_raw) for c in contents})


def without_agents(element: ET.Element) -> ET.Element:
    """The same tree without what ICE and raw UDP say of the transport's end."""
    copy = deepcopy(element)
    for transport in list(copy.iter()):
        if transport.tag not in (*ICE_TRANSPORTS, f"{{{RAW_UDP}}}transport"):
            continue
        for name in ("ufrag", "pwd", "ice2"):
            transport.attrib.pop(name, None)
        for child in list(transport):
            mine = child.tag.startswith(transport.tag.removesuffix("transport"))
            if mine or ICE_OPTION in child.tag:
                transport.remove(child)
        transport.tag = NAMELESS
    return copy


@pytest.mark.rule("I2", "J11")
@pytest.mark.parametrize("to_raw", [False, True])
@pytest.mark.parametrize("name", ICE_STANZAS)
def test_recorded_stanzas_keep_all_but_their_agents(name: str, to_raw: bool) -> None:
    element = stanza(name)
    before = ET.tostring(element)
    copy = terminated(element, to_raw)
    assert ET.tostring(element) == before
    assert canonical(without_agents(copy)) == canonical(without_agents(element))
    text = ET.tostring(copy, encoding="unicode")
    for content in parse(element).contents:
        assert isinstance(content.transport, Ice)
        secrets = (content.transport.ufrag, content.transport.pwd)
        addresses = (str(c.address.ip) for c in content.transport.candidates)
        assert not any(f'"{word}"' in text for word in (*secrets, *addresses) if word)


@pytest.mark.rule("I2")
@pytest.mark.parametrize("name", ICE_STANZAS)
def test_ours_are_the_only_candidates_and_host_candidates(name: str) -> None:
    element = stanza(name)
    for before, after in zip(
        parse(element).contents, parse(terminated(element)).contents, strict=True
    ):
        assert isinstance(before.transport, Ice)
        assert isinstance(after.transport, Ice)
        assert after.transport.namespace == before.transport.namespace
        assert after.transport.candidates == tuple(
            Candidate(c.component, 0, c.address, c.id, after.transport.candidates[0].type)
            for c in PAIR
        )
        assert [c.priority for c in after.transport.candidates] == [2130706431, 2130706430]
        if before.transport.ufrag:
            assert (after.transport.ufrag, after.transport.pwd) == ("our-ufrag", "our-pwd")


@pytest.mark.rule("I2")
def test_what_an_agent_says_of_others_and_of_itself_is_gone() -> None:
    inside = (
        "<remote-candidate component='1' ip='192.0.2.7' port='5'/>"
        f"<renomination xmlns='{ICE_OPTION}'/><trickle xmlns='{ICE_OPTION}'/>"
        "<candidate ip='192.0.2.8' port='5'/><gathering-complete/>"
    )
    (transport,) = terminated(offer(inside)).iter(f"{{{ICE_UDP}}}transport")
    kinds = [local_name(child) for child in transport]
    assert kinds == ["candidate", "candidate", "trickle", "gathering-complete"]


def test_no_credentials_are_written_where_there_were_none() -> None:
    element = offer("<candidate ip='192.0.2.8' port='5'/>")
    for transport in element.iter(f"{{{ICE_UDP}}}transport"):
        transport.attrib.clear()
    (transport,) = terminated(element).iter(f"{{{ICE_UDP}}}transport")
    assert transport.attrib == {}


def test_half_of_the_credentials_is_made_whole() -> None:
    element = offer("")
    for transport in element.iter(f"{{{ICE_UDP}}}transport"):
        del transport.attrib["pwd"]
    (transport,) = terminated(element).iter(f"{{{ICE_UDP}}}transport")
    assert transport.attrib == {"ufrag": "our-ufrag", "pwd": "our-pwd"}


@pytest.mark.rule("I4")
def test_a_transport_becomes_another_kind_and_back() -> None:
    option = f"<trickle xmlns='{ICE_OPTION}'/>"
    element = offer(f"<candidate ip='192.0.2.8' port='5'/>{option}<x xmlns='urn:x'/>")
    raw = terminated(element, to_raw=True)
    (content,) = parse(raw).contents
    assert isinstance(content.transport, RawUdp)
    assert [(c.component, c.address) for c in content.transport.candidates] == [
        (c.component, c.address) for c in PAIR
    ]
    (transport,) = raw.iter(f"{{{RAW_UDP}}}transport")
    assert transport.attrib == {}
    assert [local_name(child) for child in transport] == ["candidate", "candidate", "x"]
    back = OwnTransport(PAIR, ICE_UDP, "our-ufrag", "our-pwd")
    again = substitute(raw, {}, {content.key: back})
    assert ice_keys(again) == [content.key]
    (transport,) = again.iter(f"{{{ICE_UDP}}}transport")
    assert transport.attrib == {"ufrag": "our-ufrag", "pwd": "our-pwd"}
    assert [local_name(child) for child in transport] == ["candidate", "candidate", "x"]


def test_a_content_that_is_not_there_is_a_mistake() -> None:
    element = offer("")
    (content,) = parse(stanza("dino-ice-initiate")).contents
    with pytest.raises(ValueError, match="no content"):
        substitute(element, {}, {content.key: OwnTransport(PAIR)})
