"""The history: bounded, found by name and sid, and never in the way of calls."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from jingle_hnt.store.history import History


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "history.sqlite"


def test_the_oldest_calls_make_room(path: Path) -> None:
    history = History(path, 3)
    for number in range(7):
        history.add(f"s{number}", "same", f'{{"n": {number}}}')
    assert history.latest(100) == [{"n": 6}, {"n": 5}, {"n": 4}]
    assert history.find("s3") is None
    assert history.find("s4") == {"n": 4}
    assert history.find("same") == {"n": 6}
    history.close()
    history.close()


def test_a_smaller_bound_is_kept_after_a_restart(path: Path) -> None:
    history = History(path, 100)
    for number in range(50):
        history.add(f"s{number}", "x", "{}")
    history.close()
    history = History(path, 5)
    history.add("s50", "x", "{}")
    assert len(history.latest(100)) == 5
    history.close()


def test_calls_are_found_by_party(path: Path) -> None:
    history = History(path, 10)
    history.add("s1", "a", '{"initiator": "alice@example.org"}')
    history.add("s2", "b", '{"initiator": "bob@example.org"}')
    assert history.latest(10, "alice@") == [{"initiator": "alice@example.org"}]
    history.close()


def test_who_is_blocked_stays_so_in_the_next_life(path: Path) -> None:
    history = History(path, 10)
    history.block("eve@example.org")
    history.block("eve@example.org")
    history.block("spam.example")
    history.unblock("spam.example")
    history.close()
    history = History(path, 10)
    assert history.blocked() == {"eve@example.org"}
    kept = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert kept == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm")}
    history.close()


def test_a_damaged_file_is_set_aside(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage" * 1000)
    history = History(path, 10)
    history.add("s1", "a", "{}")
    assert history.latest(10) == [{}]
    assert path.with_suffix(".damaged").exists()
    history.close()


def test_what_was_set_aside_before_is_never_written_over(path: Path) -> None:
    path.parent.mkdir(parents=True)
    for number in range(3):
        path.write_bytes(b"garbage %d" % number * 1000)
        History(path, 10).close()
    asides = [path.with_suffix(f".damaged{end}") for end in ("", ".1", ".2")]
    assert [aside.read_bytes()[:9] for aside in asides] == [b"garbage %d" % n for n in range(3)]


def test_a_row_that_is_no_report_is_skipped(path: Path) -> None:
    history = History(path, 10)
    history.add("s1", "a", "not json")
    history.add("s2", "b", "[1]")
    history.add("s3", "c", "{}")
    assert history.latest(10) == [{}]
    history.close()


def test_a_file_that_cannot_be_written_costs_no_call(path: Path) -> None:
    history = History(path, 10)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE call")
    db.close()
    history.add("s1", "a", "{}")
    assert not history.healthy
    assert history.latest(10) == [{}]
    history.close()


def test_a_directory_that_is_taken_away_is_made_again_with_who_is_blocked(path: Path) -> None:
    history = History(path, 10)
    history.block("eve@example.org")
    history.add("s1", "x", "{}")
    shutil.rmtree(path.parent)
    assert history.is_gone
    path.parent.write_text("in the way")
    history.retry()
    states = [history.healthy]
    path.parent.unlink()
    history.retry()
    assert [*states, history.healthy] == [False, True]
    history.add("s2", "x", "{}")
    history.close()
    again = History(path, 10)
    assert again.blocked() == {"eve@example.org"}
    assert again.find("s2") == {}
    again.close()
