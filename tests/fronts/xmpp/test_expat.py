"""What is said of the version of expat that reads strangers' stanzas."""

import gzip
from pathlib import Path

import pytest

from jingle_hnt.fronts.xmpp import expat
from jingle_hnt.fronts.xmpp.expat import concern


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ((2, 5, 0), ["2.5.0", "CVE-2023-52425", "CVE-2026-7210", "update Python"]),
        ((2, 6, 0), ["2.6.0", "CVE-2026-7210", "update Python"]),
        ((2, 7, 9), ["2.7.9", "CVE-2026-7210"]),
    ],
)
def test_an_old_version_is_named_with_what_is_known_of_it(
    version: tuple[int, int, int], named: list[str]
) -> None:
    assert all(word in concern(version) for word in named)


def test_what_is_mended_is_not_named() -> None:
    assert "CVE-2023-52425" not in concern((2, 6, 0))
    assert concern((2, 8, 0)) == concern((3, 0, 0)) == ""
    changes = "expat (2.5.0-1+deb12u9)\n  * CVE-2023-52425\n  * CVE-2026-7210: salt\n"
    assert concern((2, 5, 0), changes) == ""
    assert "CVE-2026-7210; " in concern((2, 5, 0), changes.replace("7210", "1"))
    assert "update libexpat1" in concern((2, 5, 0), "")


def test_it_is_read_which_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changelog, maps = tmp_path / "changelog.gz", tmp_path / "maps"
    monkeypatch.setattr(expat, "CHANGELOG", changelog)
    monkeypatch.setattr(expat, "MAPS", maps)
    maps.write_text("7f r-xp /usr/lib/x86_64-linux-gnu/libexpat.so.1.8.10\n")
    assert expat.found()[0] == ""
    assert "not installed" in expat.found()[1]
    changelog.write_bytes(gzip.compress(b"  * CVE-2023-52425, CVE-2026-7210\n"))
    assert expat.found()[0] == ""
    changelog.write_bytes(b"no gzip")
    assert expat.found()[0] == ""
    changelog.write_bytes(gzip.compress(b"  * another\n"))
    assert expat.found()[0] == concern(changes="")
    maps.unlink()
    assert expat.found()[0] == concern()
