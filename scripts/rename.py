"""Renames by a map of words: `python scripts/rename.py ROOM ...`, or without a room all of them.

The map is scripts/renames.toml. Each room has `files` (patterns), `moves` (paths), `names`
(identifiers, replaced in code and between backticks), `code` (regular expressions, replaced in all
of the text) and `prose` (those that are replaced in comments and docstrings alone). It may be run
again after a rebase: what is renamed already stays.
"""

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORD = re.compile(r"[A-Za-z_]\w*")
C_PARTS = re.compile(r'(?s)/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])+\'')


def main() -> int:
    """Rename in the rooms that the command line names."""
    rooms = tomllib.loads((ROOT / "scripts" / "renames.toml").read_text())
    for name in sys.argv[1:] or rooms:
        room = rooms[name]
        is_new = any((ROOT / old).exists() for old in room.get("moves", {}))
        for old, new in room.get("moves", {}).items():
            if (ROOT / old).exists():
                subprocess.run(["git", "mv", old, new], cwd=ROOT, check=True)
        names, prose = room.get("names", {}), room.get("prose", {})
        paths = {Path(o).name: Path(n).name for o, n in room.get("moves", {}).items()}
        modules = {_module(o): _module(n) for o, n in room.get("moves", {}).items()}
        for file in _files(room["files"]):
            if is_new and file.name in room.get("first", {}):
                _rewrite(file, room["first"][file.name], {}, {}, {})
            own = names | room.get("only", {}).get(file.name, {})
            _rewrite(file, own, prose, paths, modules)
            _patterns(file, room.get("code", {}))
            _quoted(file, {word: names[word] for word in room.get("strings", ())})
        _follow(room.get("moves", {}))
    return 0


def _follow(moves: Mapping[str, str]) -> None:
    """Name moved files by their new path in pages, lists and scripts, however short it is there."""
    for file in _files(["*.md", "*.toml", "*.c", "*.h", "*.py", "scripts/*", "*.svg", ".ci/*"]):
        if file.name in ("renames.toml", "results.json"):
            continue
        old = text = file.read_text(errors="surrogateescape")
        for before, after in moves.items():
            pairs = {before: after}
            pairs[before.partition("/")[2]] = after.partition("/")[2]
            pairs[before.split("/", 2)[-1]] = after.split("/", 2)[-1]
            if before.startswith("tests/"):
                pairs[Path(before).name] = Path(after).name
            if file.suffix == ".md" and before.endswith((".py", ".c")):
                text = text.replace(f"`{Path(before).name}`", f"`{Path(after).name}`")
            for one, other in pairs.items():
                if "/" in one or one.startswith("test_"):
                    text = re.sub(rf"(?<![\w/]){re.escape(one)}\b", other, text)
        if text != old:
            file.write_text(text, errors="surrogateescape")


def _patterns(file: Path, patterns: Mapping[str, str]) -> None:
    """Replace patterns in all of a file of Python."""
    if not patterns or file.suffix not in (".py", ".pyi"):
        return
    old = text = file.read_text()
    for pattern, new in patterns.items():
        text = re.sub(pattern, new, text)
    if text != old:
        file.write_text(text)


def _quoted(file: Path, names: Mapping[str, str]) -> None:
    """Rename in strings, where a name is part of an interface: between the languages, or JSON."""
    if not names or file.suffix not in (".py", ".pyi", ".c", ".h"):
        return
    old = file.read_text()
    text = re.sub(r'"[^"\n]*"', lambda found: _names(found[0], names), old)
    if text != old:
        file.write_text(text)


def _files(patterns: list[str]) -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    return [
        ROOT / f for f in listed if any(fnmatch(f, p) for p in patterns) and (ROOT / f).is_file()
    ]


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".") if path.endswith(".py") else path


def _rewrite(
    file: Path,
    names: Mapping[str, str],
    prose: Mapping[str, str],
    paths: Mapping[str, str],
    modules: Mapping[str, str],
) -> None:
    try:
        old = text = file.read_text()
    except UnicodeDecodeError:
        return
    for before, after in [*modules.items(), *paths.items()]:
        text = re.sub(rf"(?<![\w.]){re.escape(before)}\b", after, text)
        if "." in before and "/" not in before and before.count(".") > 1:
            room, _, leaf = before.rpartition(".")
            new_room, _, new_leaf = after.rpartition(".")
            text = re.sub(
                rf"from {re.escape(room)} import (.*\b){leaf}\b",
                rf"from {new_room} import \g<1>{new_leaf}",
                text,
            )
    if file.suffix in (".py", ".pyi"):
        text = _python(text, names, prose)
    elif file.suffix in (".c", ".h"):
        text = _c(text, names, prose)
    if text != old:
        file.write_text(text)


def _names(text: str, names: Mapping[str, str]) -> str:
    return WORD.sub(lambda found: names.get(found[0], found[0]), text)


def _prose(text: str, names: Mapping[str, str], prose: Mapping[str, str]) -> str:
    text = re.sub(r"`[^`\n]*`", lambda found: _names(found[0], names), text)
    for pattern, new in prose.items():
        text = re.sub(pattern, new, text)
    return text


def _c(text: str, names: Mapping[str, str], prose: Mapping[str, str]) -> str:
    parts, at = [], 0
    for found in C_PARTS.finditer(text):
        parts.append(_names(text[at : found.start()], names))
        comment = found[0].startswith("/")
        parts.append(_prose(found[0], names, prose) if comment else found[0])
        at = found.end()
    return "".join([*parts, _names(text[at:], names)])


def _python(text: str, names: Mapping[str, str], prose: Mapping[str, str]) -> str:
    lines = text.splitlines(keepends=True)
    edits = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        new = token.string
        if token.type == tokenize.NAME:
            new = names.get(new, new)
        elif token.type == tokenize.COMMENT or (
            token.type == tokenize.STRING and new.lstrip("rbRB").startswith('"""')
        ):
            new = _prose(new, names, prose)
        elif token.type == tokenize.STRING and new[:1] in "fF":
            new = re.sub(r"\{[^{}]*\}", lambda found: _names(found[0], names), new)
        if new != token.string:
            edits.append((token.start, token.end, new))
    for (row, column), (end_row, end), new in reversed(edits):
        first, last = lines[row - 1], lines[end_row - 1]
        lines[row - 1 : end_row] = [first[:column] + new + last[end:]]
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
