"""Substitution changes the candidates it is told to change, and nothing else."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.errors import JingleError
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.fronts.xmpp.transports.elements import written
from jingle_hnt.fronts.xmpp.transports.raw_udp import TRANSPORT
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, ContentKey, Creator, RawUdp
from tests.fronts.xmpp.corpus import NAMES, UNHURRIED, canonical, elements, rest, stanza

AUDIO = ContentKey(Creator.INITIATOR, "audio")


def relayed(id_: str = "r1", component: int = 1) -> Candidate:
    address = TransportAddress.of("203.0.113.9", 30000 + component - 1)
    return Candidate(component, 0, address, id_)


PAIR = (relayed("r1", 1), relayed("r2", 2))


def offer(inside: str) -> ET.Element:
    return ET.fromstring(
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s'>"
        "<content creator='initiator' name='audio'>"
        f"<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>{inside}</transport>"
        "</content></jingle>"
    )


def raw_keys(element: ET.Element) -> list[ContentKey]:
    return [c.key for c in parse(element).contents if isinstance(c.transport, RawUdp)]


def children(element: ET.Element) -> list[str]:
    transport = element.find(f".//{TRANSPORT}")
    assert transport is not None
    return [child.get("id", "") for child in transport]


def test_a_candidate_is_written_as_xep_0177_has_it() -> None:
    [element] = written([relayed()])
    assert element.tag == "{urn:xmpp:jingle:transports:raw-udp:1}candidate"
    assert element.attrib == {
        "component": "1",
        "generation": "0",
        "id": "r1",
        "ip": "203.0.113.9",
        "port": "30000",
        "type": "relay",
    }
    assert len(element) == 0


def test_ids_are_ncnames_and_distinct() -> None:
    given_ids = ["", "1", "a b", "ok", "ok", "hnt1", "é"]
    ids = [element.get("id", "") for element in written(relayed(i) for i in given_ids)]
    assert len(set(ids)) == len(given_ids)
    assert ids[3] == "ok"
    assert all(id_.isascii() and id_[0].isalpha() and " " not in id_ for id_ in ids)


def test_ours_stand_where_the_first_of_theirs_stood() -> None:
    inside = (
        "<x id='x' xmlns=''/> <candidate ip='192.0.2.1' port='1' id='c1'/>,<y id='y' xmlns=''/>"
    )
    element = offer(inside + "<candidate ip='192.0.2.1' port='2' id='c2'/>;")
    assert children(substitute(element, {AUDIO: PAIR})) == ["x", "r1", "r2", "y"]


def test_an_empty_transport_gets_candidates() -> None:
    assert children(substitute(offer(""), {AUDIO: PAIR})) == ["r1", "r2"]


def test_candidates_can_be_taken_away() -> None:
    element = offer("<candidate ip='192.0.2.1' port='1' id='c1'/>")
    assert children(substitute(element, {AUDIO: ()})) == []


def test_only_the_contents_named_change() -> None:
    element = stanza("two-transports-kinds")
    copy = substitute(element, {AUDIO: PAIR})
    assert canonical(copy[1]) == canonical(element[1])
    assert children(copy) == ["r1", "r2"]


def test_the_original_is_left_alone() -> None:
    element = stanza("libpurple-initiate")
    before = canonical(element)
    substitute(element, {raw_keys(element)[0]: PAIR})
    assert canonical(element) == before


@pytest.mark.parametrize("name", ["conversations-ice-initiate", "libpurple-terminate"])
def test_a_substitution_that_does_not_fit_is_our_mistake(name: str) -> None:
    with pytest.raises(ValueError, match="no content initiator:audio"):
        substitute(stanza(name), {AUDIO: PAIR})


@pytest.mark.parametrize("name", [n for n in NAMES if n != "movim-ice-info-nameless"])
@pytest.mark.rule("J11")
def test_recorded_stanzas_keep_everything_else(name: str) -> None:
    element = stanza(name)
    keys = raw_keys(element)
    copy = substitute(element, dict.fromkeys(keys, PAIR))
    assert rest(copy, [k.name for k in keys]) == rest(element, [k.name for k in keys])
    changed = [c for c in parse(copy).contents if c.key in keys]
    assert [c.transport for c in changed] == [RawUdp(_as_read(PAIR))] * len(keys)
    if not keys:
        assert canonical(copy) == canonical(element)


def _as_read(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    [content] = parse(substitute(offer(""), {AUDIO: tuple(candidates)})).contents
    assert isinstance(content.transport, RawUdp)
    return content.transport.candidates


@st.composite
def offers(draw: st.DrawFn) -> ET.Element:
    """Offers with random trees before, between and after contents, transports and candidates."""
    element = ET.Element(
        JINGLE,
        {"action": "session-initiate", "sid": "s", "x": draw(st.text("a\t'\"<", max_size=4))},
    )
    for number in range(draw(st.integers(0, 3))):
        content = ET.fromstring(
            f"<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='c{number}'/>"
        )
        content.tail = draw(st.sampled_from([None, "", " \n", "text"]))
        transport = ET.SubElement(content, TRANSPORT, {"other": "1"})
        for port in draw(st.lists(st.integers(1, 65535), max_size=3)):
            candidate = ET.SubElement(
                transport,
                "{urn:xmpp:jingle:transports:raw-udp:1}candidate",
                {"ip": "192.0.2.1", "port": str(port), "strange": "yes"},
            )
            candidate.tail = draw(st.sampled_from([None, "\n  ", "between"]))
            transport.extend(draw(st.lists(elements("{urn:x}unknown", depth=2), max_size=1)))
        content.insert(0, draw(elements("{urn:x}description", depth=2)))
        element.append(content)
        element.extend(draw(st.lists(elements("{urn:x}group", depth=2), max_size=1)))
    return element


@UNHURRIED
@given(offers(), st.data())
def test_any_offer_keeps_everything_else(element: ET.Element, data: st.DataObject) -> None:
    try:
        keys = raw_keys(element)
    except JingleError:  # a random tree may hold a second transport
        return
    chosen = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    copy = substitute(element, dict.fromkeys(chosen, PAIR))
    names = [key.name for key in chosen]
    assert rest(copy, names) == rest(element, names)
    for content in parse(copy).contents:
        if content.key in chosen:
            assert content.transport == RawUdp(_as_read(PAIR))
