"""The journal of live calls: one SQLite file, written at offer, accept, latch and end.

Calls are worth more than the journal: where the disk is full or the file is damaged, the journal
says so and the calls go on. A record that cannot be read is skipped, the others are used.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1
"""Kept in SQLite's user_version; a journal of another version is set aside, not misread."""

MAX_RECORD_BYTES = 256 * 1024
"""Larger records are no sessions of ours; they are not written and not read."""

Record = dict[str, Any]


class Journal:
    """Open with a path of the state directory; `close` it at the end.

    Raises nothing after it was opened: what goes wrong is logged once and `healthy` is False.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.healthy = True
        try:
            self._db = self._open(path)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            self._db = self._open(path)

    def put(self, name: str, record: Record) -> None:
        """Write the record of a session, in place of the one before."""
        text = json.dumps(record, separators=(",", ":"))
        if len(text) <= MAX_RECORD_BYTES:
            self._write("INSERT OR REPLACE INTO session (name, record) VALUES (?, ?)", (name, text))

    def forget(self, name: str) -> None:
        """Take the record of a session out."""
        self._write("DELETE FROM session WHERE name = ?", (name,))

    def records(self) -> Iterator[Record]:
        """All records that can be read; the others are logged, and taken out."""
        try:
            rows = self._db.execute(
                "SELECT name, CAST(record AS BLOB) FROM session WHERE length(record) <= ?",
                (MAX_RECORD_BYTES,),
            ).fetchall()
        except sqlite3.Error as error:
            self._suffer(error)
            return
        for name, text in rows:
            record = self._read(str(name), text)
            if record is not None:
                yield record

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._db.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        path.chmod(0o600)
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"journal of version {version}, not {SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last calls' records, never the file (SQLite: WAL with NORMAL).
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE IF NOT EXISTS session (name TEXT PRIMARY KEY, record TEXT)")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_suffix(".damaged")
        log.error("journal is damaged; it is set aside", kept_as=str(aside), error=str(error))
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _read(self, name: str, text: object) -> Record | None:
        try:
            record = json.loads(text) if isinstance(text, bytes) else None
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            return record
        log.warning("journal record is skipped", session=name)
        self.forget(name)
        return None

    def _write(self, statement: str, values: tuple[str, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            self._suffer(error)
        else:
            self.healthy = True

    def _suffer(self, error: sqlite3.Error) -> None:
        if self.healthy:
            log.error("journal cannot be used; calls go on without it", error=str(error))
        self.healthy = False
