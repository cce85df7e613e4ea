"""Prints a version's section of CHANGELOG.md: `changelog.py VERSION`.

    changelog.py --close VERSION DATE

makes a section of that version and day out of what is under "Unreleased".
"""

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
OPEN = "## [Unreleased]"


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


def main() -> int:
    """Print a section, or close one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("version")
    parser.add_argument("date", nargs="?", help="such as 2026-12-24")
    options = parser.parse_args()
    text = CHANGELOG.read_text()
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
