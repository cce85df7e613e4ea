"""The journal: what is written is read, what is damaged costs itself and nothing else."""

import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from jingle_hnt.store.journal import MAX_RECORD_BYTES, Journal


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
    journal.close()
    journal.close()
    assert reopened(path) == [{"n": 2}]
    assert path.stat().st_mode & 0o777 == 0o600


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


def test_a_full_disk_is_said_once_and_calls_go_on(path: Path) -> None:
    journal = Journal(path)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from jingle_hnt.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (65536, {resource.RLIM_INFINITY}))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "for n in range(50): journal.put(str(n), {'n': 'x' * 20000})\n"
        "print(journal.healthy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert done.stdout.count("cannot be used") == 1
    journal.close()
