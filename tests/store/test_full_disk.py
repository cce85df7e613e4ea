"""Rows F29 and F30: a full disk is a state. Nothing is lost while it lasts, and it ends.

A limit on the size of files stands for the disk; each life of the process is one of its own, and
ends without a word.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from jingle_hnt.store.spill import SLACK, Spill

LIFE = f"""
import json, os, resource, signal, sys
from pathlib import Path
from jingle_hnt.store.history import History
from jingle_hnt.store.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def disk(room): resource.setrlimit(resource.RLIMIT_FSIZE, (room, {resource.RLIM_INFINITY}))
def names(): return sorted(record["name"] for record in journal.records())
def calls(): return [report["n"] for report in history.latest(100)]
FULL, SPACE = 0, {resource.RLIM_INFINITY}
directory, said = Path(sys.argv[1]), []
spill = lambda: sorted(file.name for file in Path(sys.argv[2]).iterdir())
BIG = "x" * 20000
{{steps}}
sys.stdout.write(json.dumps(said))
sys.stdout.flush()
os._exit(0)
"""


def life(directory: Path, steps: str) -> Any:
    """What one life of the process says of itself."""
    other = directory.with_name(f"{directory.name}-other-disk")
    other.mkdir(exist_ok=True)
    words = [sys.executable, "-c", LIFE.format(steps=steps), str(directory), str(other)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.rpartition("\n")[2])


OPEN_HISTORY = "history = History(directory / 'history.sqlite', 10)\n"
OPEN_JOURNAL = "journal = Journal(directory / 'journal.sqlite')\n"
TELL = "said += [calls(), sorted(history.blocked()), history.healthy]\n"


def test_a_start_on_a_full_disk_has_the_history_and_the_blocks(tmp_path: Path) -> None:
    begun = OPEN_HISTORY + "history.block('mallory@example.org')\n"
    added = "for n in range(3): history.add(f's{n}', 'a', json.dumps({'n': n}))\n"
    life(tmp_path, begun + added)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before["history.sqlite-wal"]) > len(before["history.sqlite"])
    found = life(tmp_path, "disk(FULL)\n" + OPEN_HISTORY + "history.retry()\n" + TELL)
    assert found == [[2, 1, 0], ["mallory@example.org"], False]
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {name: after[name] for name in ("history.sqlite", "history.sqlite-wal")} == {
        name: before[name] for name in ("history.sqlite", "history.sqlite-wal")
    }
    assert not any("damaged" in name for name in after)
    assert life(tmp_path, OPEN_HISTORY + TELL) == [[2, 1, 0], ["mallory@example.org"], True]


def test_what_happens_while_the_disk_is_full_is_in_the_history_when_it_is_not(
    tmp_path: Path,
) -> None:
    meanwhile = (
        "disk(FULL)\nhistory.add('s7', 'a', json.dumps({'n': 7}))\n"
        "history.block('eve@example.org'); history.unblock('mallory@example.org')\n" + TELL
    )
    steps = OPEN_HISTORY + "history.block('mallory@example.org')\n" + meanwhile
    found = life(tmp_path, steps + "disk(SPACE)\nhistory.retry()\nsaid.append(history.healthy)")
    assert found == [[7], ["eve@example.org"], False, True]
    assert life(tmp_path, OPEN_HISTORY + TELL) == [[7], ["eve@example.org"], True]


def test_a_history_that_was_begun_on_a_full_disk_is_on_it_when_there_is_space(
    tmp_path: Path,
) -> None:
    steps = "disk(FULL)\n" + OPEN_HISTORY + "history.add('s7', 'a', json.dumps({'n': 7}))\n" + TELL
    found = life(tmp_path, steps + "disk(SPACE)\nhistory.retry()\nsaid.append(history.healthy)")
    assert found == [[7], [], False, True]
    assert life(tmp_path, OPEN_HISTORY + TELL) == [[7], [], True]


def test_what_the_disk_did_not_take_of_the_journal_is_written_when_there_is_space(
    tmp_path: Path,
) -> None:
    """A call that ended meanwhile, one that began, and one that changed."""
    steps = (
        OPEN_JOURNAL + "for n in 'abc': journal.put(n, {'name': n})\ndisk(FULL)\n"
        "journal.forget('a'); journal.put('b', {'name': 'b2'}); journal.put('d', {'name': 'd'})\n"
        "said.append(journal.healthy)\ndisk(SPACE)\njournal.put('e', {'name': 'e'})\n"
        "said.append(journal.healthy)\njournal.retry()\nsaid.append(journal.healthy)\n"
    )
    assert life(tmp_path, steps) == [False, False, True]
    assert life(tmp_path, OPEN_JOURNAL + "said = names()") == ["b2", "c", "d", "e"]


def test_a_journal_that_began_in_memory_returns_to_the_disk(tmp_path: Path) -> None:
    life(tmp_path, OPEN_JOURNAL + "for n in 'abc': journal.put(n, {'name': n})\n")
    steps = (
        "disk(FULL)\n" + OPEN_JOURNAL + "said.append(names())\njournal.forget('a')\n"
        "journal.put('d', {'name': 'd'})\njournal.retry()\nsaid.append(journal.healthy)\n"
        "disk(SPACE)\njournal.retry()\nsaid.append(journal.healthy)\njournal.forget('b')"
    )
    assert life(tmp_path, steps) == [["a", "b", "c"], False, True]
    assert life(tmp_path, OPEN_JOURNAL + "said = names()") == ["c", "d"]


# A crash while the disk is full: the runtime directory is on another one.
#
# A limit on the size of files stands for the disk, and would stand for the other one, too: so
# SQLite's own limit does, which is of one database.

SPILLED = """
other = Path(sys.argv[2])
def full(store):
    store._db.execute("PRAGMA journal_mode = DELETE")
    store._db.execute("PRAGMA max_page_count = 1")
"""
JOURNAL = SPILLED + "journal = Journal(directory / 'journal.sqlite', other / 'journal')\n"
HISTORY = SPILLED + "history = History(directory / 'history.sqlite', 10, spill=other / 'history')\n"


def test_what_the_disk_did_not_take_of_the_journal_outlives_a_crash(tmp_path: Path) -> None:
    changes = (
        "for n in 'abc': journal.put(n, {'name': n})\nfull(journal)\n"
        "journal.put('d', {'name': BIG})\nsaid += [journal.healthy, spill()]\n"
        "journal.forget('a'); journal.put('b', {'name': 'b2'})\n"
    )
    assert life(tmp_path, JOURNAL + changes) == [False, ["journal"]]
    with (tmp_path.with_name(f"{tmp_path.name}-other-disk") / "journal").open("ab") as file:
        file.write(b'\n["cut')
    found = life(tmp_path, JOURNAL + "said += [[n[:9] for n in names()], journal.healthy, spill()]")
    assert found == [["b2", "c", "x" * 9], True, []]


def test_what_the_disk_did_not_take_of_the_history_outlives_a_crash(tmp_path: Path) -> None:
    begun = "history.block('mallory@example.org')\nfull(history)\n"
    meanwhile = (
        "history.add('s7', 'a', json.dumps({'n': 7, 'big': BIG}))\n"
        "history.block('eve@example.org'); history.unblock('mallory@example.org')\n"
        "said += [history.healthy, spill()]\n"
    )
    assert life(tmp_path, HISTORY + begun + meanwhile) == [False, ["history"]]
    told = [[7], ["eve@example.org"], True]
    assert life(tmp_path, HISTORY + TELL + "said.append(spill())") == [*told, []]
    assert life(tmp_path, OPEN_HISTORY + TELL) == told


def test_a_spill_does_not_grow_with_what_is_written_again_and_again(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill")
    for number in range(5 * SLACK):
        spill.keep({"a": number, "b": None})
    assert len((tmp_path / "spill").read_bytes().splitlines()) < 3 * SLACK
    assert (tmp_path / "spill").stat().st_mode & 0o777 == 0o600
    again = Spill(tmp_path / "spill")
    assert again.left() == {"a": 5 * SLACK - 1, "b": None}
    again.clear()
    assert not (tmp_path / "spill").exists()


def test_without_another_disk_nothing_is_spilled(tmp_path: Path) -> None:
    for spill in (Spill(None), Spill(tmp_path / "nowhere" / "spill")):
        spill.keep({"a": 1})
        spill.clear()
        assert spill.left() == {}
