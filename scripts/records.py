"""Writes the C header of the records that Python and the native engine hand each other.

    scripts/records.py [--check]

See `jingle_hnt/plane/records.py`. After a change of it `scripts/setup` builds the engine anew.
"""

import sys
from pathlib import Path

from jingle_hnt.plane import records

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "jingle_hnt" / "plane" / "native" / "rules" / "records.h"


def main() -> int:
    text = records.header()
    if HEADER.exists() and HEADER.read_text() == text:
        return 0
    if "--check" in sys.argv:
        print(f"{HEADER.relative_to(ROOT)} is not current; run scripts/records.py, scripts/setup")
        return 1
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
