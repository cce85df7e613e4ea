"""What an administrator may ask, described once for every way of asking.

A `Command` says what it is called, which fields it takes, and what it answers. The local socket,
the command line and the ad-hoc commands of XMPP clients (XEP-0050) are made from the same table, so
none of them can do what the others cannot.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from jingle_hnt.admin.spoken import spoken

Run = Callable[[Mapping[str, object]], Awaitable[BaseModel]]
"""Takes the fields' values; raises ValueError with a text for the administrator."""


Spoken = Callable[[BaseModel], Mapping[str, Sequence[str]]]
"""Takes an answer; returns lines by the dotted name of each list that it knows."""

SHUTDOWN = "http://jabber.org/protocol/admin#shutdown"
"""Where XEP-0133 section 4.31 has the end of a service; a drain is how ours begins."""


class Kind(StrEnum):
    """The types of XEP-0004 forms that our fields have."""

    TEXT = "text-single"
    LINES = "text-multi"
    CHOICE = "list-single"
    FLAG = "boolean"
    JID = "jid-single"


@dataclass(frozen=True, slots=True)
class Field:
    """One value that a command takes; `options` are the values of a CHOICE."""

    name: str
    label: str
    kind: Kind = Kind.TEXT
    required: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to ask. `changes` tells that it changes something; `node` is its XEP-0133 node,
    where that standard has one for it. `spoken` tells the lists of an answer in short lines."""

    name: str
    title: str
    run: Run
    fields: tuple[Field, ...] = ()
    changes: bool = False
    node: str | None = None
    spoken: Spoken = spoken
