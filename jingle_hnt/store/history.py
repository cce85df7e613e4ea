"""The history of calls that are over: one SQLite file of bounded length, the oldest make room.

It also keeps who is blocked. As with the journal, calls are worth more than it: where the disk is
full or the file is damaged, it says so once and the calls go on.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from jingle_hnt.store.private import make_private

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

    Raises nothing after it was opened: what goes wrong is logged once and `healthy` is False.
    """

    def __init__(self, path: Path, calls: int) -> None:
        self.path = path
        self.healthy = True
        self._calls = calls
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._db = self._open()

    def add(self, name: str, sid: str, report: str) -> None:
        """Add a call's report, which is JSON; the oldest one goes where there are too many."""
        self._do("BEGIN")
        insert = "INSERT INTO call (name, sid, report) VALUES (?, ?, ?)"
        cursor = self._do(insert, name, sid, report)
        if cursor is None or cursor.lastrowid is None:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            return
        self._do("DELETE FROM call WHERE number <= ?", cursor.lastrowid - self._calls)
        self._do("COMMIT")

    def find(self, call: str) -> Report | None:
        """The report of the latest call of this name or sid."""
        query = "SELECT report FROM call WHERE name = ? OR sid = ? ORDER BY number DESC LIMIT 1"
        return next(self._reports(query, call, call), None)

    def latest(self, count: int, party: str = "") -> list[Report]:
        """The latest reports, newest first; those in which this text occurs, where one is given."""
        query = "SELECT report FROM call WHERE instr(report, ?) ORDER BY number DESC LIMIT ?"
        return list(self._reports(query, party, count))

    def block(self, who: str) -> None:
        """Remember that a JID or domain is blocked."""
        self._do("INSERT OR IGNORE INTO blocked (who) VALUES (?)", who)

    def unblock(self, who: str) -> None:
        """Forget it."""
        self._do("DELETE FROM blocked WHERE who = ?", who)

    def blocked(self) -> set[str]:
        """Who is blocked."""
        cursor = self._do("SELECT who FROM blocked")
        return set() if cursor is None else {str(who) for (who,) in cursor.fetchall()}

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        make_private(self.path)
        db = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise sqlite3.DatabaseError(f"history of version {version}, not {SCHEMA_VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_TABLES)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_suffix(".damaged")
        log.error("call history is damaged; it is set aside", kept_as=str(aside), error=str(error))
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _reports(self, query: str, *values: object) -> Iterator[Report]:
        cursor = self._do(query, *values)
        for (text,) in [] if cursor is None else cursor.fetchall():
            try:
                report = json.loads(text)
            except (TypeError, ValueError):
                continue
            if isinstance(report, dict):
                yield report

    def _do(self, statement: str, *values: object) -> sqlite3.Cursor | None:
        try:
            cursor = self._db.execute(statement, values)
        except sqlite3.Error as error:
            if self.healthy:
                log.error("call history cannot be used; calls go on", error=str(error))
            self.healthy = False
            return None
        self.healthy = True
        return cursor
