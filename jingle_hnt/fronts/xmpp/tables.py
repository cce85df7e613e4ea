"""Lays any answer of a command out as single values and tables, as a form can show them.

It knows models and no XML. Members that are models are taken apart, their names joined by dots; a
list of models is a table, and a list inside its rows makes one row of each of its members, so that
every row is complete. A second list inside the same row is only counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

MOST_ROWS = 200
MOST_CHARACTERS = 64_000
"""Of all cells of a table. Servers end a stream on which one stanza is too large."""

NOTHING: Mapping[str, Sequence[str]] = {}
"""Nobody has words for any list."""

Value = str | int | float | bool | None
Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Table:
    """Complete rows: a value for each column, in their order; `labels` are unique.

    `members` are those of the list that it is made of, each of which may have several rows, and
    `total` counts the rows that are left out as well. `lines` say it for who shows no table; there
    are none where nobody has words for it.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    total: int
    members: int
    lines: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return labels(self.columns)


@dataclass(frozen=True, slots=True)
class Layout:
    """An answer: its single values by name, and its tables."""

    values: Row
    tables: tuple[Table, ...]

    def redacted(self, redact: Callable[[str], str]) -> "Layout":
        """Return a value with every text in it changed by `redact`."""

        def shown(value: Value) -> Value:
            return redact(value) if isinstance(value, str) else value

        tables = (
            replace(
                table,
                rows=tuple(tuple(map(shown, row)) for row in table.rows),
                lines=tuple(map(redact, table.lines)),
            )
            for table in self.tables
        )
        return Layout({name: shown(value) for name, value in self.values.items()}, tuple(tables))

    @property
    def summary(self) -> str:
        """One line that says what is there, for a client that shows no form."""
        said = [f"{name}: {text(value) or '-'}" for name, value in self.values.items()]
        said += [f"{table.name}: {table.members}" for table in self.tables]
        return ", ".join(said)


def lay_out(answer: BaseModel, spoken: Mapping[str, Sequence[str]] = NOTHING) -> Layout:
    """The single values and tables of a model; `spoken` has lines for some of its lists."""
    values: Row = {}
    tables: list[Table] = []
    for name, value in _flat(answer.model_dump(mode="json")):
        if isinstance(value, list):
            rows = [row for member in value for row in _rows(member)]
            table = _table(name, rows, len(value))
            tables.append(replace(table, lines=tuple(spoken.get(name, ()))))
        else:
            values[name] = value
    return Layout(values, tuple(tables))


def text(value: Value) -> str:
    """A value as a person reads it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def labels(names: Sequence[str]) -> tuple[str, ...]:
    """The shortest ends of dotted names that still tell them apart."""
    return tuple(_label(name, names) for name in names)


def _label(name: str, names: Sequence[str]) -> str:
    parts = name.split(".")
    for length in range(1, len(parts)):
        end = parts[-length:]
        if sum(other.split(".")[-length:] == end for other in names) == 1:
            return " ".join(end).replace("_", " ")
    return " ".join(parts).replace("_", " ")


def _flat(
    members: Mapping[str, object], prefix: str = ""
) -> Iterator[tuple[str, Value | list[object]]]:
    """Members by dotted name; lists of objects stay lists, as empty ones do, others are joined."""
    for key, value in members.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list) and value and not isinstance(value[0], Mapping):
            yield name, ", ".join(str(member) for member in value)
        elif isinstance(value, list):
            yield name, value
        else:
            yield name, _scalar(value)


def _rows(member: object) -> Iterator[Row]:
    """The rows of one member of a list: several where it holds a list of its own."""
    if not isinstance(member, Mapping):
        yield {"value": _scalar(member)}
        return
    flat = dict(_flat(member))
    own = {name: value for name, value in flat.items() if not isinstance(value, list)}
    lists = {name: value for name, value in flat.items() if isinstance(value, list) and value}
    inner = next(iter(lists), None)
    if inner is None:
        yield own
        return
    own |= {name: len(value) for name, value in lists.items() if name != inner}
    for row in (row for each in lists[inner] for row in _rows(each)):
        yield own | {f"{inner}.{column}": value for column, value in row.items()}


def _table(name: str, rows: list[Row], members: int) -> Table:
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    shown: list[tuple[Value, ...]] = []
    characters = 0
    for row in rows[:MOST_ROWS]:
        cells = tuple(row.get(column) for column in columns)
        characters += sum(len(text(cell)) for cell in cells)
        if characters > MOST_CHARACTERS:
            break
        shown.append(cells)
    return Table(name, columns, tuple(shown), len(rows), members)


def _scalar(value: object) -> Value:
    return value if value is None or isinstance(value, str | int | float) else str(value)
