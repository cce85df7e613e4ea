"""What is said of the version of expat that reads strangers' stanzas."""

import pytest

from jingle_hnt.xmpp.expat import concern


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ((2, 5, 0), ["2.5.0", "CVE-2023-52425", "CVE-2026-7210", "update libexpat"]),
        ((2, 6, 0), ["2.6.0", "CVE-2026-7210", "update libexpat"]),
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
