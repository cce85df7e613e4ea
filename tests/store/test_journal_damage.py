"""Row F6 of docs/threats.md: what is left of a journal that was damaged, and what is believed."""

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from jingle_hnt.store.journal import Journal
from tests.fuzz.targets import mutated, record_of_a_call
from tests.threats import doses
from tests.threats.doses import Measured

FILES, CALLS, PAGE = 10_000, 40, 4096
CALL: dict[str, Any] = json.loads(record_of_a_call())
RECORDS = {f"s{number}": CALL | {"name": f"s{number}"} for number in range(CALLS)}


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    def drop(*_: object) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    yield
    structlog.reset_defaults()


class Samples:
    """A journal as it is left at the end, and one as a crash leaves it: half of it in the log."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.sqlite"
        self._wal = directory / "journal.sqlite-wal"
        self._beside = [self.path.with_suffix(".damaged"), directory / "journal.sqlite-shm"]
        journal = Journal(directory / "made" / "journal.sqlite")
        half = CALLS // 2
        for name in list(RECORDS)[:half]:
            journal.put(name, RECORDS[name])
        journal.close()
        journal = Journal(journal.path)
        for name in list(RECORDS)[half:]:
            journal.put(name, RECORDS[name])
        crashed = directory / "crashed"
        shutil.copytree(journal.path.parent, crashed)
        journal.close()
        self.whole = journal.path.read_bytes()
        self.halves = [(crashed / f"journal.sqlite{end}").read_bytes() for end in ("", "-wal")]
        with contextlib.closing(sqlite3.connect(journal.path)) as db:
            roots = {page for (page,) in db.execute("SELECT rootpage FROM sqlite_master")}
            texts = dict(db.execute("SELECT name, CAST(record AS BLOB) FROM session"))
        self.frame = {page - 1 for page in roots} | {0}
        self.pages = {
            name: _pages(self.whole.index(text), len(text)) for name, text in texts.items()
        }

    def lay(self, database: bytes, wal: bytes = b"") -> None:
        """Put these files where they are opened, and nothing beside them."""
        for path in (*self._beside, self._wal):
            path.unlink(missing_ok=True)
        self.path.write_bytes(database)
        if wal:
            self._wal.write_bytes(wal)

    def poison(self, chance: random.Random) -> set[str]:
        """Change what some records say; returns whose."""
        self.lay(self.whole)
        names = set(chance.sample(sorted(RECORDS), chance.randint(1, 5)))
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            for name in names:
                (text,) = db.execute(
                    "SELECT CAST(record AS BLOB) FROM session WHERE name = ?", (name,)
                ).fetchone()
                bad = (mutated(text, [self.whole[:PAGE]], chance), name)
                db.execute("UPDATE session SET record = CAST(? AS TEXT) WHERE name = ?", bad)
            db.commit()
        return names

    def damage(self, chance: random.Random) -> set[str]:
        """Damage a file somehow, and lay it; returns the records that must come back."""
        whole = bytearray(self.whole)
        at = chance.randrange(len(whole))
        match chance.randrange(5):
            case 0:
                return set(RECORDS) - self.poison(chance)
            case 1:
                wal = bytearray(self.halves[1])
                _overwrite(wal, chance.randrange(len(wal)), chance)
                self.lay(self.halves[0], bytes(wal[: chance.randint(1, len(wal))]))
                return set(list(RECORDS)[: CALLS // 2])
            case 2:
                hit = _pages(at, len(whole) - at)
                del whole[at:]
            case _:
                hit = _pages(at, _overwrite(whole, at, chance))
        self.lay(bytes(whole))
        return set() if hit & self.frame else {n for n, own in self.pages.items() if not own & hit}


def _pages(at: int, length: int) -> set[int]:
    return set(range(at // PAGE, (at + length - 1) // PAGE + 1))


def _overwrite(whole: bytearray, at: int, chance: random.Random) -> int:
    """Put anything else there, of a bit to two pages; returns how much."""
    length = min(chance.choice((1, 1, 16, 512, 2 * PAGE)), len(whole) - at)
    other = bytes([whole[at] ^ 1 << chance.randrange(8)])
    whole[at : at + length] = other if length == 1 else chance.randbytes(length)
    return length


def opened(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a journal that can be written again afterwards."""
    journal = Journal(path)
    found = {str(record.get("name")): record for record in journal.records()}
    journal.put("new", {"name": "new"})
    assert journal.healthy
    journal.close()
    return found


@pytest.mark.timeout(600)
def test_what_is_not_damaged_comes_back_and_nothing_else_is_believed(
    tmp_path: Path, record_property: Measured
) -> None:
    samples, chance = Samples(tmp_path), random.Random(6)
    files, wanted, lost, altered = doses.count(FILES), 0, 0, 0
    for _ in range(files):
        good = samples.damage(chance)
        found = opened(samples.path)
        wanted += len(good)
        lost += len(good - found.keys())
        altered += sum(record != RECORDS.get(name) for name, record in found.items())
        assert opened(samples.path).keys() == found.keys() | {"new"}
    record_property("files", files)
    record_property("good_records", wanted)
    record_property("lost", lost)
    record_property("altered", altered)
    assert wanted > files * CALLS / 3
    assert (lost, altered) == (0, 0)
