"""The history of calls that are over: one SQLite file of bounded length, the oldest make room.

It also keeps who is blocked. As with the journal, calls are worth more than it: where the disk is
full or the file is damaged, it says so once and the calls go on. What a full disk does not take is
remembered, and written when there is space; nothing is renamed or deleted then, and who is blocked
stays so.
"""

import contextlib
import json
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import structlog

from jingle_hnt.store.private import is_of_the_disk, make_private, set_aside

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

Report = dict[str, Any]


class History:
    """Open with a path of the state directory and the number of calls to keep; `close` at the end.

    Raises nothing: what goes wrong is logged once and `healthy` is False until all is written. Call
    `retry` now and then while it is not.
    """

    def __init__(self, path: Path, calls: int) -> None:
        self.path = path
        self.healthy = True
        self._calls = calls
        self._unwritten: deque[tuple[str, str, str]] = deque(maxlen=calls)
        self._changed: dict[str, bool] = {}  # who is blocked, or not any more
        self._blocked: set[str] = set()
        self._db: sqlite3.Connection | None = None
        self._is_prepared = False
        self._begin()

    @property
    def is_gone(self) -> bool:
        """Whether the file was taken away, with its directory or without."""
        return not self.path.exists()

    def add(self, name: str, sid: str, report: str) -> None:
        """Add a call's report, which is JSON; the oldest one goes where there are too many."""
        self._unwritten.append((name, sid, report))
        self._write()

    def find(self, call: str) -> Report | None:
        """The report of the latest call of this name or sid."""
        waiting = (text for *names, text in reversed(self._unwritten) if call in names)
        query = "SELECT report FROM call WHERE name = ? OR sid = ? ORDER BY number DESC LIMIT 1"
        return next(self._reports(waiting, query, call, call), None)

    def latest(self, count: int, party: str = "") -> list[Report]:
        """The latest reports, newest first; those in which this text occurs, where one is given."""
        waiting = (text for *_, text in reversed(self._unwritten) if party in text)
        query = "SELECT report FROM call WHERE instr(report, ?) ORDER BY number DESC LIMIT ?"
        return list(self._reports(waiting, query, party, count))[:count]

    def block(self, who: str) -> None:
        """Remember that a JID or domain is blocked."""
        self._change(who, blocked=True)

    def unblock(self, who: str) -> None:
        """Forget it."""
        self._change(who, blocked=False)

    def blocked(self) -> set[str]:
        """Who is blocked: always this one set, which also gets who is learned of later."""
        return self._blocked

    def retry(self) -> None:
        """Write what could not be written so far, if that can be done now."""
        if self._is_prepared and self.is_gone:
            self._suffer(FileNotFoundError(f"{self.path} is gone"))
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
        self._write()

    def _begin(self) -> None:
        """Open the file as it is; a damaged one is set aside, what the disk refuses is left."""
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
            self._suffer(error)
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
            if not version:
                # Nothing is written to a file that is as it should be: the disk may be full.
                db.executescript(_TABLES)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("SELECT number FROM call LIMIT 1")
            db.execute("SELECT who FROM blocked LIMIT 1")
        except BaseException:
            db.close()
            raise
        return db

    def _read_only(self) -> sqlite3.Connection | None:
        """The file without shared memory, for which a full disk has no room (SQLite: WAL)."""
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

    def _write(self) -> None:
        """Write all that is not written yet, or nothing of it."""
        if not self._unwritten and not self._changed and self._is_prepared and self.healthy:
            return
        db = self._db
        if db is None:
            return
        try:
            db.execute("BEGIN")
            insert = "INSERT INTO call (name, sid, report) VALUES (?, ?, ?)"
            for who, blocked in self._changed.items():
                if blocked:
                    db.execute("INSERT OR IGNORE INTO blocked (who) VALUES (?)", (who,))
                else:
                    db.execute("DELETE FROM blocked WHERE who = ?", (who,))
            for row in self._unwritten:
                last = db.execute(insert, row).lastrowid or 0
                db.execute("DELETE FROM call WHERE number <= ?", (last - self._calls,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._suffer(error)
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            return
        self._unwritten.clear()
        self._changed.clear()
        if self._is_prepared and not self.healthy:
            log.warning("call history is written again")
            self.healthy = True

    def _reports(self, waiting: Iterable[str], query: str, *values: object) -> Iterator[Report]:
        written: Iterable[tuple[str]] = ()
        if self._db is not None:
            try:
                written = self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._suffer(error)
        for text in (*waiting, *(text for (text,) in written)):
            try:
                report = json.loads(text)
            except (TypeError, ValueError):
                continue
            if isinstance(report, dict):
                yield report

    def _suffer(self, error: Exception) -> None:
        if self.healthy:
            log.error("call history cannot be used; calls go on", error=str(error))
        self.healthy = False
