"""Pieces of a stream: whole tags, whatever the bytes are cut into."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.fronts.xmpp.tag_splitter import LONGEST_TAG, Restricted, TagSplitter
from tests.fronts.xmpp.corpus import UNHURRIED

WORDS = [
    "<",
    ">",
    "/",
    "'",
    '"',
    "a",
    " ",
    "=",
    "]]>",
    "<![CDATA[",
    "<a b='>'>",
    "</a>",
    "&lt;",
    "x",
]


def pieces(*fed: bytes) -> list[bytes]:
    splitter = TagSplitter()
    for data in fed:
        splitter.feed(data)
    return [piece for piece, _ in splitter.pieces()]


@pytest.mark.parametrize(
    ("fed", "whole"),
    [
        (b"<iq a='>'", b""),
        (b"<iq a='>' b=\">'>\"/", b""),
        (b"<iq a='>' b=\">'>\"/>text", b"<iq a='>' b=\">'>\"/>"),
        (b"a > b <x>c > d <", b"a > b <x>"),
        (b"<?xml version='1.0'?><s>", b"<?xml version='1.0'?><s>"),
        (b"<a><![CDATA[<b>]]]>]]><c", b"<a>"),
        (b"<a><![CDATA[<b>]]]>]]></a>", b"<a><![CDATA[<b>]]]>]]></a>"),
    ],
)
def test_a_piece_ends_with_a_tag(fed: bytes, whole: bytes) -> None:
    assert b"".join(pieces(fed)) == whole
    single = [fed[n : n + 1] for n in range(len(fed))]
    assert b"".join(pieces(*single)) == whole


@UNHURRIED
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.lists(st.integers(1, 7), min_size=1))
def test_how_bytes_come_does_not_matter(words: list[str], sizes: list[int]) -> None:
    data = "".join(words).encode()
    cut: list[bytes] = []
    at = 0
    while at < len(data):
        cut.append(data[at : at + sizes[len(cut) % len(sizes)]])
        at += len(cut[-1])
    outcomes = []
    for fed in ([data], cut):
        splitter = TagSplitter()
        try:
            for part in fed:
                splitter.feed(part)
            why = ""
        except Restricted as error:
            why = str(error)
        outcomes.append((b"".join(piece for piece, _ in splitter.pieces()), why))
    assert outcomes[0] == outcomes[1]
    assert data.startswith(outcomes[0][0])


@pytest.mark.parametrize(
    ("first_bytes", "what"),
    [
        (b"<s><!D", "a document type declaration"),
        (b"<!E", "a document type declaration"),
        (b"<s><!-", "a comment"),
        (b"<s><?", "a processing instruction"),
        (b" <?", "a processing instruction"),
    ],
)
def test_what_is_forbidden_is_refused_at_its_first_bytes(first_bytes: bytes, what: str) -> None:
    for fed in ([first_bytes], [first_bytes[n : n + 1] for n in range(len(first_bytes))]):
        with pytest.raises(Restricted, match=what):
            pieces(*fed)


@pytest.mark.parametrize("end", [b">", b"/>"])
def test_a_tag_that_is_too_long_loses_all_but_its_first_attributes(end: bytes) -> None:
    many = b"".join(b" a%d='>'" % n for n in range(LONGEST_TAG // 6))
    splitter = TagSplitter()
    splitter.feed(b"<s>text<x" + many + end + b"<after/>")
    before, short, after = splitter.pieces()
    assert before == (b"<s>text", False)
    assert after == (b"<after/>", False)
    text, too_long = short
    assert too_long
    assert re.fullmatch(rb"<x( a\d+='>'){16}" + end, text)


def test_one_attribute_that_is_too_long_is_lost() -> None:
    splitter = TagSplitter()
    splitter.feed(b"<iq id='1' a='" + b"x" * LONGEST_TAG + b"'/>")
    assert splitter.pieces() == [(b"<iq id='1'/>", True)]


def test_a_long_tag_that_is_none_stays_none() -> None:
    splitter = TagSplitter()
    splitter.feed(b"<" + b" " * LONGEST_TAG + b">")
    assert splitter.pieces() == [(b"<>", True)]
