"""Makes docs/glossary.md, and holds the project's words to it.

The words are in docs/glossary.toml. `python -m scripts.glossary` writes the page; `--check` fails
where it is out of date. Errors are more than 45 terms, a term whose place is not in the code, a
list of values that differs from the code's, and a retired word in a name, a comment or a page.
`--pending` counts the retired words that are still to be replaced.
"""

import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from scripts.generated import options, write

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "glossary.md"
SOURCE = ROOT / "docs" / "glossary.toml"
MOST = 45

HEAD = """\
# Glossary

The words of jingle-hnt: what commands, metrics, the log, the pages and the code call a thing. The
second column has the word of the field, where it is another one. `scripts/glossary.py` makes this
page from [glossary.toml](glossary.toml), and fails where the code or a text uses a retired word.

"""

PROSE: tuple[str, ...] = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "docs/*.md")
PROSE += ("config/*.md", "config/jingle-hnt.toml")
NOT_PROSE = ("docs/glossary.md", "docs/upgrading.md", "docs/mistakes.md", "docs/threats.md")
"""These name retired words to say what became of them, or have rows of such names."""

Entry = dict[str, Any]


def page(glossary: Entry) -> str:
    """Return the page in Markdown."""
    parts = [HEAD, "| term | in the field | source | what it is | where |\n"]
    parts.append("| --- | --- | --- | --- | --- |\n")
    for term in glossary["term"]:
        same = term["field"] in ("none", term["term"])
        field = "" if same else term["field"]
        where = f"`{place(term['where'])}`"
        cells = (f"**{term['term']}**", field, term["source"], term["text"], where)
        parts.append(f"| {' | '.join(cells)} |\n")
    parts.append("\n## Words for values\n")
    for values in glossary["values"]:
        parts.append(f"\n### {values['title']}\n\nShown by {values['seen']}.\n\n")
        parts.append("| word | it means |\n| --- | --- |\n")
        parts += [f"| `{word}` | {text} |\n" for word, text in values["words"].items()]
    parts.append("\n## Retired words\n\n| not any more | but |\n| --- | --- |\n")
    parts += [f"| {entry['was']} | {entry['now']} |\n" for entry in glossary["retired"]]
    return "".join(parts)


def place(where: str) -> str:
    """Return the file, below the root, that defines a name or is named. Raises ValueError."""
    module = ROOT / "jingle_hnt" / f"{where.replace('.', '/')}.py"
    if module.exists():
        return str(module.relative_to(ROOT))
    found = sorted(file for file, names in _definitions().items() if where in names)
    if not found:
        found = [file for file in _files("config/*") if where in (ROOT / file).read_text()]
    if not found:
        raise ValueError(f"nothing in the code is named {where}")
    return found[0]


@cache
def _definitions() -> dict[str, frozenset[str]]:
    """The names that each file defines: classes, functions, constants, and fields as Class.name."""
    return {file: frozenset(_names(_tree(file))) for file in _files("jingle_hnt/*.py")}


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{target}" for target in _targets(node))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        yield from _targets(node) if isinstance(node, ast.Module) else ()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _targets(node: ast.ClassDef | ast.Module) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


@cache
def _files(*patterns: str) -> tuple[str, ...]:
    """The files of the repository that fit a pattern; ``*`` crosses directories."""
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    files = (file for file in listed.splitlines() if (ROOT / file).is_file())
    return tuple(file for file in files if any(fnmatch(file, p) for p in patterns))


def faults(glossary: Entry) -> Iterator[str]:
    """What is wrong with the glossary, or with the words of the code and the pages."""
    terms = glossary["term"]
    if len(terms) > MOST:
        yield f"{len(terms)} terms are more than {MOST}"
    for name, count in Counter(term["term"] for term in terms).items():
        if count > 1:
            yield f"{name} is there twice"
    for term in terms:
        try:
            place(term["where"])
        except ValueError as error:
            yield f"{term['term']}: {error}"
    for values in glossary["values"]:
        if not any(set(values["words"]) == found for found in _in_code(values)):
            yield f"{values['title']}: the code has other words; see {_named(values)}"
    for entry in glossary["retired"]:
        yield from (
            f"{where}: {word!r} is retired; {_advice(entry)}" for where, word in uses(entry)
        )


def _advice(entry: Entry) -> str:
    return f"write {entry['now']} (docs/glossary.toml)"


def _named(values: Entry) -> str:
    return str(values.get("enum") or values["fields"])


def _in_code(values: Entry) -> Iterator[set[str]]:
    """The words that the code has for it: an enumeration's, or what fields end with."""
    if "fields" in values:
        owner, _, prefix = values["fields"].partition(".")
        names = {n.removeprefix(f"{owner}.") for found in _definitions().values() for n in found}
        yield {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return
    for file in _files("jingle_hnt/*.py"):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.ClassDef) and node.name == values["enum"]:
                yield set(_members(node))


def _members(enumeration: ast.ClassDef) -> Iterator[str]:
    for statement in enumeration.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            value, target = statement.value.value, statement.targets[0]
            if isinstance(value, str):
                yield value
            elif isinstance(target, ast.Name):
                yield target.id.lower()


def uses(entry: Entry, *, pending: bool = False) -> Iterator[tuple[str, str]]:
    """Where a retired word is still used: in names of the code, and in the pages' text.

    With `pending`, in the files that the list excuses for now; else in the others.
    """
    for file in _files("jingle_hnt/*", "tests/*.py", "benchmarks/*.py", "scripts/*.py"):
        if _is_excused(entry, file) is pending and file != "scripts/glossary.py":
            for word in _words_of(file) & set(entry.get("identifiers", ())):
                yield file, word
    for file in _files(*PROSE, "jingle_hnt/*"):
        if file not in NOT_PROSE and _is_excused(entry, file) is pending:
            for pattern in entry.get("prose", ()):
                for found in re.finditer(pattern, _plain(file)):
                    yield file, found[0]


def _is_excused(entry: Entry, file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in entry.get("pending", ()))


@cache
def _words_of(file: str) -> frozenset[str]:
    """The parts of the names in a file of code: ``_StandIns.speak_for`` has four."""
    if file.endswith((".py", ".pyi")):
        names = _identifiers(ast.parse((ROOT / file).read_text()))
    elif file.endswith((".c", ".h")):
        text = re.sub(r'(?s)/\*.*?\*/|"(?:\\.|[^"\\])*"', " ", (ROOT / file).read_text())
        names = set(re.findall(r"[A-Za-z_]\w*", text))
    else:
        return frozenset()
    names.add(Path(file).stem)
    parts = (re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name) for name in names)
    whole = {name.strip("_").lower() for name in names}
    return frozenset({part.lower() for found in parts for part in found} | whole)


def _identifiers(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        for name in ("name", "id", "attr", "arg"):
            value = getattr(node, name, None)
            if isinstance(value, str):
                found.add(value)
    return found


@cache
def _plain(file: str) -> str:
    """A page's text without code blocks, and without names of files and tests.

    Of code it is the comments and docstrings.
    """
    if file.startswith("jingle_hnt/"):
        return re.sub(r"`[^`]*`", "", _comments(file))
    text = (ROOT / file).read_text()
    text = re.sub(r"(?ms)^```.*?^```$", "", text)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text) if file.endswith(".md") else text


def _comments(file: str) -> str:
    """The comments and docstrings of a file of code; nothing of other files."""
    if file.endswith((".c", ".h")):
        return "\n".join(re.findall(r"(?s)/\*.*?\*/|//[^\n]*", (ROOT / file).read_text()))
    if not file.endswith(".py"):
        return ""
    with (ROOT / file).open() as lines:
        tokens = list(tokenize.generate_tokens(lines.readline))
    return "\n".join(
        token.string
        for token in tokens
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.string.lstrip("rR").startswith('"""'))
    )


def main() -> int:
    """Write the page; with --check only say what is wrong."""
    asked = options(__doc__, ("--pending", "count what is still to be renamed"))
    glossary = tomllib.loads(SOURCE.read_text())
    found = list(faults(glossary))
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    if asked.pending:
        for entry in glossary["retired"]:
            files = {file for file, _ in uses(entry, pending=True)}
            print(f"{entry['was']}: {len(files)} files")
        return 0
    return write({PAGE: page(glossary)}, "python -m scripts.glossary", check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
