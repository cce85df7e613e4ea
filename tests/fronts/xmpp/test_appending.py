"""Our candidates stand behind those of an ICE transport, and nothing else changes."""

from copy import deepcopy
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.errors import JingleError
from jingle_hnt.fronts.xmpp.codec import JINGLE, parse
from jingle_hnt.fronts.xmpp.names import ICE, ICE_UDP
from jingle_hnt.fronts.xmpp.substitution import substitute
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, CandidateType, ContentKey, Ice
from tests.fronts.xmpp.corpus import NAMES, UNHURRIED, canonical, elements, stanza

PAIR = tuple(
    Candidate(c, 0, TransportAddress.of("203.0.113.9", 29999 + c), f"r{c}", CandidateType.RELAY)
    for c in (1, 2)
)
ICE_STANZAS = [name for name in NAMES if "-ice" in name and name != "movim-ice-info-nameless"]


def ice_keys(element: ET.Element) -> list[ContentKey]:
    return [c.key for c in parse(element).contents if isinstance(c.transport, Ice)]


def without_ours(element: ET.Element) -> ET.Element:
    """The same tree without the candidates that we have added."""
    copy = deepcopy(element)
    for parent in list(copy.iter()):
        for child in list(parent):
            if child.get("id") in ("r1", "r2") and child.get("ip") == "203.0.113.9":
                assert child.tail is None
                parent.remove(child)
    return copy


@pytest.mark.rule("I3", "J11")
@pytest.mark.parametrize("name", ICE_STANZAS)
def test_recorded_stanzas_get_ours_and_keep_all_of_theirs(name: str) -> None:
    element = stanza(name)
    keys = ice_keys(element)
    assert keys
    copy = substitute(element, dict.fromkeys(keys, PAIR))
    assert canonical(copy) != canonical(element)
    assert canonical(without_ours(copy)) == canonical(element)
    for before, after in zip(parse(element).contents, parse(copy).contents, strict=True):
        assert isinstance(before.transport, Ice)
        assert isinstance(after.transport, Ice)
        assert after.transport.candidates == (*before.transport.candidates, *PAIR)
        assert (after.transport.ufrag, after.transport.pwd) == (
            before.transport.ufrag,
            before.transport.pwd,
        )


@pytest.mark.rule("I3")
def test_ours_are_the_last_to_be_tried() -> None:
    element = stanza("dino-ice-initiate")
    [key] = ice_keys(element)
    copy = substitute(element, {key: PAIR})
    written = list(copy.iter(f"{{{ICE_UDP}}}candidate"))
    theirs, ours = written[:-2], written[-2:]
    for number, candidate in enumerate(ours, start=1):
        assert candidate.attrib == {
            "component": str(number),
            "foundation": "255",
            "generation": "0",
            "id": f"r{number}",
            "ip": "203.0.113.9",
            "network": "0",
            "port": str(29999 + number),
            "priority": str(256 - number),
            "protocol": "udp",
            "rel-addr": "0.0.0.0",
            "rel-port": "9",
            "type": "relay",
        }
    least = min(int(candidate.get("priority", "")) for candidate in theirs)
    assert all(int(candidate.get("priority", "")) < least for candidate in ours)


@pytest.mark.rule("I3")
@pytest.mark.parametrize(("ip", "related"), [("203.0.113.9", "0.0.0.0"), ("2001:db8::9", "::")])
def test_a_related_address_is_named_and_hidden(ip: str, related: str) -> None:
    """RFC 8839 section 5.1: a relay candidate has raddr and rport. Firefox drops one without."""
    element = offer("")
    ours = (Candidate(1, 0, TransportAddress.of(ip, 30000), "r1", CandidateType.RELAY),)
    [candidate] = substitute(element, dict.fromkeys(ice_keys(element), ours)).iter(
        f"{{{ICE_UDP}}}candidate"
    )
    assert (candidate.get("rel-addr"), candidate.get("rel-port")) == (related, "9")


def offer(inside: str, namespace: str = ICE_UDP) -> ET.Element:
    return ET.fromstring(
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s'>"
        "<content creator='initiator' name='a'>"
        f"<transport xmlns='{namespace}' ufrag='u' pwd='p'>{inside}</transport></content></jingle>"
    )


@pytest.mark.parametrize("namespace", [ICE_UDP, ICE])
def test_a_foundation_of_theirs_is_not_taken(namespace: str) -> None:
    element = offer("<candidate foundation='255'/><candidate foundation='254'/>", namespace)
    copy = substitute(element, dict.fromkeys(ice_keys(element), PAIR))
    written = list(copy.iter(f"{{{namespace}}}candidate"))
    assert [c.get("foundation") for c in written] == ["255", "254", "253", "253"]


def test_two_relays_in_a_row_stay_apart() -> None:
    """Both parties' servers may run one of us."""
    element = offer("")
    [key] = ice_keys(element)
    once = substitute(element, {key: PAIR[:1]})
    twice = substitute(once, {key: PAIR[1:]})
    written = list(twice.iter(f"{{{ICE_UDP}}}candidate"))
    assert [c.get("foundation") for c in written] == ["255", "254"]


@st.composite
def offers(draw: st.DrawFn) -> ET.Element:
    """Offers with random trees around and within ICE transports."""
    element = ET.Element(JINGLE, {"action": "session-initiate", "sid": "s"})
    for number in range(draw(st.integers(0, 3))):
        namespace = draw(st.sampled_from([ICE_UDP, ICE, "urn:x"]))
        content = ET.fromstring(
            f"<content xmlns='urn:xmpp:jingle:1' creator='initiator' name='c{number}'/>"
        )
        content.tail = draw(st.sampled_from([None, " \n", "text"]))
        transport = ET.SubElement(content, f"{{{namespace}}}transport", {"ufrag": "u", "pwd": "p"})
        transport.text = draw(st.sampled_from([None, "\n  "]))
        for port in draw(st.lists(st.integers(-1, 70000), max_size=3)):
            candidate = ET.SubElement(
                transport,
                f"{{{namespace}}}candidate",
                {"ip": "192.0.2.1", "port": str(port), "strange": "yes"},
            )
            candidate.tail = draw(st.sampled_from([None, "\n  ", "between"]))
            transport.extend(draw(st.lists(elements("{urn:x}unknown", depth=2), max_size=1)))
        content.insert(0, draw(elements("{urn:x}description", depth=2)))
        element.append(content)
    return element


@UNHURRIED
@pytest.mark.rule("I3")
@given(offers(), st.data())
def test_nothing_but_appended_candidates_changes(element: ET.Element, data: st.DataObject) -> None:
    try:
        keys = ice_keys(element)
    except JingleError:  # a random tree may hold a second transport
        return
    chosen = data.draw(st.lists(st.sampled_from(keys), unique=True)) if keys else []
    copy = substitute(element, dict.fromkeys(chosen, PAIR))
    assert canonical(without_ours(copy)) == canonical(element)
    added = sum(c.get("ip") == "203.0.113.9" for c in copy.iter())
    assert added == 2 * len(chosen)
