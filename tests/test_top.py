"""The live view: rates out of two looks, and marks for who is not heard."""

from typing import Any

import pytest
from rich.console import Console

from jingle_hnt.commands.top import mark, rows, table


def leg(name: str, received: int, **changes: object) -> dict[str, Any]:
    return {
        "leg": name,
        "learned": "198.51.100.7:4000",
        "rung": "R3",
        "flow": "open",
        "heard_s": 0.01,
        "received_packets": received,
        "rtp_packets": received,
        "dropped": {},
        "sent_packets": 2 * received,
        "lost_packets": 0,
        "jitter_ms": 0.5,
        **changes,
    }


def answer(*legs: dict[str, Any]) -> dict[str, Any]:
    content = {"name": "voice", "components": [{"component": 1, "legs": list(legs)}]}
    call = {"call": "s1", "initiator": "a@x/1", "responder": "b@x/2", "contents": [content]}
    return {"calls": [call]}


def test_rates_are_what_happened_between_two_looks() -> None:
    before = answer(leg("initiator", 100))
    now = answer(leg("initiator", 200), leg("responder", 7))
    first, second = rows(now, before, 2.0)
    assert (first.party, first.media, first.in_rate, first.out_rate) == (
        "a@x/1",
        "voice/1",
        50,
        100,
    )
    assert (second.party, second.in_rate, second.out_rate) == ("b@x/2", None, None)


def test_loss_is_the_part_that_did_not_arrive() -> None:
    now = answer(leg("initiator", 90, lost_packets=10))
    (row,) = rows(now, now, 1.0)
    assert row.loss == pytest.approx(0.1)


def test_addresses_are_shown_when_asked_for() -> None:
    now = answer(leg("initiator", 1))
    (hidden,), (shown,) = rows(now, now, 1.0), rows(now, now, 1.0, whole=True)
    assert "198.51.100.7" not in hidden.learned
    assert shown.learned == "198.51.100.7:4000"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"received_packets": 0}, "never heard"),
        ({"rtp_packets": 0}, "no media"),
        ({"dropped": {"policed": 12}}, "policed 12"),
        ({"heard_s": 7.4}, "silent 7 s"),
        ({"flow": "held"}, "held"),
        ({"flow": "nominal", "received_packets": 0}, "before accept"),
    ],
)
def test_who_is_not_heard_is_marked(changes: dict[str, object], said: str) -> None:
    assert mark(leg("initiator", 9, **changes) | changes) == said


def test_the_table_names_calls_and_marks() -> None:
    now = answer(leg("initiator", 0))
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table(list(rows(now, now, 1.0)), 1))
    text = capture.get()
    assert "calls: 1" in text
    assert "never heard" in text
