"""The history: bounded, found by name and sid, and never in the way of calls."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from jingle_hnt.store.history import _TABLES, History, Refused, read_between


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
    history.add("s0a1b2c3d4", "x", '{"n": 7}')
    assert history.find("s0a1b2") == {"n": 7}
    assert history.find("s0a") is None
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


def refusal(number: int, owner: str = "eve", at: str = "2026-11-30T10:00:00+00:00") -> Refused:
    told = {"first": at, "last": at, "count": 1, "caller": owner, "sids": [f"s{number}"]}
    return f"{owner} {number}", owner, told


def test_whoever_has_most_refusals_makes_room_for_the_others(path: Path) -> None:
    history = History(path, 20)
    history.refuse([refusal(0, "alice")], 60.0)
    for number in range(100):
        history.refuse([refusal(number, "eve"), refusal(number, f"u{number % 5}")], 60.0)
    owners = [row["caller"] for row in history.refused(1000)]
    assert len(owners) == 20
    assert owners.count("alice") == 1
    assert owners.count("eve") < 10
    history.add("s1", "a", "{}")
    assert history.latest(10) == [{}]
    history.close()


def test_refusals_that_are_alike_and_near_are_one_row(path: Path) -> None:
    history = History(path, 100)
    minutes = ("10:00:00", "10:00:50", "10:01:45", "10:10:00")
    for number, minute in enumerate(minutes):
        _, owner, told = refusal(number, at=f"2026-11-30T{minute}+00:00")
        history.refuse([("same", owner, told)], 60.0)
    late, early = history.refused(10)
    assert (late["count"], early["count"]) == (1, 3)
    assert early["first"].endswith("10:00:00+00:00")
    assert early["last"].endswith("10:01:45+00:00")
    assert early["sids"] == ["s0", "s1", "s2"]
    assert history.refused(10, "s1") == [early]
    history.close()


def test_what_is_older_than_it_may_be_is_deleted(path: Path) -> None:
    now = [1_800_000_000.0]
    history = History(path, 100, days=30, clock=lambda: now[0])
    history.add("s1", "a", '{"n": 1}')
    history.refuse([refusal(1, at="2027-01-15T08:00:00+00:00")], 60.0)
    now[0] += 29 * 86400
    history.add("s2", "b", '{"n": 2}')
    history.forget_old()
    assert len(history.latest(10)) == 2
    now[0] += 2 * 86400
    history.forget_old()
    assert history.latest(10) == [{"n": 2}]
    assert history.refused(10) == []
    history.close()
    now[0] += 60 * 86400
    history = History(path, 100, days=30, clock=lambda: now[0])
    assert history.latest(10) == []
    history.close()


def test_a_history_that_is_off_keeps_who_is_blocked_and_nothing_else(path: Path) -> None:
    history = History(path, 10)
    history.add("s1", "alice-sid", '{"who": "alice"}')
    history.block("eve@example.org")
    history.close()
    history = History(path, 0)
    history.add("s2", "b", "{}")
    history.refuse([refusal(1)], 60.0)
    history.block("spam.example")
    assert (history.latest(10), history.refused(10), history.find("s1")) == ([], [], None)
    assert history.healthy
    history.close()
    history = History(path, 10)
    assert history.blocked() == {"eve@example.org", "spam.example"}
    assert history.latest(10) == []
    history.close()
    assert b"alice" not in path.read_bytes()


def test_a_file_of_an_earlier_version_gets_its_times_and_can_still_be_read_by_it(
    path: Path,
) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.executescript(_TABLES)
        db.execute("PRAGMA user_version = 1")
        text = '{"ended": "2026-11-30T10:00:00.000+00:00"}'
        insert = "INSERT INTO call (name, sid, report) VALUES (?, ?, ?)"
        db.executemany(insert, [("s1", "a", text), ("s2", "b", "no report")])
    db.close()
    history = History(path, 10)
    ended = 1_796_032_800.0
    assert len(history.latest(10, since=ended, until=ended)) == 1
    history.add("s3", "c", "{}")
    history.close()
    with sqlite3.connect(path) as db:  # what the earlier version does
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        db.execute(insert, ("s4", "d", text))
    db.close()
    history = History(path, 10)
    assert len(history.latest(10, since=ended, until=ended)) == 2
    history.close()


def test_another_process_reads_and_leaves_no_file(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no history"):
        read_between(path, 0, float("inf"))
    history = History(path, 10, clock=lambda: 1000.0)
    history.add("s1", "a", '{"n": 1}')
    history.refuse([refusal(1)], 60.0)
    calls, refused = read_between(path, 0, float("inf"))
    assert calls == [{"n": 1}]
    assert [row["caller"] for row in refused] == ["eve"]
    assert read_between(path, 1001, 2000) == ([], [])
    history.close()
    before = sorted(file.name for file in path.parent.iterdir())
    assert read_between(path, 0, float("inf")) == (calls, refused)
    assert sorted(file.name for file in path.parent.iterdir()) == before == [path.name]
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(OSError, match="cannot be read"):
        read_between(path, 0, 1)
