"""Builds the documentation site: `scripts/site.py [DIR]`, site/ unless told.

The pages are those of the repository, at the same places, so that their links hold; the navigation
is docs/README.md. Fails where a link or an anchor leads nowhere.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "README.md"
PARTS = ("docs", "config")
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+\.md)\)")

Nav = list[dict[str, object]]


def navigation(text: str) -> Nav:
    """A tab for each section of the index of pages, with its links in their order."""
    found: Nav = [{"Home": "README.md"}]
    for section in re.split(r"(?m)^## ", text)[1:]:
        title, _, body = section.partition("\n")
        links = [(name, target) for name, target in LINK.findall(body)]
        pages = [{_capital(name): os.path.normpath(f"docs/{to}")} for name, to in links]
        found.append({title.strip(): pages})
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def gather(into: Path) -> None:
    """The pages, and what they link to, in a directory of their own."""
    for part in PARTS:
        shutil.copytree(ROOT / part, into / part, ignore=shutil.ignore_patterns("secrets"))
    for page in [*ROOT.glob("*.md"), ROOT / "LICENSE"]:
        shutil.copy(page, into)
    for page in into.rglob("*.md"):
        page.write_text(outside(page.read_text(), page, into))


def outside(text: str, page: Path, top: Path) -> str:
    """A page whose links to what the site does not hold (sources, directories) are plain text."""

    def told(link: re.Match[str]) -> str:
        name, target = link[1], link[2].partition("#")[0]
        there = (page.parent / target).resolve() if target else page
        held = there.is_file() and there.is_relative_to(top)
        return link[0] if held or "://" in target else name

    return re.sub(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)", told, text)


def build(into: Path) -> None:
    """Build it; raises CalledProcessError where anything is amiss."""
    settings = (ROOT / "mkdocs.yml").read_text()
    with tempfile.TemporaryDirectory(prefix="jingle-hnt-site-") as name:
        work = Path(name).resolve()
        gather(work / "pages")
        nav = yaml.safe_dump({"nav": navigation(INDEX.read_text())}, allow_unicode=True)
        (work / "mkdocs.yml").write_text(f"{settings}\n{nav}")
        words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
        words += ["--config-file", str(work / "mkdocs.yml"), "--site-dir", str(into)]
        subprocess.run(words, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "site").resolve())
