"""The commands that a page of docs/ has its reader type."""

import re
from collections.abc import Collection

from tests.lab.play import ROOT

PACKAGE, PIP = "From the Debian package", "With pip"
"""Headings of sections of which the reader chooses one; the servers' names are others."""


def commands(page: str, without: Collection[str] = ()) -> str:
    """All of the page's blocks of shell, but for those in sections with these headings."""
    return of((ROOT / "docs" / f"{page}.md").read_text(), without)


def of(text: str, without: Collection[str] = ()) -> str:
    """The same of a page's text."""
    found: list[str] = []
    inside = chosen = False
    passed = 0  # the depth of the heading of a section that is left out
    for line in text.splitlines(keepends=True):
        if inside and line == "```\n":
            inside = False
        elif inside:
            found += [line] if chosen else []
        elif line.startswith("```"):
            inside, chosen = True, line == "```sh\n" and not passed
        elif heading := re.match(r"(#+) (.*)", line):
            depth = len(heading[1])
            if not passed or depth <= passed:
                passed = depth if heading[2] in without else 0
    return "".join(found)
