"""Databases that nobody else on this host may read."""

from pathlib import Path

MODE = 0o600


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
