"""The commands that a running process answers, each with its function.

The local socket, the command line and the ad-hoc commands of XMPP clients (XEP-0050) are served
from the same ones, so none of them can do what the others cannot.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from jingle_hnt.admin.spoken import spoken
from jingle_hnt.model.commands import COMMANDS, Command

Run = Callable[[Mapping[str, object]], Awaitable[BaseModel]]
"""Takes the fields' values; raises ValueError with a text for the administrator."""

Spoken = Callable[[BaseModel], Mapping[str, Sequence[str]]]
"""Takes an answer; returns lines by the dotted name of each list that it knows."""


@dataclass(frozen=True, slots=True)
class Served:
    """A command of the table and what answers it. `spoken` tells an answer's lists in lines."""

    command: Command
    run: Run
    spoken: Spoken = spoken


def served(*groups: object) -> Iterator[Served]:
    """Every command that one of these objects has a method for, in the order of the table."""
    for command in COMMANDS:
        for group in groups:
            run: Run | None = getattr(group, command.name, None)
            if command.title and run is not None:
                yield Served(command, run)
