"""Makes docs/claims.md: what our pages claim, and the test or the command that shows it.

It comes from docs/claims.toml. `python -m scripts.claims` writes the page; `--check` says whether
it is up to date; `--missing` lists the paragraphs that no claim of the list is from. Errors are a
text that is not on its page any more, a test that does not exist, and a claim that nothing shows.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from scripts.generated import options, write

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "claims.md"
PAGES = ("README.md", "SECURITY.md", "docs/operating.md", "docs/troubleshooting.md")
"""Every paragraph of these is to be in the list."""

HEAD = """\
# Claims

What our pages claim, in their own words, and what shows it: a test, a row of [threats](threats.md),
or the command that a figure comes from. Made from [claims.toml](claims.toml) by
`python -m scripts.claims`, which finds a text that is not on its page any more, a test that is not
there, and with `--missing` the paragraphs that the list leaves out. Tests are named from `tests/`.

"""

Claim = dict[str, Any]


def page(claims: list[Claim]) -> str:
    """The page in Markdown."""
    parts = [HEAD]
    for name in dict.fromkeys(claim["page"] for claim in claims):
        path = ROOT / name
        link = path.name if path.parent == PAGE.parent else f"../{name}"
        parts.append(f"## [{name}]({link})\n\n| claim | shown by |\n| --- | --- |\n")
        parts += [_row(claim) for claim in claims if claim["page"] == name and _shown(claim)]
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _row(claim: Claim) -> str:
    said = claim.get("text") or f"the table under *{claim['under']}*"
    return f"| {said.replace('|', chr(92) + '|')} | {'<br>'.join(_shown(claim))} |\n"


def _shown(claim: Claim) -> list[str]:
    shown = [f"`{test}`" for test in claim.get("tests", ())]
    shown += [f"row {row} of [threats](threats.md)" for row in claim.get("rows", ())]
    return shown + [f"`{command}`" for command in claim.get("commands", ())]


def faults(claims: list[Claim]) -> Iterator[str]:
    """What is wrong with the list."""
    for claim in claims:
        where = f"docs/claims.toml, {claim['page']}: {claim.get('text') or claim.get('under')!r}"
        text = plain((ROOT / claim["page"]).read_text())
        if "text" in claim and plain(claim["text"]) not in text:
            yield f"{where} is not on the page: write its text as it is now, or take it out"
        body = (ROOT / claim["page"]).read_text()
        if "under" in claim and f"# {claim['under']}\n" not in body:
            yield f"{where} is no heading of the page"
        if not _shown(claim) and "prose" not in claim:
            yield f"{where} has no test and no command"
        for test in claim.get("tests", ()):
            if not exists(test):
                yield f"{where}: there is no test {test}"
        for row in claim.get("rows", ()):
            if row not in _rows():
                yield f"{where}: there is no row {row} in tests/threats/matrix.toml"
        for command in claim.get("commands", ()):
            program = command.split()[0]
            if program.startswith("scripts/") and not (ROOT / program).exists():
                yield f"{where}: there is no {program}"


def plain(text: str) -> str:
    """A text without its line breaks and marks, so that a quote is found however it is set."""
    return " ".join(re.sub(r"[*`_]|\[|\]\([^)]*\)", "", text).split())


def exists(test: str) -> bool:
    """Whether ``file.py::function`` is a test of ours."""
    name, _, function = test.partition("::")
    return function in _functions(name)


@cache
def _functions(name: str) -> frozenset[str]:
    path = ROOT / "tests" / name
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = (node.name for node in ast.walk(tree) if isinstance(node, kinds))
    return frozenset(name for name in found if name.startswith("test_"))


@cache
def _rows() -> frozenset[str]:
    """The rows of docs/threats.md."""
    matrix = tomllib.loads((ROOT / "tests" / "threats" / "matrix.toml").read_text())
    return frozenset(row["id"] for row in matrix["row"])


def missing(claims: list[Claim]) -> Iterator[tuple[str, str]]:
    """The paragraphs, items and rows of `PAGES` of which the list has nothing."""
    for name in PAGES:
        own = [claim for claim in claims if claim["page"] == name]
        quotes = [plain(claim["text"]) for claim in own if "text" in claim]
        tables = {claim["under"] for claim in own if "under" in claim}
        for heading, block in blocks((ROOT / name).read_text()):
            is_row = block.startswith("|")
            said = plain(block)
            if not (is_row and heading in tables) and not any(q in said for q in quotes):
                yield name, said


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Each paragraph, item and row of a page with the heading above it; no code, no pictures."""
    text = re.sub(r"(?ms)^```.*?^```$|<!--.*?-->|^!\[.*?$", "", text)
    heading, block = "", ""
    lines = [*text.splitlines(), "", ""]

    def is_head(number: int) -> bool:
        return bool(re.fullmatch(r"[| :-]+", lines[number + 1]))

    for number, line in enumerate(lines[:-1]):
        begins = line.startswith(("* ", "- ", "|", "#"))
        if (begins or not line.strip()) and block:
            yield heading, block
            block = ""
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            if not re.fullmatch(r"[| :-]+", line) and not is_head(number):
                yield heading, line
        elif line.startswith("    ") and not block:
            continue  # code
        elif line.strip():
            block = f"{block} {line}".strip()


def main() -> int:
    """Write the page, or with --check tell whether it is out of date."""
    asked = options(__doc__, ("--missing", "list what no claim is from"))
    claims = tomllib.loads((ROOT / "docs" / "claims.toml").read_text())["claim"]
    found = list(faults(claims))
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    left_out = list(missing(claims))
    if asked.missing:
        print("\n".join(f"{name}: {block[:110]}" for name, block in left_out))
        return int(bool(left_out))
    if left_out:
        print(f"{len(left_out)} paragraphs are in no claim; see --missing", file=sys.stderr)
    return write({PAGE: page(claims)}, "python -m scripts.claims", check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
