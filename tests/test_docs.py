"""The documentation against the program: what it types exists, what it names is there."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from jingle_hnt.admin.causes import CALL_CAUSES, LEG_CAUSES
from jingle_hnt.admin.metrics import Metrics
from jingle_hnt.call.life import Why
from jingle_hnt.cli import parser
from jingle_hnt.jingle.refusals import Kind
from tests.admin.test_metrics import scrape

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("config/*/README.md")])
TYPED = re.compile(
    r"`(?:\$ )?jingle-hnt ([^`\n]+)`|^(?:\$ |    (?:\$ )?)jingle-hnt ([^#\n]+)", re.M
)
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def typed() -> list[tuple[str, str]]:
    """Every command line of ours that a page shows, with the page's name."""
    found = []
    for page in PAGES:
        for one, other in TYPED.findall(page.read_text()):
            found.append((page.name, (one or other).replace("[", "").replace("]", "").strip()))
    return found


def is_understood(words: list[str]) -> bool:
    try:
        parser().parse_args(words)
    except SystemExit as end:
        return end.code == 0
    except argparse.ArgumentError:
        return False
    return True


@pytest.mark.parametrize(("page", "line"), typed())
def test_every_command_that_is_shown_exists(page: str, line: str) -> None:
    words = shlex.split(line)
    # Prose may name a command without what it is about: `jingle-hnt explain`.
    assert is_understood(words) or is_understood([*words, "X"]), f"{page}: jingle-hnt {line}"


def test_commands_are_found() -> None:
    assert len(typed()) > 40
    assert not is_understood(["explain"])
    assert not is_understood(["status", "--colour"])


@pytest.mark.parametrize("cause", [*CALL_CAUSES, *LEG_CAUSES], ids=lambda cause: cause.code)
def test_every_cause_is_in_the_table(cause: object) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert f"\n| `{cause.code}` |" in page  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_obstacle_is_in_the_table(kind: Kind) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    assert f"\n| `{kind.value}` |" in page


def test_no_end_of_a_call_is_named_that_is_none() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r"`((?:no|setup|hold|call)-[a-z]+)`|`(silence|refused)`", page))
    ends = {why.value for why in Why} | {c.code for c in (*CALL_CAUSES, *LEG_CAUSES)}
    assert {one or other for one, other in named} <= ends


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()]
    assert broken == []


def test_every_metric_is_in_the_table_with_its_labels_and_no_other() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    table = page.partition("| metric (")[2].partition("\n\n")[0].splitlines()[2:]
    told: dict[str, set[str]] = {}
    for names, labels, _ in (line.strip("|").split("|") for line in table):
        for name in re.findall(r"`(\w+)`", names):
            told[f"jingle_hnt_{name}"] = set(re.findall(r"`(\w+)`", labels))
    found: dict[str, set[str]] = {}
    for family in Metrics(scrape()).collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = {label for s in family.samples for label in s.labels} - {"le"}
    assert told == found


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md")}
    assert pages - set(LINK.findall(index)) == {"README.md"}


def test_what_the_recipes_name_is_there() -> None:
    words = re.findall(
        r"`((?:jingle_hnt|tests|scripts|config|docs)/[^` ]*)", CONTRIBUTING.read_text()
    )
    assert len(words) > 20
    assert [word for word in words if not (ROOT / word).exists()] == []
