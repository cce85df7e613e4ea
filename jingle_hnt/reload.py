"""Reading the configuration again while calls go on.

What can change for new calls does; what cannot is named as needing a restart. A file that cannot be
used changes nothing.
"""

from collections.abc import Callable, Iterator

from pydantic import BaseModel, SecretStr

from jingle_hnt.config import Settings

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
    "state",
    "stop",
    "metrics",
)
"""Options, and tables of options, that are read at the start only."""


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
        self.settings = _merged(self.settings, fresh)
        waiting = tuple(key for key in changed if needs_restart(key))
        return tuple(key for key in changed if key not in waiting), waiting


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


def _merged(old: Settings, new: Settings) -> Settings:
    """The new settings with what needs a restart as it was."""
    return new.model_copy(
        update={name: _part(name, getattr(old, name), getattr(new, name)) for name in _tables(new)}
    )


def _tables(settings: Settings) -> list[str]:
    return list(type(settings).model_fields)


def _part(prefix: str, old: BaseModel, new: BaseModel) -> BaseModel:
    kept = {
        name: getattr(old, name)
        for name in type(new).model_fields
        if needs_restart(f"{prefix}.{name}")
    }
    return new.model_copy(update=kept)
