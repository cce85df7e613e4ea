"""What the commands print: whole where it goes into a pipe, and harmless to a terminal."""

import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from jingle_hnt.cli import main
from jingle_hnt.commands import asking, top
from tests.admin import calls

LONG = f"alice@{'very-' * 20}long.example.org/phone"
HOSTILE = "voice[/red]\x9b31m\n"


@pytest.fixture(autouse=True)
def _one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    call = calls.call(initiator=LONG).model_dump(mode="json")
    call["contents"][0]["name"] = HOSTILE
    monkeypatch.delenv("COLUMNS", raising=False)
    answers: Mapping[str, Any] = {"calls": {"calls": [call]}, "call": call}
    for module in (asking, top):
        monkeypatch.setattr(module, "ask", lambda _, command, **__: answers[command])


@pytest.mark.parametrize(
    "words", [["calls"], ["call", "s1"], ["top", "--once", "--interval", "0.1"]], ids=" ".join
)
def test_nothing_is_cut_in_a_pipe_and_nothing_is_acted_on(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert LONG.partition("/")[0] in printed
    if words[0] != "call":  # one line a call has no room for the names of contents
        return
    assert LONG in printed
    assert "voice[/red]\N{REPLACEMENT CHARACTER}31m\N{REPLACEMENT CHARACTER}" in printed
    assert "\x9b" not in printed
    assert printed.endswith("\n")


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_shows_a_call_in_a_line_that_fits(
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["calls"]) == 0
    title, _, row, _ = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert title == "calls: 1, in trouble: 0"
    assert "alice@very-" in row
    assert len(row) <= columns


def test_json_is_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "s1", "--json"]) == 0
    assert r"\u009b" in capsys.readouterr().out
