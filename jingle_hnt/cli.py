"""The command line.

Exit status: 0 well; 1 a check failed, nobody answered, or what was asked for is not there; 2 usage;
78 the configuration or the secret cannot be used; 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jingle_hnt import __version__
from jingle_hnt.commands import check, init, inspect, operate, processes, top
from jingle_hnt.config import DEFAULT_PATH
from jingle_hnt.errors import ConfigurationError, SecretRefused
from jingle_hnt.supervisor import EX_CONFIG


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the console script's entry point."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (ConfigurationError, SecretRefused) as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except KeyboardInterrupt:
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(
        prog="jingle-hnt", description="Hosted NAT traversal for XMPP Jingle calls."
    )
    root.add_argument("--version", action="version", version=f"jingle-hnt {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    for module in (init, check, processes, inspect, top, operate):
        module.add_to(commands, _add_config)
    return root


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_PATH,
        metavar="FILE",
        help=f"configuration file (default: {DEFAULT_PATH})",
    )
