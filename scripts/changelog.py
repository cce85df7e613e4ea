"""Prints a version's section of CHANGELOG.md: `changelog.py VERSION`.

    changelog.py --close VERSION DATE

makes a section of that version and day out of what is under "Unreleased".

    changelog.py --check

fails if an entry has more than 25 words.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
OPEN = "## [Unreleased]"
MOST_WORDS = 25


def section(text: str, version: str) -> str:
    """What changed in a version; what is unreleased where it has no section yet.

    Raises LookupError where there is neither.
    """
    for name in (version, "Unreleased"):
        found = re.search(rf"(?ms)^## \[{re.escape(name)}\].*?$\n(.*?)(?=^## |\Z)", text)
        if found and found[1].strip():
            return found[1].strip() + "\n"
    raise LookupError(f"CHANGELOG.md has no section [{version}]; close one with --close")


def closed(text: str, version: str, day: str) -> str:
    """The changelog with a section of that version; nothing is unreleased in it."""
    if f"## [{version}]" in text:
        raise ValueError(f"CHANGELOG.md has a section [{version}] already")
    return text.replace(OPEN, f"{OPEN}\n\n## [{version}] - {day}", 1)


def faults(text: str) -> Iterator[str]:
    """The entries that are too long, each with its number of words."""
    for entry in re.findall(r"(?ms)^- (.*?)(?=^- |^#|^$|\Z)", text):
        if (words := len(entry.split())) > MOST_WORDS:
            yield f"CHANGELOG.md: {words} words are more than {MOST_WORDS}: {entry.strip()}"


def main() -> int:
    """Print a section, or close one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("version", nargs="?")
    parser.add_argument("date", nargs="?", help="such as 2026-12-24")
    options = parser.parse_args()
    text = CHANGELOG.read_text()
    if options.check:
        found = list(faults(text))
        print("\n".join(found), file=sys.stderr, end="\n" if found else "")
        return int(bool(found))
    if not options.version:
        parser.error("name the version, such as 0.1.0")
    try:
        if options.close:
            if not options.date:
                parser.error("--close needs the day of the release, such as 2026-12-24")
            CHANGELOG.write_text(closed(text, options.version, options.date))
        else:
            print(section(text, options.version), end="")
    except (LookupError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
