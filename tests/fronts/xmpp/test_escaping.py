"""Addresses that stand for others (XEP-0106)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.fronts.xmpp.escaping import across, escape, unescape
from jingle_hnt.model.jid import JID

COMPONENT = "hnt.example.org"


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("d'artagnan@musketeers.lit", r"d\27artagnan\40musketeers.lit"),
        ("CN=D'Artagnan Saint-Andre", r"CN=D\27Artagnan\20Saint-Andre"),
        ("\"&'/:<>@ ", r"\22\26\27\2f\3a\3c\3e\40\20"),
        (r"c:\net", r"c\3a\net"),
        (r"c:\cool", r"c\3a\cool"),
        (r"c\3a", r"c\5c3a"),
        (r"c:\5commas", r"c\3a\5c5commas"),
        (r"\2plus\2is\4", r"\2plus\2is\4"),
    ],
)
def test_the_standards_examples(plain: str, escaped: str) -> None:
    assert escape(plain) == escaped
    assert unescape(escaped) == plain


@given(st.text(st.sampled_from("\\ \"&'/:<>@0235cdaef4x"), max_size=12))
def test_what_is_escaped_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert not set(" \"&'/:<>@") & set(escape(text))


@pytest.mark.parametrize(
    ("real", "address"),
    [
        ("bob@example.org/desk", r"bob\40example.org@hnt.example.org/desk"),
        ("bob@example.org", r"bob\40example.org@hnt.example.org"),
        (r"d\27artagnan@example.org/x@y", r"d\5c27artagnan\40example.org@hnt.example.org/x@y"),
        # Another relay's address is a user's address like any other.
        (r"bob\40a.example@hnt.a.example", r"bob\5c40a.example\40hnt.a.example@hnt.example.org"),
    ],
)
def test_both_ways_across(real: str, address: str) -> None:
    assert str(across(JID.of(real), COMPONENT)) == address
    assert str(across(JID.of(address), COMPONENT)) == real


@pytest.mark.parametrize(
    "address",
    [
        COMPONENT,
        f"bob@{COMPONENT}",
        rf"example.org\40@{COMPONENT}",
        rf"\40example.org@{COMPONENT}",
        rf"bob\40a\40b@{COMPONENT}",
        rf"bob\40a.example\2fdesk@{COMPONENT}",
        rf"bob\20\40a.example@{COMPONENT}",
        rf"b\5cob\40a.example@{COMPONENT}",
        rf"bob\40{COMPONENT}@{COMPONENT}",
        rf"bob\40{'a' * 1024}@{COMPONENT}",
    ],
)
def test_what_stands_for_nobody(address: str) -> None:
    with pytest.raises(ValueError, match="no user's address"):
        across(JID.of(address), COMPONENT)


@pytest.mark.parametrize("real", ["example.org", "example.org/x", f"{'a' * 1020}@example.org"])
def test_who_can_have_no_address_here(real: str) -> None:
    with pytest.raises(ValueError, match="no user's address"):
        across(JID.of(real), COMPONENT)
