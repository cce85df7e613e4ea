"""The documentation site: it can be built, and needs nobody else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `scripts/site.py` makes; it fails where a link or an anchor leads nowhere."""
    into = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "scripts" / "site.py"), str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return into


def test_every_page_is_found_from_each(site: Path) -> None:
    first = (site / "index.html").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "README.md":
            assert f'href="docs/{page.stem}.html"' in first, page.name
    for tab in ("Start", "Operate", "Reference", "Design"):
        assert re.search(rf">\s*{tab}\s*<", first), tab


def test_it_is_searchable(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"docs/privacy.html", "docs/configuration.html"} <= found


def test_it_fetches_nothing_from_others_and_fits_a_phone(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(https?:[^\s\">]+)", text)
        fetched += re.findall(
            r"<link[^>]*rel=\"?stylesheet\"?[^>]*href=\"?(https?:[^\s\">]+)", text
        )
        assert fetched == [], page.name
        assert "width=device-width" in text
