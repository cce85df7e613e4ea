"""The version of expat that parses the stream, and its known weaknesses."""

import gzip
from pathlib import Path
from pyexpat import version_info

FIXES = {
    # An unfinished token was read anew with each of its bytes.
    "CVE-2023-52425": (2, 6, 0),
    # Names that share a hash could be chosen beforehand.
    "CVE-2026-7210": (2, 8, 0),
}
"""What strangers could do, and the first release that has the fix."""

CHANGELOG = Path("/usr/share/doc/libexpat1/changelog.Debian.gz")
MAPS = Path("/proc/self/maps")
LONGEST = 1 << 20
"""Bytes that are read of a package's list of changes."""


def concern(version: tuple[int, int, int] = version_info, changes: str | None = None) -> str:
    """Return a warning about this version; empty if there is none.

    `changes` are those of the distribution's package, which carries fixes under old numbers; None
    where Python has an expat of its own. Nothing here keeps us from starting: DTDs, entities and
    processing instructions are refused, a token is given to expat whole, names are forgotten after
    a while and stanzas are bounded, whatever the version (`stream_reader.py`).
    """
    open_ = [cve for cve, fixed in FIXES.items() if version < fixed and cve not in (changes or "")]
    if not open_:
        return ""
    name, which = ".".join(map(str, version)), " and ".join(open_)
    what = "Python, which has its own expat" if changes is None else "libexpat1"
    return f"expat {name} lacks the fix of {which}; our limits bound what it costs: update {what}"


def found() -> tuple[str, str]:
    """The concern of the expat in use, and what is said where there is none."""
    if not is_the_distributions():
        return concern(), "expat is up to date"
    changes = package_changes()
    if changes is None:
        name = ".".join(map(str, version_info))
        return "", f"expat {name} of the distribution, whose list of fixes is not installed"
    return concern(changes=changes), "expat is up to date, or the distribution has mended it"


def is_the_distributions() -> bool:
    """Return whether Python reads XML with a shared library of the distribution's."""
    try:
        return "/libexpat.so" in MAPS.read_text()
    except OSError:
        return False


def package_changes() -> str | None:
    """The list of changes of the distribution's package; None where it is not installed."""
    try:
        with gzip.open(CHANGELOG, "rt", encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST)
    except (OSError, EOFError):
        return None
