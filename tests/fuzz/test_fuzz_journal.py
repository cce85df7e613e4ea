"""Damaged records and files of the journal: one costs itself, and nothing else."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jingle_hnt.store.journal import Journal
from tests.fuzz.targets import record_of_a_call, take_up

NASTY: list[object] = [
    None, "", "x", -1, 0, 2**70, 1e308, float("inf"), float("nan"), True, [], {}, [[]], "0" * 400,
    "127.0.0.1:1", "::1", "s1.1.1",
]  # fmt: skip
ROUNDS = settings(max_examples=300, deadline=None)


RECORD: dict[str, Any] = json.loads(record_of_a_call())


def _places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where something can be put instead of what is there."""
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path] * bool(path) + [p for key, inner in items for p in _places(inner, (*path, key))]


PLACES = _places(RECORD)


def _put(record: Any, place: tuple[object, ...], value: object) -> None:
    for key in place[:-1]:
        record = record[key]
    record[place[-1]] = copy.deepcopy(value)


@ROUNDS
@example(place=("made",), value=float("inf"))
@example(place=("media", 0, "allocation", "pinholes", 0, "evidence", "sources", 0), value=True)
@given(place=st.sampled_from(PLACES), value=st.sampled_from(NASTY))
def test_anything_else_in_any_place(place: tuple[object, ...], value: object) -> None:
    record = copy.deepcopy(RECORD)
    _put(record, place, value)
    take_up(record)


@pytest.mark.parametrize("value", [None, "x", float("inf"), []])
def test_each_place_once(value: object) -> None:
    for place in PLACES:
        record = copy.deepcopy(RECORD)
        _put(record, place, value)
        take_up(record)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_with_bytes_changed_or_cut_off(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal.sqlite"
        journal = Journal(path)
        for number in range(5):
            journal.put(f"s{number}", {"n": number})
        journal.close()
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        damaged = Journal(path)
        assert all(isinstance(record, dict) for record in damaged.records())
        damaged.put("new", {"n": 9})
        damaged.close()
        again = Journal(path)
        list(again.records())
        again.close()
