"""Finds the hints of our messages, and fails for one that nothing tries.

A hint is a text that tells its reader what to do: "write ...", "run ...", "; use ...". Each is to
be tried once: the mistake is made, what the text says is done, and it works. That is done by a
mistake of tests/mistakes whose recorded answer has the hint in it, or by a test that
tests/hints.toml names beside the hint. `python scripts/hints.py --check` is what CI runs; without
it every hint is printed with what tries it. Texts are keys, not files: code may move.
"""

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "hints.toml"
RECORD = ROOT / "tests" / "mistakes" / "results.json"

_VERB = (
    "add|ask|check|choose|end|free|give|have|install|keep|leave|let|list|load|look|make|name"
    "|offer|own|put|raise|lower|read|reload|remove|restart|run|see|send|set|start|stop|take|try|turn"
    "|unblock|use|wait|widen|write"
)
IMPERATIVE = re.compile(
    rf"(?:^|[;:,(] |\bor |\band |\bthen |\belse )(?:{_VERB})\b|[.:] (?:{_VERB.title()}|Then)\b"
    r"|\bmust\b|\bdid you mean\b|\bjingle-hnt [a-z]|\w\?$"
)
OPTION = re.compile(
    r"\b(?:xmpp|relay|times|limits|budgets|ice|gate|log|admin|metrics|state|addresses|relay_nodes"
    r")\.[a-z_]{3,}\b"
)
DESCRIPTION = re.compile(r'description: "(.*)"')
"""Of an alert: what whoever is woken by it is to do."""
SQL = re.compile(r"\s*(?:SELECT|DELETE|UPDATE|INSERT|CREATE|ALTER|PRAGMA|WHERE)\b")
NOT_SAID = {"help", "description", "epilog", "metavar", "usage", "title", "documentation"}
"""Arguments that explain a command or a figure beforehand; no mistake comes before them."""
NOT_SAID_BY = {"Command", "Field", "_flag", "_ordered"}
"""The entries of the table of commands, likewise."""
ADVICE = {"CallCause": 2, "LegCause": 2}
"""Which argument of these is what to do; such a text is a hint however it is put."""
WORDS = "WORDS"
"""A table whose values are a text and what to do."""
HOLE = "{}"
QUOTED, SHORTEST_QUOTE = 4, 12
"""Words in a row that a test quotes of a hint, and the letters that they have at least."""


def hints() -> dict[str, list[str]]:
    """Every hint, with the places that say it."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "jingle_hnt").rglob("*.py")):
        tree = ast.parse(path.read_text())
        advice = set(advices(tree))
        for line, text in texts(tree):
            if text in advice or is_hint(text):
                found.setdefault(text, []).append(f"{path.relative_to(ROOT)}:{line}")
    for path in sorted((ROOT / "jingle_hnt" / "share").rglob("*")):
        if path.suffix in {".lua", ".erl"}:
            for line, text in quoted(path.read_text(), path.suffix):
                if is_hint(text):
                    found.setdefault(text, []).append(f"{path.relative_to(ROOT)}:{line}")
        elif path.name == "alerts.yml":
            for line, said_of in enumerate(path.read_text().splitlines(), 1):
                if match := DESCRIPTION.search(said_of):
                    found.setdefault(match[1], []).append(f"{path.relative_to(ROOT)}:{line}")
    return found


def is_hint(text: str) -> bool:
    """Whether a text tells its reader what to do."""
    said = len(text) >= 12 and " " in text and not SQL.match(text)
    return said and bool(IMPERATIVE.search(text) or OPTION.search(text))


def advices(tree: ast.AST) -> Iterator[str]:
    """What the tables of causes and of obstacles say is to be done."""
    for node in ast.walk(tree):
        wanted: list[ast.expr | None] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = ADVICE.get(node.func.id)
            wanted = [] if place is None else [node.args[place]]
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == WORDS:
            pairs = node.value.values if isinstance(node.value, ast.Dict) else []
            wanted = [pair.elts[1] for pair in pairs if isinstance(pair, ast.Tuple)]
        for each in wanted:
            if isinstance(each, ast.Constant):
                yield plain(str(each.value))


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text of a module that is said to somebody; what is filled in later is a `HOLE`."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)  # docstrings
        elif isinstance(node, ast.keyword) and node.arg in NOT_SAID:
            skipped.update(ast.walk(node.value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in NOT_SAID_BY:
            skipped.update(ast.walk(node))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(n for n in ast.walk(node) if isinstance(n, ast.Constant))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, plain(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else HOLE for v in node.values)
            yield node.lineno, plain("".join(map(str, parts)))


def quoted(code: str, kind: str) -> Iterator[tuple[int, str]]:
    """The texts of a server module in Lua or Erlang, put together as the module does."""
    text = r'"(?:[^"\\\n]|\\.)*"'
    comment, following = r"%", rf"\s+{text}"
    if kind == ".lua":
        comment, following = "--", rf"\s*\.\.\s*(?:{text}|\w+(?:\.\w+)*)"
    code = re.sub(rf"(?m)^\s*{comment}.*$", "", code)
    for match in re.finditer(rf"{text}(?:{following})*", code):
        parts = re.findall(rf"({text})|(\.\.\s*\w[\w.]*\w)", match[0])
        said = "".join(part[1:-1] if part else HOLE for part, _ in parts)
        said = re.sub(r"%[sdq]|~[spwtb]+", HOLE, said.replace('\\"', '"'))
        yield code.count("\n", 0, match.start()) + 1, plain(said)


def plain(text: str) -> str:
    """One line, with every field that is filled in as a `HOLE`."""
    return " ".join(re.sub(r"\{\w*\}", HOLE, text).split())


@cache
def recorded() -> dict[str, str]:
    """What the mistakes were answered that were followed, and worked; by the mistake's id."""
    results = json.loads(RECORD.read_text())
    works = {id_: found["said"] for id_, found in results.items() if found["works"]}
    return {id_: plain(" ".join(said.values())) for id_, said in works.items()}


def mistakes_with(text: str) -> list[str]:
    """The mistakes whose answer has this hint in it."""
    parts = (re.escape(part) for part in text.split(HOLE))
    pattern = re.compile(".*?".join(parts))
    return [id_ for id_, said in recorded().items() if pattern.search(said)]


def tries(text: str, tried: dict[str, list[str]]) -> list[str]:
    """What tries a hint: ids of mistakes and names of tests."""
    return mistakes_with(text) + tried.get(text, [])


def faults() -> Iterator[str]:
    """What is wrong with the list, and the hints that nothing tries."""
    listed = tomllib.loads(LIST.read_text())
    tried, others = listed["tried"], listed["no_hints"]
    found = hints()
    for text, places in found.items():
        if text not in others and not tries(text, tried):
            yield (
                f"{', '.join(places)}: nothing tries this hint: {text!r}; make the mistake and do"
                " what it says in a test that tests/hints.toml names, or in tests/mistakes"
            )
    for text in (*tried, *others):
        if text not in found:
            yield f"tests/hints.toml: no message says {text!r}; write it as it is now"
    for text, names in tried.items():
        for name in names:
            path, _, function = name.partition("::")
            if function not in functions(path):
                yield f"tests/hints.toml: there is no test {name}"
            elif not any(part in said(path) for part in phrases(text)):
                yield f"tests/hints.toml: {name} says nothing of {text!r}"


@cache
def trees(name: str) -> tuple[ast.Module, ...]:
    """The test files of this name, wherever below tests/ they are today."""
    files = sorted((ROOT / "tests").rglob(name))
    return tuple(ast.parse(file.read_text()) for file in files)


@cache
def functions(name: str) -> frozenset[str]:
    """The tests of the files of this name."""
    nodes = [node for tree in trees(name) for node in ast.walk(tree)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(n.name for n in nodes if isinstance(n, kinds) and n.name.startswith("test_"))


@cache
def said(name: str) -> str:
    """All texts of the files of this name, patterns as what they match."""
    found = (text for tree in trees(name) for _, text in texts(tree))
    return " | ".join(found).replace("\\", "")


def phrases(text: str) -> Iterator[str]:
    """Some words in a row that a test of this hint quotes one of."""
    for part in text.split(HOLE):
        words = part.split()
        for first in range(max(1, len(words) - QUOTED + 1)):
            phrase = " ".join(words[first : first + QUOTED])
            if len(phrase) >= SHORTEST_QUOTE:
                yield phrase


def main() -> int:
    """Print the hints with what tries them; or only what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="print only what is wrong")
    options = parser.parse_args()
    wrong = list(faults())
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    if not options.check:
        listed = tomllib.loads(LIST.read_text())
        for text in hints():
            if text not in listed["no_hints"]:
                print(f"{', '.join(tries(text, listed['tried'])) or 'NOTHING'}: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
