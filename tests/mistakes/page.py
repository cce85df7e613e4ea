"""Writes docs/mistakes.md out of the catalogue and of what was recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.play import ROOT
from tests.mistakes.catalogue import CATALOGUE, Mistake

PAGE = ROOT / "docs" / "mistakes.md"
RESULTS = Path(__file__).parent / "results.json"

HEAD = """# {number} mistakes that operators make

Each was made on real parts: a host in a network namespace, Prosody, a STUN server, and jingle-hnt.
Then its command was asked, what the answer says was done, and it was asked again. *Works* means
that the answer was gone by then, and nothing failed.

`scripts/mistakes [ID ...]` makes them again, `scripts/mistakes --record` writes this page. What
goes wrong in calls, and what `explain` says of it, is in [troubleshooting](troubleshooting.md).
Whatever else our messages say is to be done is tried by tests: `scripts/hints.py` lists all of it.
"""

KINDS = {
    "F": "In the file",
    "H": "On the host",
    "S": "At the XMPP server",
    "R": "While it runs",
    "C": "On the command line",
    "E": "In calls",
}
NAMES = {
    "ready": "`ready` (status, /readyz)",
    "run": "`run`",
    "command": "the command",
    "server log": "the server's log",
}


def page(results: Mapping[str, Any]) -> str:
    """The whole page; a mistake that was not recorded is left out."""
    known = [mistake for mistake in CATALOGUE if mistake.id in results]
    parts = [HEAD.format(number=len(known))]
    for kind, title in KINDS.items():
        rows = [_row(m, results[m.id]) for m in known if m.kind == kind]
        if rows:
            head = "| | mistake | said by | it said | so one |\n| --- | --- | --- | --- | --- |"
            parts.append("\n".join([f"## {title}", "", head, *rows, ""]))
    return "\n".join(parts)


def _row(mistake: Mistake, result: Mapping[str, Any]) -> str:
    said = result["said"]
    by = "<br>".join(NAMES.get(name, f"`{name}`") for name in said)
    texts = "<br>".join(_cell(text) or "nothing" for text in said.values())
    outcome = "works" if result["works"] else "does not help"
    return f"| {mistake.id} | {mistake.what} | {by} | {texts} | {mistake.did}: {outcome} |"


def _cell(text: str) -> str:
    """Text as it is, in a table of Markdown."""
    for character in "\\*<|[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
