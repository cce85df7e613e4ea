"""A forwarding plane for a benchmark: ``python -m benchmarks.plane native PATH [WORKERS]``."""

import asyncio
import sys
from pathlib import Path
from typing import cast

from jingle_hnt.plane.engines import EngineKind, open_engine
from jingle_hnt.plane.server import PlaneServer

if __name__ == "__main__":
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    engine = open_engine(cast(EngineKind, sys.argv[1]), workers)
    asyncio.run(PlaneServer(Path(sys.argv[2]), engine).run())
