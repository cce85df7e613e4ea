"""Writes the C header of the records that Python and the native engine hand each other.

    python -m scripts.records [--check]

See `jingle_hnt/plane/records.py`. After a change of it `scripts/setup` builds the engine anew.
"""

import sys
from pathlib import Path

from jingle_hnt.plane import records
from scripts.generated import run

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "jingle_hnt" / "plane" / "native" / "rules" / "records.h"


def main() -> int:
    """Write the header, or with --check tell whether it is out of date."""
    command = "python -m scripts.records && scripts/setup"
    return run(__doc__, command, lambda: {HEADER: records.header()})


if __name__ == "__main__":
    sys.exit(main())
