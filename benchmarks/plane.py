"""A forwarding plane for a benchmark: ``python -m benchmarks.plane native PATH``."""

import asyncio
import sys
from pathlib import Path
from typing import cast

from jingle_hnt.plane.engines import EngineKind, open_engine
from jingle_hnt.plane.server import PlaneServer

if __name__ == "__main__":
    engine = open_engine(cast(EngineKind, sys.argv[1]))
    asyncio.run(PlaneServer(Path(sys.argv[2]), engine).run())
