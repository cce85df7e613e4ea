"""docs/threats.md: the table, made from what `scripts/threats --record` has measured."""

import json
from pathlib import Path
from typing import Any

from scripts import generated
from tests.threats.matrix import Entry, entries

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "threats.md"
RESULTS = Path(__file__).parent / "results.json"
HEAD = """\
# Attacks and faults

What is done to the relay and to its signalling, what must come of it, and what does. Made by
`scripts/threats --record` on {machines};
`scripts/threats [--full] [ROW ...]` attacks anew. The attacks run in network namespaces, on
jingle-hnt's session core and plane and, where a row is about media, on Debian's rtpengine in
userspace (strict source, heuristic endpoint learning) with the same calls: both parties behind
NATs, signalling the private addresses that they have.

*bleed*: a party's packets at the attacker. *inject*: somebody else's packets at a party. *live*:
the worst direction's part of the calls' own packets that arrived. *gap_packets*: the most of them
in a row that did not arrive; what was lost between two packets of the receiver's own counts as one.
*strayed*: datagrams that the relay sent where it must not. *dose*: the part of the full number of
packets, calls or seconds, for us and, where it is another, for rtpengine.
Tests are named as they are in `tests/`; figures in bold are not what is demanded.

| row | what | demanded | dose | jingle-hnt | rtpengine | holds |
| --- | --- | --- | --- | --- | --- | --- |
"""


def recorded() -> dict[str, Any]:
    """What was measured last."""
    if not RESULTS.exists():
        return {"rows": {}}
    known: dict[str, Any] = json.loads(RESULTS.read_text())
    return known


def record(rows: dict[str, Any], machine: dict[str, object]) -> None:
    """Keep what came of these rows, and where, beside what is known of other relays."""
    known = recorded()
    for name, result in rows.items():
        known["rows"][name] = known["rows"].get(name, {}) | result | {"machine": machine}
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def write(check: bool) -> int:
    """Write the page, or with `check` tell whether it is out of date (1)."""
    known = recorded()
    machines = {_machine(result["machine"]) for result in known["rows"].values()}
    lines = "\n".join(row(entry, known["rows"].get(entry.id, {})) for entry in entries())
    text = HEAD.format(machines=",\nand ".join(sorted(machines))) + lines + "\n"
    return generated.write({PAGE: text}, "python -m tests.threats --page", check=check)


def row(entry: Entry, result: dict[str, Any]) -> str:
    """A row of the table in Markdown."""
    ours = [_figures(result.get("jingle-hnt"))] if "jingle-hnt" in result else []
    noted = result.get("tested", {}).get("figures", {})
    ours += [_test(name, noted) for name in entry.tests]
    parts = (result.get(name, {}) for name in ("jingle-hnt", "rtpengine", "tested"))
    doses = [_dose(part) for part in parts if "dose" in part]
    cells = (
        entry.id,
        entry.what,
        entry.demands,
        ", ".join(dict.fromkeys(doses)),
        "<br>".join(ours),
        _figures(result.get("rtpengine")),
        _verdict(entry, result),
    )
    return "| " + " | ".join(cells) + " |"


def passed(result: dict[str, Any]) -> bool | None:
    """Whether our figures and the tests say that a row holds; None where there are none."""
    ours = [result[part]["met"] for part in ("jingle-hnt", "tested") if part in result]
    return all(ours) if ours else None


def _machine(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}"


def _test(name: str, noted: dict[str, dict[str, str]]) -> str:
    """A test, and what it has noted on each server."""
    told = [
        _case(case) + ", ".join(map(" ".join, figures.items()))
        for case, figures in noted.items()
        if case.partition("[")[0] == name.rpartition("::")[2]
    ]
    return "<br>".join([f"`{name.removeprefix('tests/')}`", *told])


def _case(test: str) -> str:
    """What tells a test's cases apart, such as the server; nothing where there is one only."""
    case = test.partition("[")[2].rstrip("]")
    return f"{case}: " if case else ""


def _dose(part: dict[str, Any]) -> str:
    return "full" if part["dose"] == 1 else f"{part['dose']:g}"


def _verdict(entry: Entry, result: dict[str, Any]) -> str:
    if entry.not_yet:
        return f"**not yet**: {entry.not_yet}"
    holds = passed(result)
    if holds is None:
        return "not run"
    return "yes" if holds else "**no**"


def _figures(part: dict[str, Any] | None) -> str:
    if part is None:
        return ""
    if "refused" in part:
        return str(part["refused"])
    told = ", ".join(f"{name} {value}" for name, value in part["figures"].items())
    return told if part["met"] else f"**{told}**"
