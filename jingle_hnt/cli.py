"""The command line.

Exit status: 0 well; 1 a check failed, nobody answered, or what was asked for is not there; 2 usage;
78 the configuration or the secret cannot be used; 130 interrupted.
"""

import argparse
import importlib
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from jingle_hnt import __version__
from jingle_hnt.defaults import DEFAULT_PATH, EX_CONFIG
from jingle_hnt.errors import ConfigurationError, SecretRefused

MODULES = {
    "init": ("init",),
    "provide": ("module", "unit"),
    "check": ("check",),
    "processes": ("run", "signalling"),
    "plane": ("plane",),
    "inspect": (
        *("status", "stats", "limits", "policy"),
        *("calls", "call", "explain", "history"),
    ),
    "top": ("top",),
    "report": ("report",),
    "operate": (
        *("terminate", "drain", "undrain", "reload", "set"),
        *("block", "unblock", "loglevel", "config"),
    ),
}
"""The modules of `commands`, and the commands that each adds. Only the one that is wanted is
loaded: `status` is asked every few seconds, and the plane has no time to load the others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the console script's entry point."""
    words = sys.argv[1:] if arguments is None else arguments
    _print_anything()
    wanted = [module for module, commands in MODULES.items() if words and words[0] in commands]
    options = parser(wanted or MODULES).parse_args(words)
    try:
        status: int = options.command(options)
    except (ConfigurationError, SecretRefused) as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130
    return status


def parser(modules: Iterable[str] = MODULES) -> argparse.ArgumentParser:
    """The commands of these modules, and their options."""
    root = argparse.ArgumentParser(
        prog="jingle-hnt", description="Hosted NAT traversal for XMPP Jingle calls."
    )
    root.add_argument("--version", action="version", version=f"jingle-hnt {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for module in modules:
        loaded = importlib.import_module(f"jingle_hnt.commands.{module}")
        loaded.add_to(commands, _add_config)
    return root


def _print_anything() -> None:
    """Whatever a user's name is made of: a terminal that lacks a character shows its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_PATH})",
    )
