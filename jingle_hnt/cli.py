"""The command line.

Exit status: 0 well; 1 a check failed, nobody answered, or what was asked for is not there; 2 usage;
78 the configuration or the secret cannot be used; 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from jingle_hnt import __version__
from jingle_hnt.commands import plane
from jingle_hnt.config import DEFAULT_PATH
from jingle_hnt.errors import ConfigurationError, SecretRefused
from jingle_hnt.supervisor import EX_CONFIG


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the console script's entry point."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(only_plane=words[:1] == ["plane"]).parse_args(words)
    try:
        status: int = options.command(options)
    except (ConfigurationError, SecretRefused) as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130
    return status


def parser(only_plane: bool = False) -> argparse.ArgumentParser:
    """The commands and their options; with `only_plane` that one, without loading the others."""
    root = argparse.ArgumentParser(
        prog="jingle-hnt", description="Hosted NAT traversal for XMPP Jingle calls."
    )
    root.add_argument("--version", action="version", version=f"jingle-hnt {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for module in [plane] if only_plane else _modules():
        module.add_to(commands, _add_config)
    return root


def _modules() -> list[ModuleType]:
    """All commands. They import most of the program, for which the plane has no time."""
    from jingle_hnt.commands import check, init, inspect, operate, processes, top

    return [init, check, processes, plane, inspect, top, operate]


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_PATH})",
    )
