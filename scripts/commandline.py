"""Writes the man page, the shells' completions and docs/commands.md from the table of commands.

    python -m scripts.commandline [--check]

--check writes nothing and tells whether they are current.
"""

import os
import re
import sys
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from jingle_hnt.cli import parser
from jingle_hnt.model.commands import COMMANDS, Command
from scripts.generated import run

ROOT = Path(__file__).parent.parent
NAME = ".SH NAME\njingle\\-hnt"
EXIT_STATUS = """\
.SH EXIT STATUS
.TP
.B 0
well
.TP
.B 1
a check failed, nobody answered, or what was asked for is not there
.TP
.B 2
usage
.TP
.B 78
the configuration or the secret cannot be used
.TP
.B 130
interrupted
.SH SIGNALS
.B jingle\\-hnt run
reloads its configuration on SIGHUP, and ends on SIGTERM or SIGINT.
"""


def pages() -> dict[Path, str]:
    """The files, by where they belong."""
    os.environ["COLUMNS"] = "80"
    made = parser()
    completions = ROOT / "config" / "completion"
    return {
        ROOT / "docs" / "man" / "jingle-hnt.1": man_page(),
        ROOT / "docs" / "commands.md": table(),
        completions / "jingle-hnt.bash": _tidy(shtab.complete(made, "bash")),
        completions / "_jingle-hnt": _tidy(shtab.complete(made, "zsh")),
    }


def man_page() -> str:
    """The manual of all commands."""
    page = Manpage(
        parser(),
        {
            "prog": "jingle-hnt",
            "project_name": "jingle-hnt",
            "manual_section": "1",
            "manual_title": "jingle-hnt",
            "date": "",
        },
    )
    text = re.sub(r'^(\.TH \S+ "1" )"[^"]*"', r'\1""', str(page))  # it has the day of its making
    text = text.replace(NAME, f"{NAME} \\- hosted NAT traversal for XMPP Jingle calls", 1)
    text = re.sub(r"(?m)^'", r"\\&'", text)  # at a line's begin it would be a request
    return _tidy(text) + EXIT_STATUS


HEAD = """\
# Commands

Every command of `jingle-hnt`, in the order of `jingle-hnt --help`. `--help` behind a command and
the manual page describe its options. *In a client* is the name that [XMPP clients](admin-adhoc.md)
show; a command without one is for the command line alone. A command marked * changes something.

This page is made by `scripts/commandline.py` from the table of commands,
`jingle_hnt/model/commands.py`.

| command | what it does | in a client |
| --- | --- | --- |
"""


def table() -> str:
    """The page of all commands."""
    rows = (_row(command) for command in COMMANDS if command.help)
    return HEAD + "".join(rows)


def _row(command: Command) -> str:
    words = [command.name]
    for field in command.fields:
        word = field.metavar or field.name.upper()
        if not field.flag:
            words.append(word if field.metavar else "|".join(field.options) or word)
        elif field.label:
            words.append(f"[{field.flag} {word}]")
    title = f"*{command.title}*" if command.title else ""
    shown = " ".join(words).replace("|", "\\|")
    return f"| `{shown}` | {command.help}{' *' if command.changes else ''} | {title} |\n"


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def main() -> int:
    """Write all of them, or with --check tell which are out of date."""
    return run(__doc__, "python -m scripts.commandline", pages)


if __name__ == "__main__":
    sys.exit(main())
