"""What Python and the C engine hand each other, derived from the values that both speak of.

The only definition of a field is the dataclass in `relay/` that has it. From here come
`native/rules/records.h` (lists of fields for the C side's macros, enumerations, bounds; written by
`scripts/records.py`), and the conversions of `plane/native.py`. The C side reads and writes each
field by its name; a field that it does not know is an error of the compiler.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from hashlib import sha256
from typing import Any, get_type_hints

from jingle_hnt.model.address import IPNetwork, TransportAddress
from jingle_hnt.model.content import TagKey
from jingle_hnt.plane import protocol
from jingle_hnt.relay.binding import (
    EVENTS,
    Arm,
    Counters,
    Flow,
    PinholeSnapshot,
    Quality,
    Side,
    StreamAt,
)
from jingle_hnt.relay.evidence import Evidence, IceKey
from jingle_hnt.relay.ice_agent import TARGETS, Checks
from jingle_hnt.relay.latch import LatchState

KINDS: dict[Any, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "text",
    Side: "int",
    int | None: "maybe_int",
    float | None: "maybe_float",
    TransportAddress: "address",
    TransportAddress | None: "address",
    StreamAt: "stream",
    StreamAt | None: "stream",
    tuple[int, ...]: "bytes",
    tuple[IPNetwork, ...]: "networks",
    tuple[IceKey, ...]: "keys",
    tuple[TagKey, ...]: "tags",
    tuple[TransportAddress, ...]: "addresses",
    tuple[PinholeSnapshot, PinholeSnapshot]: "pinholes",
    Checks | None: "checks",
    Counters: "counters",
    Quality: "quality",
}
"""How each type goes over: the C side has a macro for each of these words."""

SPECIAL = {"tie_breaker": "bits"}
"""How a field goes over whose type does not say it: here as 64 bits without a sign."""

PYTHON_ONLY = {"name", "source_auth"}
"""Fields that the C side does not have: it knows handles, and evidence without its name."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field as it goes over: `type` is what Python makes of it."""

    name: str
    kind: str
    type: Any


def columns(*kinds: type) -> tuple[Column, ...]:
    """The fields of these dataclasses in their order, each name once; evidence by its fields."""
    found: dict[str, Column] = {}
    for kind in kinds:
        types = get_type_hints(kind)
        for field in fields(kind):
            of = types[field.name]
            if of is Evidence:
                found |= {column.name: column for column in columns(Evidence)}
            elif field.name not in PYTHON_ONLY:
                word = SPECIAL.get(field.name) or _kind(of)
                found.setdefault(field.name, Column(field.name, word, of))
    return tuple(found.values())


def _kind(type_: Any) -> str:
    if isinstance(type_, type) and issubclass(type_, IntEnum):
        return "int"
    return KINDS[type_]


RECORDS = {
    "ARM": columns(Arm),
    "CHECKS": columns(Checks),
    "PINHOLE": columns(PinholeSnapshot),
    "QUALITY": columns(Quality),
    "EVENT": columns(*EVENTS.values()),
}

ENUMERATIONS: dict[str, type[IntEnum]] = {"flow": Flow, "state": LatchState}

BOUNDS = {
    "MAX_NETWORKS": protocol.MAX_NETWORKS,
    "MAX_KEYS": protocol.MAX_KEYS,
    "MAX_TAGS": protocol.MAX_TAGS,
    "MAX_USERNAME": protocol.MAX_USERNAME,
    "MAX_PASSWORD": protocol.MAX_PASSWORD,
    "TARGETS": TARGETS,
}


def header() -> str:
    """The text of `native/rules/records.h`."""
    body = "\n".join(_body())
    digest = sha256(body.encode()).hexdigest()[:16]
    return f"""\
/* Fields, numbers and bounds that the engine shares with Python. Made by scripts/records.py from
 * jingle_hnt/plane/records.py; do not edit. HNT_X_FIELDS(FIELD) lists FIELD(name, kind). */
#ifndef HNT_RECORDS_H
#define HNT_RECORDS_H

#define HNT_RECORDS "{digest}"

{body}
#endif
"""


def digest() -> str:
    """What the extension's `RECORDS` is, if it was built of these records."""
    return header().partition('#define HNT_RECORDS "')[2].partition('"')[0]


def _body() -> Iterator[str]:
    for name, numbers in ENUMERATIONS.items():
        yield f"enum hnt_{name} {{"
        yield from (f"    HNT_{member.name} = {member.value}," for member in numbers)
        yield "};\n"
    yield "enum hnt_event_kind {"
    yield from (f"    HNT_EVENT_{name.upper()}," for name in EVENTS)
    yield "};\n"
    yield "enum hnt_counter {"
    yield from (f"    HNT_{column.name.upper()}," for column in columns(Counters))
    yield "    HNT_COUNTERS,\n};\n"
    yield "enum {"
    yield from (f"    HNT_{name} = {value}," for name, value in BOUNDS.items())
    yield "};\n"
    for name, own in RECORDS.items():
        yield f"#define HNT_{name}_FIELDS(FIELD) \\"
        yield " \\\n".join(f"    FIELD({column.name}, {column.kind})" for column in own) + "\n"
