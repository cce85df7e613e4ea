"""The configuration and the orders in force, which outlive the children of `run`.

An edited file counts only after a reload, and a file that cannot be used must not end a process. So
`run` stores a copy of the configuration that it has started with, and a child that is started again
reads that. Beside it are the file of the last reload, and the orders of administrators (`drain`,
`set`, `loglevel`), which hold until `run` is started again.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import structlog

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings.file import load, text_of
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.reload import merged

log = structlog.get_logger(__name__)

KEPT = "JINGLE_HNT_KEPT"
"""Environment variable of a child of `run`: the directory of what is kept."""

STARTED, RELOADED, ORDERS = "started.toml", "reloaded.toml", "orders.json"


def begin(directory: Path, config: Path) -> dict[str, str]:
    """Store this configuration alone; returns the environment of children.

    It is empty if nothing can be stored: they read the file then.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (RELOADED, ORDERS):
            (directory / name).unlink(missing_ok=True)
        _write(directory / STARTED, text_of(config).encode())
    except OSError as error:
        log.warning("the configuration cannot be stored for a restart", why=str(error))
        return {}
    return {KEPT: str(directory)}


class Kept:
    """The stored configuration and orders, as a child of `run` finds them."""

    def __init__(self) -> None:
        directory = os.environ.get(KEPT)
        self._directory = Path(directory) if directory else None
        self._orders: dict[str, Any] = {}
        if self._directory is not None:
            with contextlib.suppress(OSError, ValueError):
                found = json.loads((self._directory / ORDERS).read_text())
                self._orders = found if isinstance(found, dict) else {}

    @property
    def is_supervised(self) -> bool:
        """Return whether there is a `run` that starts this process."""
        return self._directory is not None

    def settings(self, config: Path) -> Settings:
        """Return the settings in force, or those of the file. Raises ConfigurationError."""
        if self._directory is None or not (self._directory / STARTED).exists():
            return load(config)
        settings = load(self._directory / STARTED)
        if not (self._directory / RELOADED).exists():
            return settings
        try:
            return merged(settings, load(self._directory / RELOADED))
        except ConfigurationError as error:
            log.error("the reloaded configuration cannot be used any more", why=str(error))
            return settings

    def reload(self, config: Path) -> Settings:
        """Read the file again, and store it if it can be used. Raises ConfigurationError."""
        settings = load(config)
        if self._directory is not None:
            with contextlib.suppress(OSError):
                _write(self._directory / RELOADED, text_of(config).encode())
        self.forget("options", "loglevel")
        return settings

    def order(self, name: str) -> Any:
        """Return the order in force; None if there was none."""
        return self._orders.get(name)

    def keep(self, name: str, value: object) -> None:
        """Store an order."""
        self._orders[name] = value
        self._save()

    def forget(self, *names: str) -> None:
        """Forget these orders."""
        for name in names:
            self._orders.pop(name, None)
        self._save()

    def _save(self) -> None:
        if self._directory is None:
            return
        try:
            _write(self._directory / ORDERS, json.dumps(self._orders).encode())
        except OSError as error:
            log.warning("a change would not outlive this process", why=str(error))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)
