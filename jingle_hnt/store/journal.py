"""The journal of live calls: one SQLite file, written after every change of a session.

If the disk is full or the file is damaged, that is logged and the calls go on. Records that a full
disk does not take are kept, and written when there is space. A record that cannot be read is
skipped, the others are used: the readable records of a damaged file go into a new one.
"""

import contextlib
import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from jingle_hnt.store.private import is_of_the_disk, make_private, set_aside
from jingle_hnt.store.spill import Spill

log = structlog.get_logger(__name__)

SCHEMA_VERSION = 1
"""Kept in SQLite's user_version; a journal of another version is set aside, not misread."""

MAX_RECORD_BYTES = 256 * 1024
"""Larger records are no sessions of ours; they are not written and not read."""

_SUM = re.compile(rb',"sum":"([0-9a-f]{8})"}$')
"""Ends a record's text. SQLite notices damage to its own structures only, and another digit in an
address is another party."""
_WRONG = (sqlite3.Error, UnicodeDecodeError)
"""The second where SQLite's own message quotes what is damaged."""

Record = dict[str, Any]


class Journal:
    """Open with a path of the state directory; `close` it at the end.

    An error of SQLite is logged once, and `healthy` is False until all is written. It is never
    raised. Where the file cannot be written when it is opened, its records are kept in memory
    until it can. Call `retry` now and then while it is not healthy. What a full disk does not take
    is kept in the file `spill` of another disk meanwhile, where there is one: it outlives a crash.
    """

    def __init__(self, path: Path, spill: Path | None = None) -> None:
        self.path = path
        self.healthy = True
        self._is_on_disk = True
        self._spill = Spill(spill)
        self._unwritten: dict[str, Record | None] = self._spill.left()
        try:
            self._db = self._open(path)
        except _WRONG as error:
            self._db = self._recover(error)
        if self._unwritten:
            self.retry()

    @property
    def is_gone(self) -> bool:
        """Return whether the file was taken away, with its directory or without."""
        return not self.path.exists()

    def write(self, records: Mapping[str, Record | None]) -> None:
        """Write these sessions' records, all at once; None deletes a record.

        Records that the disk does not take are written by `retry`, with later ones.
        """
        if not self._unwritten:
            error = self._try(records)
            if error is None and self._is_on_disk:
                self._recovered()
                return
            if error is None or not is_of_the_disk(error):
                self._spill.keep(records)
                return
        self._unwritten.update(records)
        self._spill.keep(records)

    def retry(self) -> None:
        """Write the records that could not be written, if that is possible now."""
        if self._is_on_disk and self.is_gone:
            self._leave_disk()
        if not self._is_on_disk:
            self._return_to_disk()
        if self._unwritten and self._try(self._unwritten) is None:
            self._unwritten.clear()
        if not self._unwritten:
            self._recovered()

    def _try(self, records: Mapping[str, Record | None]) -> Exception | None:
        """Write these all at once, or none of them; returns the error."""
        try:
            self._db.execute("BEGIN")
            for name, record in records.items():
                self._write(name, record)
            self._db.execute("COMMIT")
        except _WRONG as error:
            self._on_error(error)
            with contextlib.suppress(*_WRONG):
                self._db.rollback()
            return error
        return None

    def _recovered(self) -> None:
        if self._is_on_disk:
            self._spill.clear()
            if not self.healthy:
                log.warning("journal can be written again")
        self.healthy = self._is_on_disk

    def _leave_disk(self) -> None:
        """Move the records of a deleted file to memory.

        It is closed before there is a new one: SQLite deletes a log by the name that it had.
        """
        self._on_error(FileNotFoundError(f"{self.path} is gone"))
        try:
            kept = self._db.execute(_KEPT).fetchall()
        except _WRONG:
            kept = []
        self._db.close()
        self._db, self._is_on_disk = _connect(":memory:"), False
        self._prepare(self._db)
        _put_all(self._db, kept)

    def _return_to_disk(self) -> None:
        """Write the records in memory to the file, in place of its own."""
        try:
            db = self._open(self.path)
        except (*_WRONG, OSError):
            return
        try:
            kept = self._db.execute(_KEPT).fetchall()
            db.execute("BEGIN")
            db.execute("DELETE FROM session")
            db.executemany(_PUT, kept)
            db.execute("COMMIT")
        except _WRONG:
            db.close()
            return
        self._db.close()
        self._db, self._is_on_disk = db, True

    def put(self, name: str, record: Record) -> None:
        """Write the record of one session."""
        self.write({name: record})

    def forget(self, name: str) -> None:
        """Delete the record of a session."""
        self.write({name: None})

    def records(self) -> Iterator[Record]:
        """Yield all records that can be read; the others are logged and deleted."""
        try:
            rows = self._db.execute(_ALL, (MAX_RECORD_BYTES,)).fetchall()
        except _WRONG as error:
            self._on_error(error)
            return
        for rowid, name, text in rows:
            if str(name) not in self._unwritten:
                record = self._read(rowid, str(name), text)
                if record is not None:
                    yield record
        yield from (record for record in self._unwritten.values() if record is not None)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._unwritten or not self._is_on_disk:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed already
                self.retry()
        self._db.close()

    def _open(self, path: Path) -> sqlite3.Connection:
        make_private(path)
        db = _connect(str(path))
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"journal of version {version}, not {SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last calls' records, never the file (SQLite: WAL with NORMAL).
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("CREATE TABLE IF NOT EXISTS session (name TEXT PRIMARY KEY, record TEXT)")
        if not version:
            # Nothing is written to a file that is as it should be: the disk may be full.
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        (sound,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound)
        db.execute("SELECT rowid, name, record FROM session LIMIT 1")
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")

    def _recover(self, error: Exception) -> sqlite3.Connection:
        """Copy the readable records to a new file, or to memory if that fails."""
        left = list(_left(self.path).items())
        try:
            if not is_of_the_disk(error):
                aside = set_aside(self.path)
                what = "journal is damaged; it is set aside"
                log.error(what, kept_as=str(aside), error=str(error), records_left=len(left))
            db = self._open(self.path)
            _put_all(db, left)
        except (*_WRONG, OSError) as second:
            self._on_error(second)
            self._is_on_disk = False
            db = _connect(":memory:")
            self._prepare(db)
            _put_all(db, left)
        return db

    def _read(self, rowid: int, name: str, text: object) -> Record | None:
        try:
            record = json.loads(_checked(text)) if isinstance(text, bytes) else None
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            return record
        log.warning("journal record is skipped", session=name)
        try:
            self._db.execute("DELETE FROM session WHERE rowid = ?", (rowid,))
        except _WRONG as error:
            self._on_error(error)
        return None

    def _write(self, name: str, record: Record | None) -> None:
        text = None if record is None else _summed(json.dumps(record, separators=(",", ":")))
        if text is not None and len(text) > MAX_RECORD_BYTES:
            log.warning("call is too large for the journal", session=name, size=len(text))
            text = None  # what was written of it before names ports that may be another's by now
        if text is None:
            self._db.execute("DELETE FROM session WHERE name = ?", (name,))
        else:
            self._db.execute(_PUT, (name, text))

    def _on_error(self, error: Exception) -> None:
        if self.healthy:
            log.error("journal cannot be used; calls go on without it", error=str(error))
        self.healthy = False


_PUT = "INSERT OR REPLACE INTO session (name, record) VALUES (?, CAST(? AS TEXT))"
_KEPT = "SELECT name, CAST(record AS BLOB) FROM session"
_ALL = "SELECT rowid, name, CAST(record AS BLOB) FROM session NOT INDEXED WHERE length(record) <= ?"
_NAMES = "SELECT rowid, name FROM session INDEXED BY sqlite_autoindex_session_1 ORDER BY name"
_ONE = "SELECT CAST(record AS BLOB) FROM session WHERE rowid = ? AND length(record) <= ?"


def _connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    db.text_factory = lambda text: text.decode(errors="replace")
    return db


def _put_all(db: sqlite3.Connection, texts: Iterable[tuple[str, bytes]]) -> None:
    db.execute("BEGIN")
    db.executemany(_PUT, texts)
    db.execute("COMMIT")


def _summed(text: str) -> str:
    """Return the text of a record with its checksum as the last member."""
    return f'{text[:-1]},"sum":"{zlib.crc32(text.encode()):08x}"}}'


def _checked(text: bytes) -> bytes:
    """Return the text of a record without its checksum. Raises ValueError if that is wrong."""
    found = _SUM.search(text)
    text = text[: found.start()] + b"}" if found else b""
    if found is None or zlib.crc32(text) != int(found[1], 16):
        raise ValueError("damaged")
    return text


def _left(path: Path) -> dict[str, bytes]:
    """Return the texts of the readable records in a file of our version, by name.

    The table and its index are read from both ends until something is wrong, so that a damaged
    page costs the records on it.
    """
    found: dict[str, bytes] = {}
    with contextlib.closing(_connect(str(path))) as db:
        # Without shared memory, for which a full disk has no room; and even if the end is missing.
        for pragma in ("locking_mode = EXCLUSIVE", "writable_schema = ON"):
            list(_rows(db, f"PRAGMA {pragma}"))
        if list(_rows(db, "PRAGMA user_version")) != [(SCHEMA_VERSION,)]:
            return found
        for way in ("ASC", "DESC"):
            for _, name, text in _rows(db, f"{_ALL} ORDER BY rowid {way}", MAX_RECORD_BYTES):
                found.setdefault(name, text)
            for rowid, name in _rows(db, f"{_NAMES} {way}"):
                if name not in found:
                    for (text,) in _rows(db, _ONE, rowid, MAX_RECORD_BYTES):
                        found[name] = text
    return found


def _rows(db: sqlite3.Connection, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that can be read."""
    with contextlib.suppress(*_WRONG):
        yield from db.execute(statement, values)
