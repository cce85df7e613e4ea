"""Calls as lines: what they say, that they fit, and what keys do with them."""

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from jingle_hnt.commands import lines
from jingle_hnt.commands.inspect import causes
from jingle_hnt.commands.lines import Line, Trails
from jingle_hnt.commands.top import HELP, View, keys
from jingle_hnt.model.commands import ORDERS
from tests.admin import calls
from tests.admin.calls import leg, mute, silent

GOOD = leg("initiator", mos=4.4), leg("responder", mos=4.3)


def call(name: str, *legs: Any, **changes: Any) -> dict[str, Any]:
    return calls.call(*(legs or GOOD), call=name, **changes).model_dump(mode="json")


def of(*found: dict[str, Any]) -> list[Line]:
    return lines.lines({"calls": list(found)}, causes)


def drawn(found: list[Line], columns: int | None = 80, encoding: str = "utf-8") -> list[str]:
    return lines.pen(columns, encoding).draw(found)


@pytest.mark.parametrize(
    ("one", "note", "is_bad"),
    [
        (call("s1"), "", False),
        (call("s1", leg("initiator"), silent("responder")), "one-way", True),
        (call("s1", leg("initiator"), mute("responder")), "no-rtp", True),
        (call("s1", leg("initiator", dropped={"policed": 9}), GOOD[1]), "policed", True),
        (call("s1", leg("initiator", heard_s=7.0), GOOD[1]), "caller silent", True),
        (call("s1", leg("initiator", mos=2.2), GOOD[1]), "sounds bad", True),
        (call("s1", setup_s=None, state="pending"), "rings", False),
        (call("s1", held=True), "on hold", False),
        (call("s1", transport="other"), "not relayed", False),
        (call("s1", silent("initiator"), silent("responder"), transport="ice"), "", False),
    ],
)
def test_what_is_to_be_noticed_is_said_in_a_word(
    one: dict[str, Any], note: str, is_bad: bool
) -> None:
    (line,) = of(one)
    assert (line.note, line.is_bad) == (note, is_bad)


def test_the_content_that_is_heard_worst_counts() -> None:
    two = call("s1")
    video = call("s1", leg("initiator", mos=2.5, lost_packets=490, jitter_ms=30), GOOD[1])
    two["contents"].append({**video["contents"][0], "name": "video"})
    (line,) = of(two)
    assert (line.directions[0].loss, line.directions[0].score) == (0.5, 2.5)
    assert line.directions[1].score == 4.3


def test_a_line_says_who_how_long_and_how_well() -> None:
    worse = leg("responder", lost_packets=26, jitter_ms=31.0, mos=3.1)
    (line,) = of(call("s0a1b2c3d4", GOOD[0], worse, age_s=754.0))
    _, row = drawn([line])
    assert row == ("  s0a1b2c alice@example.… > bob@example.org 12:34 ▁▁█ 4.4 ▅▅▅ 3.1")
    _, row = drawn([line], encoding="latin-1")
    assert row == ("  s0a1b2c alice@example.~ > bob@example.org 12:34 ..@ 4.4 +++ 3.1")


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize("trails", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "no-such"])
def test_every_line_fits(columns: int, trails: bool, encoding: str) -> None:
    long = "a-very-long-name.of.somebody@a-long-domain.example.org/phone"
    found = of(
        call("s0a1b2c3d4e5f6a7b", initiator=long, responder=long, age_s=9e5),
        call(
            "s1",
            leg("initiator"),
            silent("responder", source_auth="ice-integrity", check_failure="no-response"),
        ),
    )
    pen = lines.pen(columns, encoding, trails)
    shown = [*pen.draw(found), lines.legend(pen)]
    assert max(map(len, shown)) <= columns
    if encoding in ("ascii", "latin-1"):
        for line in shown:
            line.encode(encoding)


def test_trouble_comes_first_and_five_hundred_calls_stay_readable() -> None:
    found = of(*(call(f"s{n:04}", age_s=float(n)) for n in range(499)))
    found += of(call("s9999", leg("initiator"), silent("responder")))
    view = View()
    shown = view.frame(found, lines.pen(80, "utf-8", trails=True), 24)
    assert len(shown) == 24
    texts = [text for text, _ in shown]
    assert texts[0] == "calls: 500, in trouble: 1, by trouble, 1-20 of 500"
    assert texts[2].startswith("!")
    assert shown[2][1] == "red reverse"
    assert texts[-1] == HELP
    for _ in range(30):
        view.key("down")
    texts = [text for text, _ in view.frame(found, lines.pen(80, "utf-8"), 24)]
    assert texts[0].endswith("12-31 of 500")
    view.key("page-down")
    assert view.frame(found, lines.pen(80, "utf-8"), 24)[0][0].endswith("32-51 of 500")
    for _ in range(500):
        view.key("k")
    assert view.frame(found, lines.pen(80, "utf-8"), 24)[0][0].endswith("1-20 of 500")


def test_who_is_not_heard_at_all_is_worse_than_who_sounds_bad() -> None:
    bad = call("s1", leg("initiator", mos=2.2), GOOD[1])
    mute_one = call("s2", leg("initiator", mos=4.4), silent("responder"))
    assert [line.name for line in lines.ordered(of(bad, call("s3"), mute_one))] == [
        "s2",
        "s1",
        "s3",
    ]


def test_keys_sort_filter_and_quit() -> None:
    found = of(call("s1", initiator="zoe@x/1"), call("s2", initiator="amy@x/1", age_s=99.0))
    view, pen = View(), lines.pen(80, "utf-8")
    orders = []
    for _ in ORDERS:
        orders.append(view.sort)
        view.key("s")
    assert tuple(orders) == ORDERS
    assert view.sort == "trouble"
    view.sort = "caller"
    assert [row.split()[1] for row, _ in view.frame(found, pen, 24)[2:4]] == ["amy@x", "zoe@x"]
    for key in ("/", "Z", "o", "x", "rubout", "q"):
        assert view.key(key)
    assert view.frame(found, pen, 24)[-1][0] == "filter: Zoq_"
    view.key("rubout")
    view.key("enter")
    title, *_ = view.frame(found, pen, 24)
    assert title[0] == "calls: 2, in trouble: 0, by caller, with 'Zo': 1"
    view.key("escape")
    assert view.filter == ""
    assert not view.key("q")


def test_a_call_is_shown_in_full_and_back() -> None:
    found = of(call("s1"), call("s2"))
    view, pen = View(), lines.pen(80, "utf-8")
    view.frame(found, pen, 24)
    view.key("j")
    view.frame(found, pen, 24)
    view.key("enter")
    assert (view.is_detailed, view.chosen) == (True, "s2")
    details = [f"line {number}" for number in range(30)] + ["* it is wrong."]
    assert [text for text, _ in view.frame(found, pen, 10, details)][:2] == ["line 0", "line 1"]
    view.key("page-down")
    view.key("page-down")
    view.key("page-down")
    view.key("page-down")
    assert ("* it is wrong.", "red") in view.frame(found, pen, 10, details)
    view.key("escape")
    assert not view.is_detailed
    empty = View()
    empty.frame([], pen, 24)
    empty.key("enter")
    assert not empty.is_detailed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B\x1b[5~\x1b[6~", ["up", "down", "page-up", "page-down"]),
        ("\x1bOB\r\n", ["down", "enter", "enter"]),
        ("\x1b", ["escape"]),
        ("a\x7f\x08", ["a", "rubout", "rubout"]),
        ("\x1b[1;5Cx", ["x"]),
        ("", []),
    ],
)
def test_what_a_terminal_sends_for_keys(text: str, found: list[str]) -> None:
    assert list(keys(text)) == found


def test_the_last_minute_is_a_sparkline_with_its_gaps() -> None:
    trails = Trails()
    for second in range(61):
        packets = 50 * min(second, 30)
        heard = leg("initiator", rtp_packets=packets)
        trails.look({"calls": [call("s1", heard, GOOD[1])]}, float(second))
    trail = trails.of(("s1", "voice", "initiator"), 60.0)
    assert trail == (50.0,) * 5 + (0.0,) * 5
    pen = lines.pen(80, "utf-8", trails=True)
    assert pen.spark(trail) == "█████_____"
    assert pen.spark((None, 10.0, 5.0, None)) == " █▄ "
    trails.look({"calls": []}, 61.0)
    assert trails.of(("s1", "voice", "initiator"), 61.0) == (None,) * 10


def test_who_has_just_begun_to_look_sees_the_last_seconds_only() -> None:
    trails = Trails()
    for second, packets in ((0.0, 100), (2.0, 200)):
        trails.look({"calls": [call("s1", leg("initiator", rtp_packets=packets), GOOD[1])]}, second)
    trail = trails.of(("s1", "voice", "initiator"), 2.0)
    assert trail == (None,) * 9 + (50.0,)


SHOWN = """\
import sys
from jingle_hnt.cli import main
from jingle_hnt.commands import inspect, top
from tests.admin import calls
from tests.admin.calls import leg, silent
many = [calls.call(call=f"s{n:05}", initiator=f"user{n}@example.org/x") for n in range(40)]
many += [calls.call(leg("initiator"), silent("responder"), call="s77777")]
answer = {"calls": [call.model_dump(mode="json") for call in many]}
explained = {
    "call": answer["calls"][0], "report": None, "refused": None, "diagnosis": [], "dropped": "",
    "others": [],
}
top.ask = lambda _, command, **__: {"calls": answer, "explain": explained}[command]
sys.exit(main(["top", "--interval", "0.2"]))
"""


@pytest.mark.parametrize("language", ["C.UTF-8", "en_US.ISO-8859-1", "C"])
def test_top_obeys_keys_on_a_real_terminal(language: str) -> None:
    """A pseudo-terminal of 80 by 24: what is typed at it, and what it shows."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    environment["PYTHONIOENCODING"] = {"C": "ascii", "C.UTF-8": "utf-8"}.get(language, "latin-1")
    process = subprocess.Popen(
        [sys.executable, "-c", SHOWN],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        cwd=Path(__file__).parent.parent,
    )
    os.close(slave)
    seen, news = bytearray(), threading.Condition()

    def read() -> None:
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                return
            with news:
                seen.extend(data)
                news.notify()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def shows(text: str) -> None:
        with news:
            assert news.wait_for(lambda: text.encode() in seen, 30), seen[-3000:].decode("latin-1")

    try:
        shows("calls: 41, in trouble: 1, by trouble")
        shows("one-way")
        os.write(master, b"s")
        shows("by score")
        os.write(master, b"/user7\r")
        shows("with 'user7': 1")
        os.write(master, b"\r")
        shows("Nothing is wrong with this call")
        os.write(master, b"\x1b")
        shows(HELP)
        os.write(master, b"q")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", seen.decode("utf-8", "replace"))
    assert "Traceback" not in plain
