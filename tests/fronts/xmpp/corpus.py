"""The recorded stanzas, and trees made at random."""

from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.codec import JINGLE
from jingle_hnt.fronts.xmpp.transports.elements import CANDIDATE
from jingle_hnt.fronts.xmpp.transports.raw_udp import TRANSPORT

Element = ET.Element

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How fast examples are made and checked depends on who else uses the machine."""

CONTENT = f"{{{names.JINGLE}}}content"

FILES = sorted((Path(__file__).parent / "stanzas").glob("*.xml"))
NAMES = [path.stem for path in FILES]


def stanza(name: str) -> Element:
    """The <jingle/> of one recorded stanza."""
    path = FILES[NAMES.index(name)]
    jingle = ET.parse(path).getroot().find(JINGLE)
    assert jingle is not None, path
    return jingle


def canonical(element: Element) -> str:
    """A form in which equal XML is equal text; whitespace counts."""
    return ET.canonicalize(ET.tostring(element, encoding="unicode"))


def rest(jingle: Element, contents: Collection[str]) -> list[object]:
    """The tree as a flat list, without the candidates of raw-udp in the contents of these names."""
    flat: list[object] = []
    for content in jingle:
        named = content.tag == CONTENT and content.get("name") in contents
        _flatten(content, flat, skip=CANDIDATE if named else "")
    return [jingle.tag, dict(jingle.attrib), jingle.text or "", *flat]


def _flatten(element: Element, flat: list[object], skip: str, parent: str = "") -> None:
    if not (element.tag == skip and parent == TRANSPORT):
        flat.extend((element.tag, sorted(element.attrib.items())))
        _add_text(flat, element.text)
        for child in element:
            _flatten(child, flat, skip, element.tag)
        flat.append("end")
    _add_text(flat, element.tail)


def _add_text(flat: list[object], text: str | None) -> None:
    """Text is compared as a whole: no element marks where a candidate stood."""
    if text and flat and isinstance(flat[-1], bytes):
        flat[-1] += text.encode()
    elif text:
        flat.append(text.encode())


_WORDS = st.text("ab1 <>&'\"\t\n\r]äß✓\u2028\ufffd😀", max_size=8)
_NCNAMES = st.sampled_from(["a", "_b", "c.d", "e-f", "g1", "transport", "candidate", "é"])
_NAMESPACES = st.sampled_from(
    [names.JINGLE, names.RAW_UDP, names.RTP, names.CLIENT, "urn:x:1", "urn:xmpp:jingle:apps:dtls:0"]
)
_TAGS = st.one_of(
    st.builds("{{{}}}{}".format, _NAMESPACES, _NCNAMES),
    st.sampled_from(
        [
            f"{{{names.JINGLE}}}content",
            f"{{{names.JINGLE}}}reason",
            f"{{{names.JINGLE}}}text",
            TRANSPORT,
            CANDIDATE,
            f"{{{names.RTP}}}description",
            "{urn:xmpp:jingle:transports:ice-udp:1}transport",
            f"{{{names.RTP_INFO}}}hold",
        ]
    ),
    _NCNAMES,
)
_KEYS = st.one_of(
    st.sampled_from(["name", "creator", "senders", "id", "ip", "port", "component", "type"]),
    st.builds("{{{}}}{}".format, _NAMESPACES, _NCNAMES),
    _NCNAMES,
)
_VALUES = st.one_of(
    _WORDS,
    st.sampled_from(["initiator", "responder", "both", "0", "1", "2", "255", "256", "99999", "-1"]),
    st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "0177.0.0.1", "host.example", ""]),
)


@st.composite
def elements(draw: st.DrawFn, tag: str | None = None, depth: int = 3) -> Element:
    """A tree of elements, often of such as the codec looks at."""
    element = ET.Element(tag or draw(_TAGS), draw(st.dictionaries(_KEYS, _VALUES, max_size=4)))
    element.text = draw(st.none() | _WORDS)
    if depth:
        for child in draw(st.lists(elements(depth=depth - 1), max_size=3)):
            child.tail = draw(st.none() | _WORDS)
            element.append(child)
    return element
