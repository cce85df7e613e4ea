"""Changing the configuration while calls go on: the file read again, or one option set by itself.

Options that can change for new calls do. The others are named as needing a restart. A file or value
that cannot be used changes nothing.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from pydantic import BaseModel, SecretStr, ValidationError

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings.model import RESTART, InterfaceOptions, Settings, TakesEffect

ADVERTISE = "relay.advertise"
"""No option of the file's, but what its `relay.interfaces` say: a script that follows a dynamic
address sets it without editing the file."""


class Reloader:
    """Holds the settings in force; `read` reads them anew, and raises ConfigurationError."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read = read

    def reload(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the options that have changed: those in force now, and those that need a restart.

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
        """Return every option that `alter` takes, as JSON."""
        found = {key: value for key, value in shown(self.settings).items() if is_alterable(key)}
        return {ADVERTISE: _told(self.settings), **found}

    def alter(self, key: str, text: str) -> None:
        """Put one option in force until the next reload. Raises ConfigurationError.

        `text` is a value as TOML writes it; quotes around a single word may be left out.
        """
        if key == ADVERTISE:
            self.settings = _advertised(self.settings, text)
            return
        if key not in self.followed():
            raise ConfigurationError(f"{key}: {self._why_not(key)}")
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

    def _why_not(self, key: str) -> str:
        """Return why an option cannot be set by itself, and what to do."""
        known = dict(leaves(self.settings))
        if key in known and needs_restart(key):
            return "needs a restart: write it into the file, and restart jingle-hnt"
        if key in known:
            return "only the file sets this: write it there, and `jingle-hnt reload`"
        close = difflib.get_close_matches(key, self.followed(), n=1)
        if close:
            return f"no such option; did you mean {close[0]!r}?"
        return "no such option; `jingle-hnt policy` lists those that can be set"


def _advertised(settings: Settings, text: str) -> Settings:
    """With another address told of those that face everybody; of one IP version, the value's."""
    try:
        ip = ip_address(text.strip('"'))
    except ValueError:
        raise ConfigurationError(
            f'{ADVERTISE}: {text!r} is no IP address; write one such as "203.0.113.9"'
        ) from None
    suited = [
        each
        for each in settings.relay.interfaces
        if not each.networks and each.address.version == ip.version
    ]
    if len(suited) != 1:
        raise ConfigurationError(
            f"{ADVERTISE}: {len(suited)} of relay.interfaces are of IPv{ip.version} and face"
            " everybody; where it is not one, write it into the file, and `jingle-hnt reload`"
        )
    try:
        told = InterfaceOptions.model_validate({**suited[0].model_dump(), "advertise": ip})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{ADVERTISE}: {said}") from None
    interfaces = tuple(told if each is suited[0] else each for each in settings.relay.interfaces)
    relay = settings.relay.model_copy(update={"interfaces": interfaces})
    return settings.model_copy(update={"relay": relay})


def _told(settings: Settings) -> str:
    """Return the advertised addresses of the relay, joined by commas."""
    facing = (each for each in settings.relay.interfaces if not each.networks)
    return ", ".join(str(each.advertise or each.address) for each in facing)


def is_alterable(key: str) -> bool:
    """Return whether an option can be set by itself while calls go on."""
    return takes_effect(key) is None


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def needs_restart(key: str) -> bool:
    """Return whether an option, such as ``relay.ports``, is read at the start only."""
    return takes_effect(key) is RESTART


def takes_effect(key: str) -> TakesEffect | None:
    """The mark of an option; None where new calls follow it. Raises KeyError for no option."""
    section, _, name = key.partition(".")
    table = Settings.model_fields[section].annotation
    assert isinstance(table, type)
    assert issubclass(table, BaseModel)
    marks = (mark for mark in table.model_fields[name].metadata if isinstance(mark, TakesEffect))
    return next(marks, None)


def leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Return every option by its dotted name."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(model: BaseModel) -> dict[str, object]:
    """Return every option in force by its dotted name, as JSON; secrets are hidden."""
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
    """Return the new settings, with the old values of options that need a restart.

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
