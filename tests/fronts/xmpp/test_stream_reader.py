"""The stream reader: stanzas out of bytes, whatever the bytes are."""

import time
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.fronts.xmpp import stream_reader
from jingle_hnt.fronts.xmpp.stream_reader import (
    Broken,
    Closed,
    Event,
    Stanza,
    StreamOpened,
    StreamReader,
)
from jingle_hnt.fronts.xmpp.tag_splitter import LONGEST_TAG
from tests.fronts.xmpp.corpus import UNHURRIED, canonical

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
    b" xmlns:stream='http://etherx.jabber.org/streams' id='abc' from='hnt.example.org'>"
)
STANZA = "<iq id='1' a='>'><q xmlns='urn:q' p:x='y' xmlns:p='urn:p'>te&lt;xt<r/>tail</q></iq>"


def opened() -> StreamReader:
    reader = StreamReader()
    assert reader.feed(HEADER) == [StreamOpened({"id": "abc", "from": "hnt.example.org"})]
    return reader


def only_stanza(events: list[Event]) -> Stanza:
    [event] = events
    assert isinstance(event, Stanza)
    return event


def broken(events: list[Event]) -> Broken:
    assert isinstance(events[-1], Broken)
    return events[-1]


def test_a_stanza_is_read_as_element_tree_reads_it() -> None:
    stanza = only_stanza(opened().feed(STANZA.encode()))
    whole = ET.fromstring(HEADER + STANZA.encode() + b"</stream:stream>")
    assert canonical(stanza.element) == canonical(whole[0])
    assert not stanza.pruned


@UNHURRIED
@given(st.lists(st.integers(1, 60), min_size=1))
def test_how_the_bytes_are_cut_does_not_matter(sizes: list[int]) -> None:
    data = HEADER + (STANZA * 3).encode() + b" \n</stream:stream>"
    reader, events, at = StreamReader(), [], 0
    while at < len(data):
        for size in sizes:
            events += reader.feed(data[at : at + size])
            at += size
    assert [type(e) for e in events] == [StreamOpened, Stanza, Stanza, Stanza, Closed]
    assert {canonical(e.element) for e in events if isinstance(e, Stanza)} == {
        canonical(only_stanza(opened().feed(STANZA.encode())).element)
    }


def test_a_stanza_is_there_as_soon_as_its_last_byte() -> None:
    reader = opened()
    assert reader.feed(STANZA[:-1].encode()) == []
    only_stanza(reader.feed(b">"))


def test_nothing_comes_after_the_end() -> None:
    reader = opened()
    assert reader.feed(b"</stream:stream>") == [Closed()]
    assert reader.feed(STANZA.encode()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><stream>",
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><stream>",
        HEADER + b"<?php x?>",
        HEADER + b"<!-- x -->",
        HEADER + b"<iq><!-- x --></iq>",
    ],
)
def test_restricted_xml_ends_the_stream(data: bytes) -> None:
    assert broken(StreamReader().feed(data)).condition == "restricted-xml"


def test_entities_cannot_expand() -> None:
    bomb = b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>" + b"".join(
        b"<!ENTITY %c '%s'>" % (c, b"&%c;" % (c - 1) * 10) for c in b"bcdefghij"
    )
    assert broken(StreamReader().feed(bomb + b"]><stream>&j;</stream>")).text.startswith(
        "a document"
    )


@pytest.mark.parametrize(
    "data", [b"<iq></message>", b"<iq a=1>", b"<iq>&undeclared;</iq>", b"<iq>\xff</iq>", b"<p:iq/>"]
)
def test_what_is_no_xml_ends_the_stream(data: bytes) -> None:
    reader = opened()
    assert broken(reader.feed(data)).condition == "not-well-formed"
    assert reader.feed(STANZA.encode()) == []


def test_a_stanza_before_the_break_still_counts() -> None:
    first, second = opened().feed(STANZA.encode() + b"</iq>")
    assert isinstance(first, Stanza)
    assert isinstance(second, Broken)


@pytest.mark.parametrize(
    "inside",
    [
        "<x/>" * 10_000,
        "<x>" * 1000 + "</x>" * 1000,
        "x" * 600_000,
        f"<x a='{'x' * 600_000}'/>",
        "<x/>" + "y" * 600_000 + "<x/>",
        ("<x" + "".join(f" a{n}=''" for n in range(5000)) + "/>") * 4,
    ],
    ids=["elements", "depth", "text", "attribute", "text between", "attributes"],
)
def test_a_stanza_beyond_a_limit_is_pruned_and_the_stream_lives(inside: str) -> None:
    reader = opened()
    stanza = only_stanza(reader.feed(f"<iq from='a' id='7'><first/>{inside}</iq>".encode()))
    assert stanza.pruned
    assert (stanza.element.get("from"), stanza.element.get("id")) == ("a", "7")
    assert stanza.element[0].tag == "{jabber:component:accept}first"
    assert sum(1 for _ in stanza.element.iter()) <= stream_reader.MOST_ELEMENTS
    after = only_stanza(reader.feed(STANZA.encode()))
    assert not after.pruned


def test_long_namespaces_cannot_multiply() -> None:
    uri = "u" * 50_000
    inside = "".join(f"<p:e{n}/>" for n in range(2000))
    stanza = only_stanza(opened().feed(f"<iq xmlns:p='{uri}'>{inside}</iq>".encode()))
    assert stanza.pruned
    assert sum(len(e.tag) for e in stanza.element.iter()) <= stream_reader.MOST_CHARACTERS


def test_a_stanza_without_end_breaks_the_stream() -> None:
    reader = opened()
    chunk = b"<x/>" * 1024
    assert reader.feed(b"<iq>") == []
    for _ in range(stream_reader.LARGEST_STANZA // len(chunk) - 1):
        assert not any(isinstance(e, Broken) for e in reader.feed(chunk))
    assert broken(reader.feed(2 * chunk)).condition == "policy-violation"


def test_a_tag_without_end_breaks_the_stream() -> None:
    reader = opened()
    assert reader.feed(b"<iq a='" + b"x" * stream_reader.LARGEST_STANZA) != []
    assert reader.feed(b"'/>") == []


def test_a_header_that_is_too_long_to_be_read_whole_breaks_the_stream() -> None:
    header = HEADER[:-1] + b" a='" + b"x" * LONGEST_TAG + b"'>"
    [event] = StreamReader().feed(header)
    assert isinstance(event, Broken)
    assert event.condition == "policy-violation"


def test_keepalives_do_not_add_up() -> None:
    reader = opened()
    for _ in range(20):
        assert not only_stanza(reader.feed(b" " * 600_000 + STANZA.encode())).pruned


def test_what_a_pruned_stanza_declared_ends_with_it() -> None:
    reader = opened()
    inside = "<x xmlns='urn:x' xmlns:p='urn:p'>" + "<y/>" * 10_000 + "</x>"
    assert only_stanza(reader.feed(f"<iq xmlns='urn:i'>{inside}</iq>".encode())).pruned
    after = only_stanza(reader.feed(b"<iq/>"))
    assert after.element.tag == "{jabber:component:accept}iq"
    assert broken(reader.feed(b"<p:iq/>")).condition == "not-well-formed"


def test_a_dripped_token_costs_no_more_than_a_whole_one() -> None:
    """X11: expat before 2.6 reads an unfinished token from its start again for each piece."""
    token = b"<iq a='" + b"x" * 1_900_000 + b"'/>"
    reader = opened()
    began_at = time.process_time()
    for at in range(0, len(token), 1460):
        events = reader.feed(token[at : at + 1460])
    assert time.process_time() - began_at < 0.25  # 0.3 s and more with expat 2.5 alone
    assert events == []  # too large to be built at all


def test_names_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_reader, "MOST_NAMES", 50)
    reader = opened()
    for number in range(500):
        stanza = only_stanza(reader.feed(f"<iq><e{number} a{number}='1'/></iq>".encode()))
        assert stanza.element.tag == "{jabber:component:accept}iq"
        assert len(reader._names) <= 60
    [error] = reader.feed(b"<stream:error><conflict/></stream:error>")
    assert isinstance(error, Stanza)
    assert error.element.tag == "{http://etherx.jabber.org/streams}error"
    assert reader.feed(b"</stream:stream>") == [Closed()]


@UNHURRIED
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_raise(data: bytes, after_header: bool) -> None:
    reader = opened() if after_header else StreamReader()
    for event in reader.feed(data + b">"):
        assert isinstance(event, StreamOpened | Stanza | Closed | Broken)
