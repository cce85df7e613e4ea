"""Which engine moves the media: the native one where it was built, else the reference."""

import os
from typing import Literal

import structlog

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.plane.api import LocalEngine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.policing import NO_LIMITS, MediaLimits

log = structlog.get_logger(__name__)

EngineKind = Literal["auto", "native", "reference"]

MOST_WORKERS = 64


def usual_workers() -> int:
    """Threads for media where none are told: half of the cores that this process may use.

    The other half is for the kernel, which hands packets over, and for signalling. A worker more
    than the load needs costs: the same packets then wake two threads.
    """
    return min(MOST_WORKERS, max(1, len(os.sched_getaffinity(0)) // 2))


def open_engine(kind: EngineKind, workers: int = 0, limits: MediaLimits = NO_LIMITS) -> LocalEngine:
    """An engine of this kind; `auto` takes the native one if it can be had, and says if not.

    `workers` (0 to 64) are the native engine's threads, 0 for `usual_workers`.

    Raises ConfigurationError where the native engine is demanded and was not built.
    """
    if kind == "reference":
        return ReferenceEngine(limits)
    try:
        from jingle_hnt.plane.native import NativeEngine
    except ImportError as error:
        if kind == "native":
            raise ConfigurationError(
                "relay.engine is 'native', but the native engine was not built; install a C"
                " compiler and jingle-hnt again, or write engine = 'auto'"
            ) from error
        log.warning("the native engine was not built; the pure Python one moves the media")
        return ReferenceEngine(limits)
    return NativeEngine(workers or usual_workers(), limits)
