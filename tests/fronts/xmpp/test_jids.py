"""Addresses that people type, as servers write them."""

import pytest

from jingle_hnt.fronts.xmpp.jids import normalised, normalised_pattern


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        ("alice@example.org.", "alice@example.org"),
        ("STRASSE@Straße.example/Phone", "strasse@strasse.example/Phone"),
        ("Åsa@Bücher.example", "åsa@bücher.example"),
        ("Example.org", "example.org"),
    ],
)
def test_a_server_writes_it_so(typed: str, written: str) -> None:
    assert normalised(typed) == written


@pytest.mark.parametrize("typed", ["", "@", "a b", "alice@", "a@b@c", "/phone"])
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="is no XMPP address; write one such as"):
        normalised(typed)
    assert normalised("alice@example.org") == "alice@example.org"


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("*@Example.org", "*@example.org"),
        ("*.Straße.example", "*.strasse.example"),
        ("Bo*b@*", "bo*b@*"),
        ("*", "*"),
        ("@*", "@*"),
    ],
)
def test_patterns_keep_their_stars(typed: str, written: str) -> None:
    assert normalised_pattern(typed) == written
