"""The command line, made from the table of commands (`model/commands.py`).

Exit status: 0 well; 1 a check failed, nobody answered, or what was asked for is not there; 2 usage;
78 the configuration or the secret cannot be used; 130 interrupted.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jingle_hnt import __version__
from jingle_hnt.errors import ConfigurationError, SecretRefused
from jingle_hnt.model.commands import COMMANDS, GROUPS, Command, Field, FieldKind
from jingle_hnt.settings.defaults import DEFAULT_PATH

TYPES = {FieldKind.PATH: Path, FieldKind.NUMBER: float}
"""What the command line makes of a value; text stays text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the console script's entry point.

    Only its own module is loaded: `status` is asked every few seconds, and the plane has no time to
    load the others.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _print_anything()
    wanted = [command for command in COMMANDS if words and words[0] == command.name.split()[0]]
    options = parser(wanted or COMMANDS).parse_args(words)
    module, _, function = options.command.function.partition(":")
    run = getattr(importlib.import_module(f"jingle_hnt.commands.{module}"), function)
    try:
        status: int = run(options)
    except (ConfigurationError, SecretRefused) as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG
    except KeyboardInterrupt:
        return 130
    return status


def parser(wanted: Iterable[Command] = COMMANDS) -> argparse.ArgumentParser:
    """Parse these commands and their options; `command` of what is parsed is the entry."""
    root = argparse.ArgumentParser(
        prog="jingle-hnt", description="Hosted NAT traversal for XMPP Jingle calls."
    )
    root.add_argument("--version", action="version", version=f"jingle-hnt {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    groups: dict[str, Any] = {}
    for command in wanted:
        if not command.help:
            continue
        group, _, action = command.name.rpartition(" ")
        if group and group not in groups:
            made = commands.add_parser(group, help=GROUPS[group])
            groups[group] = made.add_subparsers(required=True, metavar="ACTION")
        _add(groups[group] if group else commands, action, command)
    return root


def _add(commands: Any, name: str, command: Command) -> None:
    text = command.help
    made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    if command.has_config:
        made.add_argument(
            "--config",
            type=Path,
            default=DEFAULT_PATH,
            metavar="FILE",
            help=f"configuration file (default: {DEFAULT_PATH})",
        )
    if command.has_json:
        made.add_argument("--json", action="store_true", help="print the answer as JSON")
    if command.has_addresses:
        made.add_argument("--addresses", action="store_true", help="show whole addresses")
    for field in command.fields:
        _add_field(made, field)
    made.set_defaults(command=command)


def _add_field(command: argparse.ArgumentParser, field: Field) -> None:
    text = field.help or field.label[0].lower() + field.label[1:]
    if field.kind is FieldKind.FLAG:
        command.add_argument(field.flag, dest=field.name, action="store_true", help=text)
        return
    details: dict[str, Any] = {"type": TYPES.get(field.kind, str), "help": text}
    if field.metavar:
        details["metavar"] = field.metavar
    if field.options:
        details["choices"] = field.options
    if not field.flag:
        command.add_argument(field.name, **details)
        return
    # A value that a process is sent is text also where nothing was written.
    default = "" if field.default is None and field.label else field.default
    command.add_argument(field.flag, dest=field.name, default=default, **details)


def _print_anything() -> None:
    """Whatever a user's name is made of: a terminal that lacks a character shows its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
