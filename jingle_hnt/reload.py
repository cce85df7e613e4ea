"""Changing the configuration while calls go on: the file read again, or one option set by itself.

What can change for new calls does; what cannot is named as needing a restart. What cannot be used
changes nothing.
"""

import tomllib
from collections.abc import Callable, Iterator

from pydantic import BaseModel, SecretStr, ValidationError

from jingle_hnt.config import Settings
from jingle_hnt.errors import ConfigurationError

NEEDS_RESTART = (
    "xmpp",
    "relay.interfaces",
    "relay.ports",
    "relay.engine",
    "relay.workers",
    "relay.max_kbps",
    "relay.max_pps",
    "relay.dscp",
    "relay_nodes.enabled",
    "addresses",
    "state",
    "stop",
    "metrics",
)
"""Options, and tables of options, that are read at the start only."""

FILE_ONLY = ("admin", "log")
"""What an administrator's client does not set: who may do so, and what is kept of it."""


class Reloader:
    """Holds the settings in force; `read` reads them anew, and raises ConfigurationError."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read = read

    def reload(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Which options have changed: those now in force in `settings`, those that need a restart.

        Raises ConfigurationError; the settings are as before then.
        """
        fresh = self._read()
        before, after = dict(leaves(self.settings)), dict(leaves(fresh))
        changed = sorted(key for key in after if after[key] != before.get(key))
        self.settings = merged(self.settings, fresh)
        in_force = dict(leaves(self.settings))
        waiting = tuple(key for key in changed if in_force[key] != after[key])
        return tuple(key for key in changed if key not in waiting), waiting

    def followed(self) -> dict[str, object]:
        """What new calls follow: every option that `alter` takes, as JSON has it."""
        return {key: value for key, value in shown(self.settings).items() if is_alterable(key)}

    def alter(self, key: str, text: str) -> None:
        """Put one option in force until the next reload. Raises ConfigurationError.

        `text` is a value as TOML writes it; quotes around a single word may be left out.
        """
        if key not in self.followed():
            raise ConfigurationError(f"{key}: only the file sets this; write it there, and reload")
        section, _, name = key.partition(".")
        table: BaseModel = getattr(self.settings, section)
        values = {field: getattr(table, field) for field in type(table).model_fields}
        try:
            fresh = type(table).model_validate({**values, name: _value(text)})
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False, include_context=False)
            said = "; ".join(p["msg"].removeprefix("Value error, ") for p in problems)
            raise ConfigurationError(f"{key}: {said}") from None
        self.settings = self.settings.model_copy(update={section: fresh})


def is_alterable(key: str) -> bool:
    """Whether an option can be set by itself while calls go on."""
    return not needs_restart(key) and key.partition(".")[0] not in FILE_ONLY


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def needs_restart(key: str) -> bool:
    """Whether an option, such as ``relay.ports``, is read at the start only."""
    return any(key == fixed or key.startswith(fixed + ".") for fixed in NEEDS_RESTART)


def leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every option by its dotted name."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(model: BaseModel) -> dict[str, object]:
    """Every option in force by its dotted name, as JSON has it; secrets are hidden."""
    told = {}
    dumped = model.model_dump(mode="json")
    for key, value in leaves(model):
        found: object = dumped
        for part in key.split("."):
            assert isinstance(found, dict)
            found = found[part]
        told[key] = "***" if isinstance(value, SecretStr) else found
    return told


def merged(old: Settings, new: Settings) -> Settings:
    """The new settings with what needs a restart as it was.

    Other addresses need one; what parties are told of the same addresses does not.
    """
    merged = new.model_copy(
        update={name: _part(name, getattr(old, name), getattr(new, name)) for name in _tables(new)}
    )
    if _bound(old) != _bound(new):
        return merged
    relay = merged.relay.model_copy(update={"interfaces": new.relay.interfaces})
    return merged.model_copy(update={"relay": relay})


def _bound(settings: Settings) -> set[object]:
    return {interface.address for interface in settings.relay.interfaces}


def _tables(settings: Settings) -> list[str]:
    return list(type(settings).model_fields)


def _part(prefix: str, old: BaseModel, new: BaseModel) -> BaseModel:
    kept = {
        name: getattr(old, name)
        for name in type(new).model_fields
        if needs_restart(f"{prefix}.{name}")
    }
    return new.model_copy(update=kept)
