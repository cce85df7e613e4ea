"""The table of all rows: what each is, how it is taken, and what came of it."""

import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.threats import media, reflection
from tests.threats.field import Field, Outcome, on

ROWS = Path(__file__).with_name("rows.toml")
LIVE, NEIGHBOURS = 0.995, 0.999
MOST_MISSING = 2
"""Packets in a row that may be lost when both parties signal anew at once, one for each."""
KERNELS_US = 0.1
"""CPU time per flood packet that is the kernel's interrupts on our account, not our work."""

Run = Callable[[Field], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `run` is None where tests take it, `tests` name those, `not_reached` says what of
    the demand is not met and why."""

    id: str
    what: str
    demanded: str
    run: Run | None
    tests: tuple[str, ...]
    not_reached: str | None


def rows() -> dict[str, Row]:
    """All rows by their ids, in the order of the table."""
    found = tomllib.loads(ROWS.read_text())
    return {id: _row(id, entry) for id, entry in found.items()}


def _row(id: str, entry: Mapping[str, Any]) -> Row:
    run: Run | None = None
    if entry.get("measured"):
        run = getattr(media if id.startswith("M") else reflection, id.lower())
    return Row(
        id,
        entry["what"],
        entry["demanded"],
        run,
        tuple(entry.get("tests", ())),
        entry.get("not_reached"),
    )


async def measure(row: Row, kind: str, dose: float) -> Outcome:
    """Run a row against one relay, on a field of its own."""
    assert row.run is not None
    async with on(kind, dose) as field:
        return await row.run(field)


def passes(id: str, came: Outcome) -> bool:
    """Whether an outcome is what the row demands."""
    clean = came.bleed == 0 and came.inject == 0
    match id:
        case "M2":
            seen = came.seen
            return clean and came.live >= LIVE and (seen is None or seen.process == 0)
        case "M8":
            return clean and came.missing <= MOST_MISSING
        case "M12" | "M14":
            return clean and came.gap_ms <= 2000 and came.live > 0.5
        case "M16":
            cheap = came.notes["cpu_more"] <= 0.1 or came.notes["us_each"] <= KERNELS_US
            return clean and came.live >= LIVE and came.neighbours >= NEIGHBOURS and cheap
        case "S6":
            return came.answers == 0
        case _ if id.startswith("S"):
            return clean
        case _:
            return clean and came.live >= LIVE


def words(id: str, came: Outcome) -> str:
    """The figures of an outcome that matter to its row."""
    match id:
        case "S1" | "S2" | "S3":
            return f"{came.bleed} packets"
        case "S5":
            return f"{came.inject} packets to itself"
        case "S6":
            return f"{came.answers} answers to {came.sent} packets"
        case "M12" | "M14":
            healed = f"healed in {came.gap_ms / 1000:.1f} s" if came.live > 0.5 else "not healed"
            return f"bleed {came.bleed}, inject {came.inject}, {healed}"
        case "M8":
            return f"bleed {came.bleed}, inject {came.inject}, {came.missing} in a row lost"
        case "M16":
            return (
                f"{came.live:.1%} of its call, {came.neighbours:.1%} of the others,"
                f" {came.notes['us_each']:.2f} µs of CPU for each of {came.pps // 1000} kpps"
            )
        case _:
            return f"bleed {came.bleed}, inject {came.inject}, {came.live:.1%} delivered"
