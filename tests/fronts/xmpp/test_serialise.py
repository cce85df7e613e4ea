"""What is written is read back as what it was, by any namespace-aware parser."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from jingle_hnt.fronts.xmpp.names import CLIENT, COMPONENT
from jingle_hnt.fronts.xmpp.serialise import serialise
from tests.fronts.xmpp.corpus import NAMES, UNHURRIED, canonical, elements, stanza

STREAM = f"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='{COMPONENT}'>{{}}</s:stream>"


def read_back(element: ET.Element) -> ET.Element:
    return ET.fromstring(STREAM.format(serialise(element)))[0]


@UNHURRIED
@given(elements())
def test_any_tree_survives(element: ET.Element) -> None:
    assert canonical(read_back(element)) == canonical(element)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_stanzas_survive(name: str) -> None:
    assert canonical(read_back(stanza(name))) == canonical(stanza(name))


def test_line_breaks_and_quotes_survive_in_text_and_attributes() -> None:
    element = ET.Element("{urn:x}a", {"v": "\t\r\n'\"<>&", "{urn:y}v": "w"})
    element.text = "\t\r\n'\"<>&]]>"
    back = read_back(element)
    assert (back.attrib, back.text) == (element.attrib, element.text)


def test_no_prefixes_and_no_needless_namespaces() -> None:
    iq = ET.fromstring(f"<p:iq xmlns:p='{COMPONENT}'><q:q xmlns:q='urn:q'><q:r/></q:q></p:iq>")
    assert serialise(iq) == '<iq><q xmlns="urn:q"><r/></q></iq>'
    assert serialise(ET.Element(f"{{{CLIENT}}}iq")) == f'<iq xmlns="{CLIENT}"/>'
    assert serialise(ET.Element("bare")) == '<bare xmlns=""/>'
    language = ET.Element(f"{{{COMPONENT}}}t", {"{http://www.w3.org/XML/1998/namespace}lang": "en"})
    assert serialise(language) == '<t xml:lang="en"/>'


def test_what_xml_cannot_carry_does_not_break_the_stream() -> None:
    element = ET.Element(f"{{{COMPONENT}}}t", {"a": "\x00\ud800"})
    element.text = "\x1b\ufffe"
    text = serialise(element)
    assert text == '<t a="\ufffd\ufffd">\ufffd\ufffd</t>'
    text.encode()
