"""The history of calls that are over: one SQLite file of bounded length. The oldest make room.

Refused calls have a table of their own, in which the owner of most rows makes room. The file also
has the blocked JIDs and domains. If the disk is full or the file is damaged, that is logged once
and the calls go on. Rows that a full disk does not take are kept, and written when there is space.
Nothing is renamed or deleted then, and blocks stay in force.
"""

import contextlib
import json
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from jingle_hnt.store.private import is_of_the_disk, make_private, set_aside
from jingle_hnt.store.spill import Spill

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS call (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, sid TEXT, report TEXT
);
CREATE INDEX IF NOT EXISTS call_name ON call (name);
CREATE INDEX IF NOT EXISTS call_sid ON call (sid);
CREATE TABLE IF NOT EXISTS blocked (who TEXT PRIMARY KEY);
"""

_LATER_TABLES = """
CREATE TABLE IF NOT EXISTS refused (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, alike TEXT, owner TEXT, report TEXT
);
CREATE INDEX IF NOT EXISTS refused_at ON refused (at);
CREATE INDEX IF NOT EXISTS refused_alike ON refused (alike);
CREATE INDEX IF NOT EXISTS refused_owner ON refused (owner);
CREATE INDEX IF NOT EXISTS call_at ON call (at);
"""
"""What came later: a version that does not know it reads and writes the file as before."""

MOST_OF_OWNER = 200
"""Refused calls of one owner that are kept; its oldest make room."""

UNWRITTEN_REFUSALS = 1000
SIDS_KEPT = 4

SECONDS_A_DAY = 86400.0

_BEGINNING = re.compile("s[0-9a-f]{4,}")
"""The beginning of a name, as `calls` and `top` show it."""

Report = dict[str, Any]
Refused = tuple[str, str, Report]
"""What makes it like others, its owner, and what is told of it (see `admin.refusals`)."""


class History:
    """Open with a path of the state directory and the number of calls to keep; `close` at the end.

    With no `calls` there is no history: an old one is deleted, blocks are kept. Rows older than
    `days` are deleted, unless that is 0; call `forget_old` now and then. `clock` is the wall clock,
    in seconds since 1970.

    Raises nothing: an error is logged once and `healthy` is False until all is written. Call
    `retry` now and then while it is not. Reports and blocks that a full disk does not take are kept
    in the file `spill` of another disk meanwhile, where there is one: it outlives a crash.
    """

    def __init__(
        self,
        path: Path,
        calls: int,
        days: float = 0.0,
        clock: Callable[[], float] = time.time,
        spill: Path | None = None,
    ) -> None:
        self.path = path
        self.healthy = True
        self._calls = calls
        self._days = days
        self._clock = clock
        self._unwritten: deque[tuple[str, str, str, float]] = deque(maxlen=calls)
        self._refused: deque[Refused] = deque(maxlen=min(calls, UNWRITTEN_REFUSALS))
        self._alike_s = 0.0
        self._changed: dict[str, bool] = {}  # who is blocked, or not any more
        self._blocked: set[str] = set()
        self._db: sqlite3.Connection | None = None
        self._is_prepared = False
        self._spill = Spill(spill)
        self._restore(self._spill.left())
        self._begin()
        self._write()
        self.forget_old()

    @property
    def is_gone(self) -> bool:
        """Return whether the file was taken away, with its directory or without."""
        return not self.path.exists()

    def add(self, name: str, sid: str, report: str) -> None:
        """Add the report of a call that ends now, which is JSON, in place of an earlier one of the
        same name; the oldest goes where there are too many."""
        if self._calls:
            row = name, sid, report, self._clock()
            self._unwritten.append(row)
            if not self._write():
                self._spill.keep({f"call {name}": row})

    def refuse(self, calls: Sequence[Refused], alike_s: float) -> None:
        """Add refused calls; those that are alike, and apart by no more than this, are one row."""
        if self._calls and calls:
            self._refused.extend(calls)
            self._alike_s = alike_s
            self._write()

    def forget_old(self) -> None:
        """Delete rows that are older than they may be."""
        if self._db is None or (self._calls and not self._days):
            return
        until = self._clock() - self._days * SECONDS_A_DAY if self._calls else float("inf")
        try:
            for table in ("call", "refused"):
                old = f"SELECT 1 FROM {table} WHERE at <= ? LIMIT 1"
                if self._db.execute(old, (until,)).fetchone():
                    self._db.execute(f"DELETE FROM {table} WHERE at <= ?", (until,))
        except sqlite3.Error as error:
            self._on_error(error)

    def find(self, call: str) -> Report | None:
        """Return the report of the latest call of this name, beginning of a name, or sid."""
        waiting = (text for *names, text, _ in reversed(self._unwritten) if call in names)
        query = "SELECT report FROM call WHERE name = ? OR sid = ? ORDER BY number DESC LIMIT 1"
        found = next(self._reports(waiting, query, call, call), None)
        if found is None and _BEGINNING.fullmatch(call):
            cut = (t for name, _, t, _ in reversed(self._unwritten) if name.startswith(call))
            query = "SELECT report FROM call WHERE name GLOB ? ORDER BY number DESC LIMIT 1"
            found = next(self._reports(cut, query, f"{call}*"), None)
        return found

    def latest(
        self, count: int, party: str = "", since: float = 0.0, until: float = float("inf")
    ) -> list[Report]:
        """Return the latest reports, newest first; if a text is given, those that contain it.

        `since` and `until` bound when a call ended, in seconds since 1970.
        """
        waiting = (
            text
            for _, _, text, at in reversed(self._unwritten)
            if party in text and since <= at <= until
        )
        query = (
            "SELECT report FROM call WHERE instr(report, ?) AND at BETWEEN ? AND ?"
            " ORDER BY number DESC LIMIT ?"
        )
        return list(self._reports(waiting, query, party, since, until, count))[:count]

    def refused(
        self, count: int, text: str = "", since: float = 0.0, until: float = float("inf")
    ) -> list[Report]:
        """Return the latest refused calls, newest first, by the last refusal of a row."""
        waiting = (
            json.dumps(told)
            for _, _, told in reversed(self._refused)
            if text in json.dumps(told) and since <= _ended(told, "last") <= until
        )
        query = (
            "SELECT report FROM refused WHERE instr(report, ?) AND at BETWEEN ? AND ?"
            " ORDER BY at DESC LIMIT ?"
        )
        return list(self._reports(waiting, query, text, since, until, count))[:count]

    def block(self, who: str) -> None:
        """Block a JID or domain."""
        self._change(who, blocked=True)

    def unblock(self, who: str) -> None:
        """Unblock a JID or domain."""
        self._change(who, blocked=False)

    def blocked(self) -> set[str]:
        """Return the blocked JIDs and domains: always this one set, which later blocks join."""
        return self._blocked

    def retry(self) -> None:
        """Write the rows that could not be written, if that is possible now."""
        if self._is_prepared and self.is_gone:
            self._on_error(FileNotFoundError(f"{self.path} is gone"))
            self._is_prepared = False
            self._changed = dict.fromkeys(self._blocked, True) | self._changed
        if not self._is_prepared:
            self._begin()
        self._write()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._db is not None:
            self._write()
            self._db.close()
        self._db = None

    def _change(self, who: str, *, blocked: bool) -> None:
        self._changed[who] = blocked
        (self._blocked.add if blocked else self._blocked.discard)(who)
        if not self._write():
            self._spill.keep({f"blocked {who}": blocked})

    def _restore(self, left: Mapping[str, Any]) -> None:
        """Take the rows and blocks that a previous instance could not write."""
        for key, value in left.items():
            kind, _, name = key.partition(" ")
            if kind == "blocked":
                self._changed[name] = value is True
                (self._blocked.add if value is True else self._blocked.discard)(name)
            elif isinstance(value, list) and len(value) == 4 and self._calls:
                _, sid, report, at = value
                self._unwritten.append((name, str(sid), str(report), float(at)))

    def _begin(self) -> None:
        """Open the file. A damaged one is set aside; one that the disk refuses is left."""
        if self._db is not None:
            self._db.close()
        self._db = None
        try:
            try:
                self._db, self._is_prepared = self._open(), True
            except sqlite3.DatabaseError as error:
                if is_of_the_disk(error):
                    raise
                aside = set_aside(self.path)
                what = "call history is damaged; it is set aside"
                log.error(what, kept_as=str(aside), error=str(error))
                self._db, self._is_prepared = self._open(), True
        except (sqlite3.Error, OSError) as error:
            self._on_error(error)
            self._db = self._read_only()
        self._learn()

    def _open(self) -> sqlite3.Connection:
        make_private(self.path)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"history of version {version}, not {SCHEMA_VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")
            if not version:
                # Nothing is written to a file that is as it should be: the disk may be full.
                db.executescript(_TABLES)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            _bring_up_to_date(db)
            db.execute("SELECT number FROM call LIMIT 1")
            db.execute("SELECT who FROM blocked LIMIT 1")
        except BaseException:
            db.close()
            raise
        return db

    def _read_only(self) -> sqlite3.Connection | None:
        """Open the file without shared memory, for which a full disk has no room (SQLite: WAL)."""
        try:
            db = sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, isolation_level=None)
        except (sqlite3.Error, ValueError):
            return None
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("SELECT who FROM blocked LIMIT 1").fetchall()
        except sqlite3.Error:
            db.close()
            return None
        return db

    def _learn(self) -> None:
        if self._db is None:
            return
        with contextlib.suppress(sqlite3.Error):
            found = {str(who) for (who,) in self._db.execute("SELECT who FROM blocked")}
            self._blocked |= found - {who for who, stays in self._changed.items() if not stays}

    def _write(self) -> bool:
        """Write all rows that are not written yet, or none; returns whether all were."""
        nothing = not (self._unwritten or self._changed or self._refused)
        if nothing and self._is_prepared and self.healthy:
            return True
        db = self._db
        if db is None:
            return False
        try:
            db.execute("BEGIN")
            insert = "INSERT INTO call (name, sid, report, at) VALUES (?, ?, ?, ?)"
            for who, blocked in self._changed.items():
                if blocked:
                    db.execute("INSERT OR IGNORE INTO blocked (who) VALUES (?)", (who,))
                else:
                    db.execute("DELETE FROM blocked WHERE who = ?", (who,))
            for row in self._unwritten:
                db.execute("DELETE FROM call WHERE name = ?", row[:1])
                last = db.execute(insert, row).lastrowid or 0
                db.execute("DELETE FROM call WHERE number <= ?", (last - self._calls,))
            if self._refused:
                self._write_refused(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._on_error(error)
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            return False
        self._unwritten.clear()
        self._changed.clear()
        self._refused.clear()
        self._spill.clear()
        if self._is_prepared and not self.healthy:
            log.warning("call history can be written again")
            self.healthy = True
        return True

    def _write_refused(self, db: sqlite3.Connection) -> None:
        alike = "SELECT number, report FROM refused WHERE alike = ? AND at >= ? ORDER BY at DESC"
        for key, owner, told in self._refused:
            since = _ended(told, "first") - self._alike_s
            found = db.execute(f"{alike} LIMIT 1", (key, since)).fetchone()
            if found is not None:
                told = _merged(json.loads(found[1]), told)
                db.execute("DELETE FROM refused WHERE number = ?", (found[0],))
            row = _ended(told, "last"), key, owner, json.dumps(told)
            db.execute("INSERT INTO refused (at, alike, owner, report) VALUES (?, ?, ?, ?)", row)
        most = min(MOST_OF_OWNER, self._calls)
        for owner in {owner for _, owner, _ in self._refused}:
            (count,) = db.execute(_COUNT + " WHERE owner = ?", (owner,)).fetchone()
            if count > most:
                db.execute(_DROP, (owner, count - most))
        (total,) = db.execute(_COUNT).fetchone()
        while total > self._calls:
            owner, count = db.execute(_LARGEST).fetchone()
            dropped = min(total - self._calls, max(1, count // 2))
            db.execute(_DROP, (owner, dropped))
            total -= dropped

    def _reports(self, waiting: Iterable[str], query: str, *values: object) -> Iterator[Report]:
        written: Iterable[tuple[str]] = ()
        if self._db is not None:
            try:
                written = self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._on_error(error)
        for text in (*waiting, *(text for (text,) in written)):
            try:
                report = json.loads(text)
            except (TypeError, ValueError):
                continue
            if isinstance(report, dict):
                yield report

    def _on_error(self, error: Exception) -> None:
        if self.healthy:
            log.error("call history cannot be used; calls go on", error=str(error))
        self.healthy = False


_COUNT = "SELECT count(*) FROM refused"
_LARGEST = "SELECT owner, count(*) FROM refused GROUP BY owner ORDER BY count(*) DESC LIMIT 1"
_DROP = (
    "DELETE FROM refused WHERE number IN"
    " (SELECT number FROM refused WHERE owner = ? ORDER BY number LIMIT ?)"
)


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """Add the columns of later versions, and the times that earlier ones have not written."""
    if "at" not in {row[1] for row in db.execute("PRAGMA table_info(call)")}:
        db.execute("ALTER TABLE call ADD COLUMN at REAL")
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'refused_owner'").fetchone():
        db.executescript(_LATER_TABLES)
    untimed = db.execute("SELECT number, report FROM call WHERE at IS NULL").fetchall()
    if untimed:
        times = [(_ended(_read(text), "ended"), number) for number, text in untimed]
        db.execute("BEGIN")
        db.executemany("UPDATE call SET at = ? WHERE number = ?", times)
        db.execute("COMMIT")


def _read(text: object) -> Report:
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _ended(report: Report, name: str) -> float:
    """Return the time of this name in a report, in seconds since 1970; 0 if it has none."""
    try:
        return datetime.fromisoformat(str(report.get(name))).timestamp()
    except ValueError:
        return 0.0


def _merged(before: Report, after: Report) -> Report:
    sids = dict.fromkeys([*before.get("sids", []), *after.get("sids", [])])
    count = int(before.get("count", 1)) + int(after.get("count", 1))
    first = before.get("first", after.get("first"))
    return {**after, "first": first, "count": count, "sids": list(sids)[-SIDS_KEPT:]}


def read_between(path: Path, since: float, until: float) -> tuple[list[Report], list[Report]]:
    """Return the calls that ended or were refused between two times, the oldest first.

    For another process than the one that writes: it changes nothing and makes no file. Raises
    OSError if there is no history that can be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no history at {path}")
    # Without its log nobody has the file open, and SQLite would make one to read it.
    beside = path.with_name(path.name + "-wal").exists()
    mode = "mode=ro" if beside else "immutable=1"
    try:
        db = sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True)
        try:
            found = []
            for table in ("call", "refused"):
                query = f"SELECT report FROM {table} WHERE at BETWEEN ? AND ? ORDER BY at"
                rows = db.execute(query, (since, until))
                found.append([report for (text,) in rows if (report := _read(text))])
        finally:
            db.close()
    except sqlite3.Error as error:
        raise OSError(f"the history at {path} cannot be read: {error}") from error
    calls, refused = found
    return calls, refused
