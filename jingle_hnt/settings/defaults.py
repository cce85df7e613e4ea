"""Defaults that are needed before the configuration is read."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

DEFAULT_PATH = Path("/etc/jingle-hnt/jingle-hnt.toml")
ENVIRONMENT = "JINGLE_HNT_"
RUNTIME_DIRECTORY = Path("/run/jingle-hnt")
ADMIN_SOCKET = "admin.sock"


def stands_in(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment has what a file must have, so that none is needed."""
    return all(
        any(name.startswith(f"{ENVIRONMENT}{section}") for name in environment)
        for section in ("XMPP", "RELAY")
    )


def admin_socket(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the local socket of a process with this configuration, as far as the file can be read.

    This is read even from a file that cannot be used: `status` asks the process, which has an older
    file in force.
    """
    found = environment.get(f"{ENVIRONMENT}STATE__RUNTIME_DIRECTORY")
    if found is None:
        found = _written(_json(environment.get(f"{ENVIRONMENT}STATE", "")))
    if found is None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            content = {}
        found = _written(content.get("state"))
    return Path(found or RUNTIME_DIRECTORY) / ADMIN_SOCKET


def _json(text: str) -> object:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _written(state: object) -> str | None:
    found = state.get("runtime_directory") if isinstance(state, dict) else None
    return found if isinstance(found, str) else None
