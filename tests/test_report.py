"""The report of a day: its figures, and its page in a real browser as on a phone."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.digest import Digest, digest
from jingle_hnt.admin.refusals import RefusedCall
from jingle_hnt.admin.reports import CallReport, report
from jingle_hnt.call.life import Why
from jingle_hnt.cli import main
from jingle_hnt.commands.page import page, text
from jingle_hnt.model.jingle import Reason
from jingle_hnt.store.history import History
from tests.admin import calls
from tests.admin.calls import leg, silent
from tests.admin.test_refusals import row
from tests.settings.test_config import NEEDED

SINCE = datetime(2026, 11, 30, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)
HOSTILE = '"><img src="http://evil.example/x.png"><script>document.title="owned"</script>'


def over(hour: float, *legs: Any, why: Why = Why.TERMINATED, **changes: Any) -> CallReport:
    reason = Reason("success") if why is Why.TERMINATED else None
    case = Case(calls.call(*legs, **changes), why)
    return report(case, reason, SINCE + timedelta(hours=hour))


def good(hour: float, **changes: Any) -> CallReport:
    return over(hour, leg("initiator", mos=4.4), leg("responder", mos=4.2), **changes)


def turned_away(count: int = 1, **changes: Any) -> RefusedCall:
    at = {"first": "2026-11-30T14:00:00+00:00", "last": "2026-11-30T14:05:00+00:00"}
    return row().model_copy(update={**at, "count": count, "which": "limits.calls", **changes})


def made(*reports: CallReport, refused: tuple[RefusedCall, ...] = ()) -> Digest:
    return digest(reports, refused, SINCE, UNTIL)


def a_day() -> Digest:
    one_way = over(10.5, leg("initiator", mos=4.0), silent("responder"), call="s1way", age_s=300.0)
    poor = over(10.6, leg("initiator", mos=2.0, lost_packets=300), leg("responder", mos=4.0))
    unanswered = over(11.0, setup_s=None, age_s=20.0)
    ice = over(12.0, silent("initiator"), silent("responder"), transport="ice")
    reports = [*(good(h, age_s=100.0) for h in range(8, 20)), one_way, poor, unanswered, ice]
    return made(*reports, refused=(turned_away(7), turned_away(2, kind="drain", which="")))


def test_the_figures_of_a_day() -> None:
    day = a_day()
    assert (day.calls, day.accepted, day.bad, day.one_way, day.refused) == (16, 15, 2, 1, 9)
    assert day.setup_s == (4.0, 4.0)
    assert day.score == 4.2
    assert {c.name: c.count for c in day.causes} == {"one-way": 1}
    assert {c.name: c.count for c in day.ends} == {
        "terminated (success)": 15,
        "unanswered: success": 1,
    }
    assert [(c.name, c.count, c.score) for c in day.paths] == [
        ("raw-udp: relayed", 14, 4.2),
        ("ICE (append): not known", 1, None),
    ]
    assert [(c.name, c.count, c.score) for c in day.source_auths] == [
        ("signalling-address", 27, 4.2)
    ]
    assert [(c.name, c.count) for c in day.obstacles] == [("limit limits.calls", 7), ("drain", 2)]
    assert [r.call.call for r in day.worst] == ["s1way", "s1"]
    assert len(day.steps) == 24
    ten = day.steps[10]
    assert (ten.calls, ten.bad, ten.refused) == (3, 2, 0)
    assert ten.score == 4.0
    assert ten.poor == 2.0
    assert ten.loss > 0
    assert day.steps[14].refused == 9
    assert day.steps[0].score is None
    assert sum(step.calls for step in day.steps) == day.calls


def test_a_long_time_has_no_more_steps_than_a_page_has_room_for() -> None:
    long = digest([good(1)], [], SINCE, SINCE + timedelta(days=90))
    assert len(long.steps) <= 48
    assert long.step_s % 3600 == 0
    short = digest([], [], SINCE, SINCE + timedelta(minutes=5))
    assert (len(short.steps), short.duration_s, short.score) == (1, None, None)


def test_a_party_that_declined_is_no_trouble() -> None:
    declined = over(1.0, silent("initiator"), silent("responder"), setup_s=None)
    assert [f.cause for f in declined.diagnosis] == ["never-accepted"]
    assert made(declined).bad == 0


def test_the_text_says_the_same() -> None:
    said = "\n".join(text(a_day(), SINCE))
    assert "calls from 2026-11-30 00:00 to 2026-12-01 00:00: 16" in said
    assert "answered 15, in trouble 2, one way 1" in said
    assert re.search(r"^refused for +7 limit limits\.calls$", said, re.M)
    assert "only alice@example.org/phone is heard" in said


def test_an_empty_day_has_a_page_too() -> None:
    assert "<b>0</b>" in page(made(), SINCE)
    assert "calls from" in "\n".join(text(made(), SINCE))


def hostile() -> Digest:
    name = f"mallory{HOSTILE}@example.org/x"
    bad = over(3.0, leg("initiator"), silent("responder"), initiator=name, call=HOSTILE)
    return made(bad, refused=(turned_away(1, caller=name, callee=HOSTILE, which=HOSTILE),))


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, Path]:
    """A configuration, and a page's place; its history has a call of an hour ago."""
    file = tmp_path / "c.toml"
    file.write_text(f'{NEEDED}\n[state]\ndirectory = "{tmp_path}"\n')
    kept = History(tmp_path / "history.sqlite", 10)
    case = Case(calls.call(leg("initiator"), silent("responder")), Why.TERMINATED)
    kept.add("s1", "x", report(case, None, datetime.now(UTC)).model_dump_json())
    kept.close()
    return file, tmp_path / "day.html"


def test_the_command_prints_and_writes(
    history: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file, day = history
    assert main(["report", "--config", str(file)]) == 0
    assert "in trouble 1" in capsys.readouterr().out
    assert main(["report", "--config", str(file), "--html", str(day)]) == 0
    assert "1 calls, 1 in trouble" in capsys.readouterr().out
    assert day.stat().st_mode & 0o777 == 0o600
    assert "only alice@example.org/phone is heard" in day.read_text()
    assert main(["report", "--config", str(file), "--since", "yesterday", "--until", "25h"]) == 0
    assert ": 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--since", "noon"], 2, "is no time: write"),
        (["--since", "1h", "--until", "2h"], 2, "write an earlier time"),
        (["--html", "/nowhere/x.html"], 1, "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(
    history: tuple[Path, Path],
    words: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, _ = history
    assert main(["report", "--config", str(file), *words]) == status
    assert said in capsys.readouterr().err


def test_without_a_history_there_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'{NEEDED}\n[state]\ndirectory = "{tmp_path}"\n')
    assert main(["report", "--config", str(file)]) == 1
    assert "there is no history" in capsys.readouterr().err
    file.write_text(f'{NEEDED}\n[state]\ndirectory = "{tmp_path}"\nhistory_calls = 0\n')
    assert main(["report", "--config", str(file)]) == 1
    assert "the history is off" in capsys.readouterr().err


# In a browser

MEASURE = """<!doctype html><meta charset="utf-8"><title>measure</title>
<iframe src="/page.html" style="width:360px;height:800px;border:0"></iframe><pre id="out"></pre>
<script>
document.querySelector("iframe").onload = (event) => {
  const page = event.target.contentDocument, root = page.documentElement;
  const size = (element) => parseFloat(getComputedStyle(element).fontSize);
  const small = [...page.querySelectorAll("p,td,th,h1,h2,h3,li,span")].map(size);
  const tall = [...page.querySelectorAll(".chart u")].map((u) => u.getBoundingClientRect().height);
  document.getElementById("out").textContent = JSON.stringify({
    title: page.title, width: root.scrollWidth, smallest: Math.min(...small),
    tallest: Math.max(0, ...tall), text: page.body.innerText,
    foreign: page.querySelectorAll("script,img,link,iframe,object,embed,form,a").length,
    background: getComputedStyle(page.body).backgroundColor,
  });
};
</script>
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.path = urlsplit(self.path).path  # we are the browser's proxy
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium here")
@pytest.mark.parametrize("day", [a_day, hostile])
def test_the_page_is_read_on_a_phone_and_fetches_nothing(
    tmp_path: Path, day: Any, record_property: Any
) -> None:
    """A real Chromium, whose every request would come to us: it is behind our own proxy."""
    (tmp_path / "page.html").write_text(page(day(), SINCE))
    (tmp_path / "measure.html").write_text(MEASURE)
    Handler.asked.clear()
    handler = functools.partial(Handler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"127.0.0.1:{server.server_port}"
    words = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        *(f"--user-data-dir={tmp_path / 'home'}", f"--proxy-server={here}"),
        *("--proxy-bypass-list=<-loopback>", "--virtual-time-budget=5000"),
        f"http://{here}/measure.html",
    ]
    try:
        environment = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=90, env=environment, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stdout[-2000:] + done.stderr[-2000:]
    measured = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert measured["width"] <= 360, "it must not be wider than a phone"
    assert measured["smallest"] >= 12
    assert measured["foreign"] == 0
    assert measured["title"].startswith("Calls 2026-11-30")
    assert measured["tallest"] > 20
    if day is hostile:
        assert HOSTILE in measured["text"]
    else:
        assert "only alice@example.org/phone is heard" in measured["text"]
    ours = {path.rpartition("/")[2] for path in Handler.asked if here in path}
    assert ours - {"favicon.ico"} == {"measure.html", "page.html"}
    assert not any("evil" in path for path in Handler.asked)
