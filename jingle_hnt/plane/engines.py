"""Which engine moves the media: the native one where it was built, else the reference."""

from typing import Literal

import structlog

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.reference import ReferenceEngine
from jingle_hnt.relay.policing import NO_LIMITS, Limits

log = structlog.get_logger(__name__)

EngineKind = Literal["auto", "native", "reference"]


def open_engine(kind: EngineKind, workers: int = 1, limits: Limits = NO_LIMITS) -> Engine:
    """An engine of this kind; `auto` takes the native one if it can be had, and says if not.

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
    return NativeEngine(workers, limits)
