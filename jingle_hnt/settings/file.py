"""Reads the configuration's file. Each error says what to write instead."""

import difflib
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings.defaults import ENVIRONMENT, stands_in
from jingle_hnt.settings.model import InterfaceOptions, ServerOptions, Settings

_NEEDED = {
    "xmpp": "write a table [xmpp] with component, domains and secret_file",
    "xmpp.component": 'write the component\'s domain, such as "hnt.example.org"',
    "xmpp.domains": 'write the domains whose users are served, such as ["example.org"]',
    "relay": "write a table [relay] with interfaces",
    "relay.interfaces": 'write the relay\'s addresses, such as [{ address = "203.0.113.9" }]',
}


def load(path: Path) -> Settings:
    """Return the settings of a file, or of the environment alone if there is no file.

    Raises ConfigurationError that names every problem, a line each.
    """
    try:
        content = tomllib.loads(text_of(path))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}; `jingle-hnt init` writes a configuration"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from None
    try:
        return Settings(**content)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_problems(path, error))) from None
    except SettingsError as error:
        raise ConfigurationError(_no_json(error)) from None


def text_of(path: Path) -> str:
    """Return the text of the file; empty if there is none and the environment is enough.

    Raises OSError, or UnicodeDecodeError.
    """
    if not path.exists() and stands_in():
        return ""
    return path.read_text(encoding="utf-8-sig")


def _no_json(error: SettingsError) -> str:
    """Return the error for a variable whose list or table is no JSON."""
    text = getattr(error.__cause__, "doc", None)
    names = [n for n, value in os.environ.items() if n.startswith(ENVIRONMENT) and value == text]
    return (
        f"{', '.join(names) or 'the environment'}: not JSON; write a list with commas, such as"
        f" {ENVIRONMENT}XMPP__DOMAINS=example.org,example.net, and a table as JSON"
    )


def _problems(path: Path, error: ValidationError) -> Iterator[str]:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    for problem in found:
        depth = len(problem["loc"])
        if any(other["loc"][:depth] == problem["loc"] != other["loc"] for other in found):
            continue  # it only follows from a mistake further inside
        place = [str(part) for part in problem["loc"]]
        key = ".".join(place)
        match problem["type"]:
            case "extra_forbidden":
                yield f"{path}: {key}: unknown key{_suggestion(place)}"
            case "missing":
                yield f"{path}: {key}: missing; {_NEEDED.get(key, 'it has no default')}"
            case _:
                named = f"{key}: " if key else ""
                yield f"{path}: {named}{problem['msg'].removeprefix('Value error, ')}"


def _suggestion(place: list[str]) -> str:
    *sections, wrong = place
    model: type[BaseModel] | None = Settings
    for section in sections:
        if model is not None and not section.isdecimal():
            model = _section_of(model, section)
    known = list(model.model_fields) if model is not None else []
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    if name in ("interfaces", "others"):
        return InterfaceOptions if name == "interfaces" else ServerOptions
    field = model.model_fields.get(name)
    annotation: object = None if field is None else field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None
