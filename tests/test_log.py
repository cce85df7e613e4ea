"""What reaches the log, and what must not."""

import asyncio
import contextlib
import json
import logging
import resource
import socket
from pathlib import Path
from typing import Literal

import pytest
import structlog

from jingle_hnt import log


@pytest.fixture(autouse=True)
def _reset() -> object:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("latched onto 198.51.100.7:4000", "latched onto 198.51.100.x:4000"),
        ("[2001:db8:1:2::5]:4000", "[2001:db8:1::x]:4000"),
        ("at 12:30:45 all was well", "at 12:30:45 all was well"),
        ("call s1.1.1", "call s1.1.1"),
    ],
)
def test_addresses_are_made_unspecific(text: str, redacted: str) -> None:
    assert log.redact_text(text) == redacted


def test_a_partys_text_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="text")
    structlog.get_logger().info("ended", reason="bye\n2026-01-01 [error] forged\x1b[31m\u2028")
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said


def test_secrets_never_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    structlog.get_logger().warning("oops", secret="hush", source="198.51.100.7")
    entry = json.loads(capsys.readouterr().err)
    assert entry["secret"] == "***"
    assert entry["source"] == "198.51.100.x"


@pytest.mark.parametrize("form", ["json", "text"])
def test_libraries_log_in_the_same_form(
    capsys: pytest.CaptureFixture[str], form: Literal["json", "text"]
) -> None:
    """A shipper that parses JSON lines drops a line that is none."""
    log.configure(form=form)
    logging.getLogger("slixmpp.xmlstream").info("connection_lost: %s", (None,))
    try:
        raise OSError("broken by 198.51.100.7")
    except OSError:
        logging.getLogger("asyncio").exception("Task failed")
    lines = capsys.readouterr().err.splitlines()
    if form == "text":
        assert "connection_lost: (None,)" in lines[0]
        assert "198.51.100.x" in lines[-1]
        return
    first, second = map(json.loads, lines)
    assert (first["event"], first["level"]) == ("connection_lost: (None,)", "info")
    assert (first["logger"], second["event"]) == ("slixmpp.xmlstream", "Task failed")
    assert "broken by 198.51.100.x" in second["exception"]


def test_libraries_cannot_flood_it(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    for number in range(500):
        logging.getLogger("asyncio").error("socket.send() raised exception\n%d", number)
    said = capsys.readouterr().err
    assert 1 <= said.count("raised exception") <= 2 * log.BURST


async def test_a_connection_that_no_descriptor_is_left_for_is_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """asyncio has a traceback for each, a hundred at a time."""
    log.configure(form="text")
    path = str(tmp_path / "socket")
    server = await asyncio.start_unix_server(lambda *_: None, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            client.connect(path)
            await asyncio.sleep(0.05)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.close()
    said = capsys.readouterr().err.splitlines()
    assert said
    assert all("a connection is not accepted: [Errno 24]" in line for line in said)


def test_whole_addresses_are_the_operators_choice(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(redact=False)
    structlog.get_logger().info("latched", source="198.51.100.7")
    structlog.get_logger().debug("not wanted")
    said = capsys.readouterr().err
    assert "198.51.100.7" in said
    assert "not wanted" not in said


def test_what_strangers_provoke_is_told_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """Row F24: a flood does not fill the disk, and is not hidden either."""
    now = [0.0]
    calm = log.Calm(lambda: now[0])
    told = []
    for _ in range(60_000):
        now[0] += 0.01
        for level, text in (("warning", "rival source"), ("info", "stanza rejected")):
            with contextlib.suppress(structlog.DropEvent):
                told.append(calm(None, level, {"event": text}))
    assert 1200 <= len(told) <= 1220
    counted = sum(1 + int(str(event.get("left_out", 0))) for event in told)
    assert counted >= 119_800


def test_calls_that_nobody_answers_are_told_five_times_a_second() -> None:
    """Row F24: many users may ring and give up, each within its limits."""
    now = [0.0]
    calm = log.Calm(lambda: now[0])
    told = []
    for _ in range(10_000):
        now[0] += 0.01
        with contextlib.suppress(structlog.DropEvent):
            told.append(calm(None, "info", {"event": "call ended unanswered"}))
    assert 500 <= len(told) <= 510
    assert sum(1 + int(str(event.get("left_out", 0))) for event in told) >= 9_980


def test_what_a_call_leaves_is_always_told() -> None:
    calm = log.Calm(lambda: 0.0)
    for _ in range(1000):
        assert calm(None, "info", {"event": "call ended"})
        assert calm(None, "error", {"event": "process ended; it is started again"})


def test_the_texts_that_are_counted_do_not_add_up() -> None:
    calm = log.Calm(lambda: 0.0)
    for number in range(10_000):
        calm(None, "warning", {"event": f"text {number}"})
    assert len(calm._kinds) <= log.KINDS


def test_a_line_has_an_end_whatever_parties_choose(capsys: pytest.CaptureFixture[str]) -> None:
    """Row P7: names of kilobytes, and many of them."""
    log.configure(form="json")
    legs = [f"{'name' * 1000}/{number}" for number in range(64)]
    structlog.get_logger().info("call ended", sid="s" * 60_000, legs=legs, why="terminated")
    said = capsys.readouterr().err
    assert len(said) < 6000
    assert json.loads(said)["sid"].endswith("…")


def test_who_moves_all_the_time_is_told_of_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(form="json")
    for number in range(100):
        structlog.get_logger().info("re-latched", binding=f"s{number}")
        structlog.get_logger().info("latched", binding=f"s{number}")
    assert len(capsys.readouterr().err.splitlines()) <= 22
