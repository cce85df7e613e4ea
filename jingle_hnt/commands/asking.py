"""Shared by the commands that ask a running process: question, answer, and words."""

import argparse
import json
import os
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jingle_hnt.model.commands import Command
from jingle_hnt.settings.defaults import ENVIRONMENT, admin_socket, stands_in

ANSWER_S = 5.0

Answer = dict[str, Any]


def ask(options: argparse.Namespace, command: str, **fields: object) -> Answer | None:
    """The answer of the process that uses this configuration file.

    None, with a word on stderr, where none comes or the process says why it cannot.
    """
    config: Path = options.config
    path = admin_socket(config)
    told = stands_in() or os.environ.get(f"{ENVIRONMENT}STATE__RUNTIME_DIRECTORY")
    if not config.exists() and not told:
        text = f"{config} is not there (`jingle-hnt init` writes one); looking in {path.parent}"
        print(text, file=sys.stderr)
    return ask_at(path, {"command": command, **fields})


def ask_typed(options: argparse.Namespace) -> Answer | None:
    """Ask what was typed: the parsed command, with the fields that its entry names."""
    command: Command = options.command
    fields = {field.name: getattr(options, field.name) for field in command.asked}
    return ask(options, command.name, **fields)


def ask_at(path: Path, request: Mapping[str, object]) -> Answer | None:
    """The answer of the process behind a socket; None, with a word on stderr, where none comes."""
    try:
        answer = exchange(path, request)
    except PermissionError:
        print(
            f"{path}: only the user that jingle-hnt runs as, and root, may ask it", file=sys.stderr
        )
        return None
    except (OSError, ValueError) as error:
        text = f"jingle-hnt does not answer at {path}: {error}; is `jingle-hnt run` running?"
        print(text, file=sys.stderr)
        return None
    if "error" in answer:
        print(answer["error"], file=sys.stderr)
        return None
    return answer


def exchange(path: Path, request: Mapping[str, object], patience_s: float = ANSWER_S) -> Answer:
    """One question and its answer, which may take `patience_s`.

    Raises OSError where nobody answers at the socket, ValueError where what answers is not ours.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            answer: Answer = json.loads(lines.readline())
            return answer


def shown(text: str | None, whole: bool) -> str:
    """An address as it is shown: redacted unless `whole`."""
    from jingle_hnt.log import redact_text  # only those who show addresses load it

    return "-" if text is None else text if whole else redact_text(text)


def local_time(text: str) -> str:
    """A time of an answer (ISO 8601) as this host's clock shows it."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def as_json(answer: Answer, options: argparse.Namespace) -> str:
    """An answer as JSON; with addresses as they are shown, which are whole where that is asked."""
    whole = getattr(options, "addresses", True)
    return json.dumps(answer if whole else redacted(answer))


def redacted(value: Any) -> Any:
    """An answer with the IP addresses in all of its texts made unspecific."""
    from jingle_hnt.log import redact_text

    match value:
        case str():
            return redact_text(value)
        case list():
            return [redacted(member) for member in value]
        case dict():
            return {name: redacted(member) for name, member in value.items()}
    return value


def in_words(value: object) -> str:
    """A value of an answer as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(in_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def print_lines(answer: Mapping[str, object]) -> None:
    """One line per value."""
    for key, value in answer.items():
        print(f"{key:18} {in_words(value)}")
