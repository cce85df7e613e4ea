"""Fails where a page names what does not exist: an option, a command, a file, a metric, a word.

    scripts/names.py

It looks at what stands between backticks, and at lines of code that begin with ``jingle-hnt``. A
word with hyphens (a state, a cause, a reason of a drop, a budget) has to be a string of the code,
and a value of an option one that the option takes.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel

from jingle_hnt.jingle.budgets import BUDGETS, FIXED
from jingle_hnt.model.commands import COMMANDS
from jingle_hnt.relay.binding import Counters
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.reload import ADVERTISE

ROOT = Path(__file__).parent.parent
PAGES: tuple[str, ...] = (
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/design/*.md",
)
PAGES += ("config/*/README.md", "config/jingle-hnt.toml")
HISTORY = {"docs/upgrading.md"}
"""Pages that name what was: only their commands are looked at."""

KINDS = ("py", "c", "h", "toml", "lua", "erl", "nft", "yml", "yaml", "json", "service", "md", "sh")
SPAN = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"^(?:\[?)([a-z_]+)\.([a-z][a-z0-9_]*)(?: = (.+))?$")
ASKED = re.compile(r"(?:`|^ {4}|^\$ )(?:\$ )?jingle-hnt ([a-z]+)\b", re.MULTILINE)
METRIC = re.compile(r"\bjingle_hnt_([a-z_]+)")
LABEL = re.compile(r'\b(reason|budget)="([a-z-]+)"')
WORD = re.compile(r"[a-z]+(?:-[a-z]+)+")
FOREIGN = {
    *("no-new-privileges", "jingle-hnt", "jingle-hnt-state"),  # of the kernel, and of containers
    *("recipient-unavailable", "remote-server-timeout", "service-unavailable"),  # of XMPP
    *("from-ip", "from-via", "telephone-event"),  # the modules make the first two of two parts
    *("replace-origin", "rtcp-mux-demux", "address-family"),  # of rtpengine, read without their
    *("loop-protect", "port-latching", "strict-source"),  # hyphens, or not heeded
}
"""Words with hyphens of which the code has no string."""


def main() -> int:
    found = [fault for page in pages() for fault in faults(page, (ROOT / page).read_text())]
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return int(bool(found))


def pages() -> list[str]:
    """Every page that is looked at, below the root."""
    return sorted(str(p.relative_to(ROOT)) for pattern in PAGES for p in ROOT.glob(pattern))


def faults(page: str, text: str) -> Iterator[str]:
    """What a page names and is not there."""
    for name in ASKED.findall(text):
        if name not in _commands():
            yield f"{page}: there is no command {name}"
    if page in HISTORY:
        return
    for name in METRIC.findall(text):
        if not _is_metric(name) and f"jingle_hnt_{name}" not in _code():
            yield f"{page}: there is no metric, and no option of a module, jingle_hnt_{name}"
    for span in SPAN.findall(re.sub(r"(?ms)^```.*?^```", "", text)):
        yield from (f"{page}: {fault}" for fault in _faults(page, span))


def _faults(page: str, span: str) -> Iterator[str]:
    for label, value in LABEL.findall(span) if "{" in span else ():
        if value not in _labels()[label]:
            yield f"no {label} is {value!r}"
    option = OPTION.match(span)
    if option and option[1] in Settings.model_fields and option[2] not in KINDS:
        yield from _option(option[1], option[2], option[3])
    elif _is_path(span):
        if not _exists(page, span):
            yield f"there is no file {span}"
    elif WORD.fullmatch(span) and span not in FOREIGN | _strings():
        yield f"no string of the code is {span!r}: write what is shown, or list it in FOREIGN"


# Options and commands


def _option(section: str, name: str, value: str | None) -> Iterator[str]:
    table = Settings.model_fields[section].annotation
    assert isinstance(table, type)
    assert issubclass(table, BaseModel)
    field = table.model_fields.get(name)
    if field is None and f"{section}.{name}" != ADVERTISE:
        yield f"there is no option {section}.{name}"
    elif field is not None and value is not None and get_origin(field.annotation) is Literal:
        known = get_args(field.annotation)
        yield from () if value.strip('"') in known else (f"{section}.{name} is never {value}",)


@cache
def _commands() -> frozenset[str]:
    return frozenset(command.name.split()[0] for command in COMMANDS if command.help)


# Files


def _is_path(span: str) -> bool:
    if not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*/?", span) or span.startswith("."):
        return False
    return "/" in span or span.rpartition(".")[2] in ("py", "c", "h")


def _exists(page: str, span: str) -> bool:
    """Below the root, the package, the tests, the page; a bare name anywhere in the repository."""
    places = (ROOT, ROOT / "jingle_hnt", ROOT / "tests", (ROOT / page).parent)
    if any((place / span).exists() for place in places):
        return True
    if span.rpartition(".")[2] not in KINDS and "/" in span and not span.endswith("/"):
        return span.partition("/")[0] not in _top()  # a path of another host, or none at all
    return any(file.endswith(f"/{span.rstrip('/')}") for file in _files())


@cache
def _files() -> frozenset[str]:
    listed = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    files = [f"/{file}" for file in listed.splitlines()]
    return frozenset([*files, *(str(p) for file in files for p in Path(file).parents)])


@cache
def _top() -> frozenset[str]:
    return frozenset(path.name for path in (*ROOT.iterdir(), *(ROOT / "jingle_hnt").iterdir()))


# Words and metrics


@cache
def _code() -> str:
    kinds = ("*.py", "*.c", "*.lua", "*.erl", "*.toml")
    files = [p for kind in kinds for top in ("jingle_hnt", "config") for p in _walk(top, kind)]
    files += [ROOT / "tests" / "threats" / "matrix.toml"]
    return "\n".join(path.read_text() for path in files)


def _walk(top: str, kind: str) -> list[Path]:
    return [p for p in (ROOT / top).rglob(kind) if p.is_file() and p.name != "jingle-hnt.toml"]


@cache
def _strings() -> frozenset[str]:
    """Every word with hyphens between quotes, and every command's option."""
    return frozenset(re.findall(r"[\"'<]([a-z]+(?:-[a-z]+)+)[\"'>]", _code()))


@cache
def _labels() -> dict[str, frozenset[str]]:
    """The values of the labels of metrics that pages name."""
    drops = (f.name.removeprefix("dropped_") for f in fields(Counters) if "dropped_" in f.name)
    budgets = (budget.name for budget in (*BUDGETS, *FIXED))
    return {"reason": frozenset(drops), "budget": frozenset(budgets)}


def _is_metric(name: str) -> bool:
    stem = re.sub(r"_(total|bucket|sum|count|created)$", "", name)
    source = (ROOT / "jingle_hnt" / "admin" / "metrics.py").read_text()
    return any(f'{quote}{each}"' in source for quote in ('"', "_") for each in (name, stem))


if __name__ == "__main__":
    sys.exit(main())
