"""Private database files: only their owner reads them, and damaged ones are set aside."""

import itertools
import sqlite3
from pathlib import Path

MODE = 0o600

_OF_THE_DISK = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
    }
)


def make_private(path: Path) -> None:
    """Make the file and its folder, or close what is there, before SQLite opens it.

    SQLite gives the files that it puts beside a database the mode that the database has then.
    Raises OSError where the file cannot be made or is another user's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(MODE)
    for suffix in ("", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.chmod(MODE)


def is_of_the_disk(error: Exception) -> bool:
    """Return whether the disk or another process causes an error, not the file itself.

    Such as a full disk: that ends, and nothing may be renamed or deleted meanwhile.
    """
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_DISK
    return isinstance(error, OSError)


def set_aside(path: Path) -> Path:
    """Rename a damaged file to ``.damaged``, or ``.damaged.1`` and so on where that is there.

    The files that SQLite has put beside it go along: they may have parts of it.
    """
    names = itertools.chain([""], (f".{number}" for number in itertools.count(1)))
    asides = (path.with_suffix(f".damaged{end}") for end in names)
    aside = next(aside for aside in asides if not aside.exists())
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside
