"""The list of hints: what counts as one, and that no hint goes untried."""

import ast

import pytest

from scripts import hints


@pytest.mark.parametrize(
    "text",
    [
        "write a host and a port",
        "the server is away; start it again",
        "it is private: write the public one",
        "look there, or `jingle-hnt check` says more",
        "no such option; did you mean {}?",
        "a camera may send more than relay.max_kbps lets through",
        "the secret is wrong. Write the one that the server has",
    ],
)
def test_a_text_that_says_what_to_do_is_a_hint(text: str) -> None:
    assert hints.is_hint(text)


@pytest.mark.parametrize(
    "text",
    [
        "call history is damaged; it is set aside",
        "SELECT name FROM session WHERE rowid = ?; run",
        "calls that were accepted",
        "too many requests wait for an answer",
    ],
)
def test_others_are_none(text: str) -> None:
    assert not hints.is_hint(text)


def test_texts_are_found_as_they_are_said() -> None:
    code = (
        '"""write a docstring"""\n'
        'Field("x", help="write this beforehand")\n'
        'raise ValueError(f"{what} is none;" f" write {which!r} instead")\n'
    )
    assert [text for _, text in hints.texts(ast.parse(code))] == ["{} is none; write {} instead"]
    lua = 'error("mode is \\""..mode.."\\": write \\"open\\"")'
    assert [text for _, text in hints.quoted(lua, ".lua")] == ['mode is "{}": write "open"']
    erlang = '?WARNING_MSG("~ts has none: write "\n  "one", [Host])'
    assert [text for _, text in hints.quoted(erlang, ".erl")] == ["{} has none: write one"]


def test_an_untried_hint_is_a_fault_and_so_is_a_try_that_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    assert list(hints.faults()) == []
    found = {"nobody says so; write it in full": ["x.py:1"]}
    monkeypatch.setattr(hints, "hints", lambda: found)
    (untried, *gone) = hints.faults()
    assert untried.startswith("x.py:1: nothing tries this hint")
    assert all("no message says" in each or "says nothing of" in each for each in gone)
