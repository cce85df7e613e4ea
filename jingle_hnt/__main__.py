"""``python -m jingle_hnt`` is ``jingle-hnt``."""

import sys

from jingle_hnt.cli import main

sys.exit(main())
