"""Options from the environment, lists and secret files included.

``JINGLE_HNT_SECTION__OPTION`` sets ``section.option``. A list is JSON, or its members with commas
between them. ``JINGLE_HNT_SECTION__OPTION__FILE`` names a file that holds the value, as container
engines hand over secrets. ``relay.interfaces`` may be ``auto``, or ``auto=ADDRESS`` with what
parties are told.
"""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings.defaults import ENVIRONMENT

_FILE = "__file"
_SECRET = "__secret"
_AUTO = "auto"
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that nobody has (RFC 5737, RFC 3849): the way there is the way to the internet."""


class Environment(EnvSettingsSource):
    """The source of settings that takes precedence over the file.

    Raises ConfigurationError if a file that a variable names cannot be read.
    """

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings, env_ignore_empty=True)  # as compose writes what is not set
        self.env_vars = _with_files(self.env_vars)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Decode a list or a table. A list may be written without JSON."""
        text = str(value).strip()
        if text[:1] in ("[", "{") or _is_table(field):
            return json.loads(text)
        members = [member.strip() for member in text.split(",") if member.strip()]
        if not _is_table_each(field):
            return members
        return [table for member in members for table in _interfaces(member)]


def _is_table(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _is_table_each(field: FieldInfo) -> bool:
    members = get_args(field.annotation)
    return bool(members) and isinstance(members[0], type) and issubclass(members[0], BaseModel)


def _with_files(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the variables, and those whose values are in files. All names are in lower case."""
    found = dict(variables)
    for name, path in variables.items():
        if not name.startswith(ENVIRONMENT.lower()) or not name.endswith(_FILE) or path is None:
            continue
        del found[name]
        option = name.removesuffix(_FILE)
        if option in variables:
            raise ConfigurationError(
                f"{option.upper()} and {name.upper()}: both are set; write one of them"
            )
        if option.endswith(_SECRET):
            found[f"{option}_file"] = path  # it is read for each connection: it may change
        else:
            found[option] = _read(name, path)
    return found


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(
            f"{name.upper()}: {path}: {why}; write the path of a file that holds the value"
        ) from None


def _interfaces(member: str) -> list[dict[str, str]]:
    """Return interfaces of ``ADDRESS``, ``ADDRESS=ADVERTISE``, ``auto`` or ``auto=ADVERTISE``."""
    address, _, told = member.partition("=")
    if address != _AUTO:
        return [{"address": address, **({"advertise": told} if told else {})}]
    found = own_addresses()
    if not found:
        raise ConfigurationError(
            f"{ENVIRONMENT}RELAY__INTERFACES: this host has no way to the internet to choose its"
            " address by; write the address that clients reach, such as 203.0.113.9"
        )
    if not told:
        return [{"address": own} for own in found]
    return [{"address": own, "advertise": told} for own in found if (":" in own) == (":" in told)]


def own_addresses() -> list[str]:
    """Return this host's addresses towards the internet, IPv4 first. Nothing is sent."""
    found = []
    for family, nobody in _ELSEWHERE:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect((nobody, 9))
            except OSError:
                continue
            found.append(str(asked.getsockname()[0]))
    return found
