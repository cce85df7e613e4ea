"""What `scripts/release` is made of, as far as no package has to be built."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jingle_hnt import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = ROOT / "scripts" / "changelog.py"
DEBIAN = ROOT / "packaging" / "debian"
TEXT = """\
# Changelog

## [Unreleased]

### Added

- A thing.

## [0.1.0] - 2026-12-01

### Added

- The first thing.
"""


def test_there_is_one_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
    files = [*ROOT.glob("config/compose/*/*.yaml"), ROOT / "config/kubernetes/jingle-hnt.yaml"]
    for file in [*files, ROOT / "docs" / "docker.md", ROOT / "docker-bake.json"]:
        named = set(re.findall(r"jingle-hnt:(\d[\w.]*)", file.read_text()))
        assert named == {__version__}, file


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The script, beside a changelog of its own."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / CHANGELOG.name).write_text(CHANGELOG.read_text())
    (tmp_path / "CHANGELOG.md").write_text(TEXT)
    return tmp_path


def changelog(copy: Path, *words: str) -> tuple[int, str]:
    command = [sys.executable, str(copy / "scripts" / CHANGELOG.name), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_notes_are_the_section_of_the_version(copy: Path) -> None:
    assert changelog(copy, "0.1.0") == (0, "### Added\n\n- The first thing.\n")
    assert changelog(copy, "0.2.0") == (0, "### Added\n\n- A thing.\n")


def test_a_section_is_closed_once(copy: Path) -> None:
    assert changelog(copy, "--close", "0.2.0", "2026-12-24") == (0, "")
    text = (copy / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n### Added\n\n- A thing." in text
    assert changelog(copy, "--close", "0.2.0", "2026-12-24")[0] == 1
    assert changelog(copy, "0.3.0")[0] == 1  # nothing is unreleased


def test_an_entry_is_short(copy: Path) -> None:
    assert changelog(copy, "--check") == (0, "")
    entry = " ".join(["word"] * 26)
    (copy / "CHANGELOG.md").write_text(f"{TEXT}- {entry}\n")
    status, said = changelog(copy, "--check")
    assert status == 1
    assert "26 words are more than 25" in said


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_a_script_of_the_package_is_one_that_any_shell_reads(name: str) -> None:
    text = (DEBIAN / name).read_text()
    assert text.startswith("#!/bin/sh\nset -e\n")
    subprocess.run(["sh", "-n", str(DEBIAN / name)], check=True)


def test_only_a_purge_removes_what_is_the_operators() -> None:
    before, _, purge = (DEBIAN / "postrm").read_text().partition("purge)")
    for path in ("/etc/jingle-hnt/secret", "jingle-hnt.toml", "/var/lib/private/jingle-hnt"):
        assert path in purge
        for text in (before, *((DEBIAN / name).read_text() for name in ("postinst", "prerm"))):
            assert not re.search(rf"\brm\b[^\n]*{re.escape(path)}", text)
