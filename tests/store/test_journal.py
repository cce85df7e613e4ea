"""The journal: what is written is read, what is damaged costs itself and nothing else."""

import contextlib
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jingle_hnt.store.journal import MAX_RECORD_BYTES, Journal
from jingle_hnt.store.turns import AT_ONCE, Turns
from tests.threats import doses
from tests.threats.doses import Measured


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


def reopened(path: Path) -> list[dict[str, object]]:
    journal = Journal(path)
    found = list(journal.records())
    journal.close()
    return found


def test_what_is_put_is_there_in_the_next_life(path: Path) -> None:
    journal = Journal(path)
    journal.put("a", {"n": 1})
    journal.put("a", {"n": 2})
    journal.put("b", {"n": 3})
    journal.forget("b")
    kept = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert kept == {f"{path.name}{end}": 0o600 for end in ("", "-wal", "-shm")}
    journal.close()
    journal.close()
    assert reopened(path) == [{"n": 2}]


def test_a_directory_that_is_taken_away_is_made_again_with_all_that_is_known(path: Path) -> None:
    journal = Journal(path)
    journal.put("a", {"n": 1})
    shutil.rmtree(path.parent)
    assert journal.is_gone
    path.parent.write_text("in the way")
    journal.retry()
    states = [journal.healthy]
    journal.put("b", {"n": 2})
    path.parent.unlink()
    journal.retry()
    assert [*states, journal.healthy] == [False, True]
    journal.put("c", {"n": 3})
    assert sorted(record["n"] for record in reopened(path)) == [1, 2, 3]  # type: ignore[type-var]
    journal.close()


def test_records_are_written_together_or_not_at_all(path: Path) -> None:
    journal = Journal(path)
    refuse = "SELECT RAISE(ABORT, 'a bad name'); END"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(
            f"CREATE TRIGGER bad BEFORE INSERT ON session WHEN NEW.name = 'bad' BEGIN {refuse}"
        )
    journal.write({"a": {"n": 1}, "b": {"n": 2}})
    journal.write({"a": None, "c": {"n": 3}, "gone": None})
    journal.write({"a": {"n": 4}, "bad": {"n": 5}})
    health = [journal.healthy]
    journal.write({"d": {"n": 5}})
    health.append(journal.healthy)
    journal.close()
    assert health == [False, True]
    assert reopened(path) == [{"n": 2}, {"n": 3}, {"n": 5}]


@pytest.mark.parametrize("poison", ["", "not json", "[1]", "null", b"\xff\xfe", '{"a":' * 5000, 7])
def test_a_poisoned_record_is_skipped_and_the_others_are_read(path: Path, poison: object) -> None:
    journal = Journal(path)
    journal.put("good", {"n": 1})
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO session VALUES ('bad', ?)", (poison,))
    db.close()
    assert reopened(path) == [{"n": 1}]
    assert reopened(path) == [{"n": 1}]


def test_records_larger_than_any_call_are_neither_written_nor_read(path: Path) -> None:
    journal = Journal(path)
    journal.put("huge", {"n": "x" * MAX_RECORD_BYTES})
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO session VALUES ('huge', ?)", ("x" * (MAX_RECORD_BYTES + 1),))
    db.close()
    assert reopened(path) == []


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 2000])
def test_a_damaged_file_is_set_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert reopened(path) == []
    assert path.with_suffix(".damaged").read_bytes() == content


def test_a_journal_of_another_version_is_set_aside(path: Path) -> None:
    journal = Journal(path)
    journal.put("a", {"n": 1})
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert reopened(path) == []
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize("change", ["replace(record, '1', '2')", "replace(record, 'sum', 'sun')"])
def test_a_record_that_says_something_else_is_skipped(path: Path, change: str) -> None:
    """Though it can be read: nothing but its checksum tells."""
    journal = Journal(path)
    journal.put("bad", {"n": 1})
    journal.put("good", {"n": 3})
    journal.close()
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE session SET record = {change} WHERE name = 'bad'")
    db.close()
    assert reopened(path) == [{"n": 3}]


@pytest.mark.timeout(300)
def test_a_huge_journal_is_read(path: Path, record_property: Measured) -> None:
    """As many calls as there are ports for, and far more."""
    calls, call = doses.count(100_000), {"n": "x" * 2000}
    journal = Journal(path)
    for first in range(0, calls, 1000):
        names = range(first, min(first + 1000, calls))
        journal.write({str(name): call for name in names})
    journal.close()
    megabytes = path.stat().st_size / 1e6
    began_at = time.process_time()
    found = reopened(path)
    took_s = time.process_time() - began_at
    record_property("calls", len(found))
    record_property("megabytes", round(megabytes, 1))
    record_property("cpu_s", round(took_s, 2))
    assert len(found) == calls
    assert took_s < 60


FULL_DISK = f"""
import resource, signal, sys
from pathlib import Path
from jingle_hnt.store.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, room, writes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, {resource.RLIM_INFINITY}))
if not room:
    limit()
journal = Journal(path)
limit()
found = len(list(journal.records()))
for n in range(writes): journal.put(str(n), {{'n': 'x' * 20000}})
print(found, journal.healthy)
import os; os._exit(0)  # without the checkpoint of an orderly end
"""


def on_a_full_disk(path: Path, room: int, writes: int) -> tuple[int, str, int]:
    """How many records there were, whether all is well, and how often that was denied."""
    words = [sys.executable, "-c", FULL_DISK, str(path), str(room), str(writes)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found, healthy = done.stdout.splitlines()[-1].split()
    return int(found), healthy, done.stdout.count("cannot be used")


def test_a_full_disk_is_said_once_and_calls_go_on(path: Path, record_property: Measured) -> None:
    writes = doses.count(1000)
    assert on_a_full_disk(path, 1 << 18, writes) == (0, "False", 1)
    kept = path.read_bytes()
    # A start while the disk is full finds what was written, and touches nothing.
    restored, healthy, said = on_a_full_disk(path, 0, writes)
    record_property("writes", 2 * writes)
    record_property("restored", restored)
    assert restored >= 5
    assert (healthy, said) == ("False", 1)
    assert path.read_bytes() == kept
    assert not path.with_suffix(".damaged").exists()
    assert len(reopened(path)) == restored


def test_a_record_that_has_grown_too_large_leaves_no_stale_one(path: Path) -> None:
    """Row P9: the ports that a stale record names may be another call's after a restart."""
    journal = Journal(path)
    journal.put("s1", {"name": "s1", "ports": 2000})
    journal.put("s1", {"name": "s1", "text": "x" * MAX_RECORD_BYTES})
    journal.close()
    assert reopened(path) == []


def test_a_call_that_changes_fast_is_written_now_and_then() -> None:
    """Row P4: a write for each change is the disk of all."""
    turns, written = Turns(2.0), 0
    for step in range(1000):
        due = turns.due({"fast": True}, step / 100)
        written += due == ["fast"]
    assert written <= AT_ONCE + 2.0 * 10
    assert turns.put_off == 1000 - written
    assert turns.due({"fast": True, "slow": True, "over": False}, 10.0) == ["slow", "over"]
    turns.forget("fast")
    assert turns.due({"fast": True}, 10.0) == ["fast"]
    assert Turns(0).due({"fast": True}, 10.0) == ["fast"]
