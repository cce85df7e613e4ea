"""The reports of ended calls: one SQLite file, bounded, asked by name or session id."""

import contextlib
import sqlite3
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

TRIM_EVERY = 100
"""So many reports may be kept beyond the bound before the oldest go."""


class History:
    """Open with a path of the state directory; `close` it at the end.

    Like the journal it raises nothing: where the disk is full, calls go on without reports.
    """

    def __init__(self, path: Path, capacity: int) -> None:
        self._capacity = capacity
        self._since_trim = 0
        self._db: sqlite3.Connection | None = None
        try:
            self._db = self._open(path)
        except (OSError, sqlite3.Error) as error:
            log.error("call history cannot be used", path=str(path), error=str(error))

    def put(self, name: str, sid: str, report: str) -> None:
        """Keep the report (JSON text) of a call."""
        self._write(
            "INSERT OR REPLACE INTO call (name, sid, report) VALUES (?, ?, ?)", name, sid, report
        )
        self._since_trim += 1
        if self._since_trim >= TRIM_EVERY:
            self._since_trim = 0
            newest = "SELECT rowid FROM call ORDER BY rowid DESC LIMIT ?"
            self._write(f"DELETE FROM call WHERE rowid NOT IN ({newest})", self._capacity)

    def find(self, key: str) -> str | None:
        """The newest report of this name or session id."""
        rows = self._read(
            "SELECT report FROM call WHERE name = ? OR sid = ? ORDER BY rowid DESC LIMIT 1",
            key,
            key,
        )
        return rows[0] if rows else None

    def recent(self, limit: int) -> list[str]:
        """The newest reports, newest first."""
        return self._read("SELECT report FROM call ORDER BY rowid DESC LIMIT ?", limit)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("CREATE TABLE IF NOT EXISTS call (name TEXT UNIQUE, sid TEXT, report TEXT)")
            db.execute("CREATE INDEX IF NOT EXISTS by_sid ON call (sid)")
        except BaseException:
            db.close()
            raise
        path.chmod(0o600)
        return db

    def _write(self, statement: str, *values: object) -> None:
        if self._db is not None:
            try:
                self._db.execute(statement, values)
            except sqlite3.Error as error:
                log.warning("call report is lost", error=str(error))

    def _read(self, statement: str, *values: object) -> list[str]:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                return [str(row[0]) for row in self._db.execute(statement, values).fetchall()]
        return []
