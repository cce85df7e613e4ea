"""Both engines."""

import contextlib
from collections.abc import Iterator

import pytest

from jingle_hnt.plane.api import Engine
from jingle_hnt.plane.native import NativeEngine
from jingle_hnt.plane.reference import ReferenceEngine


@pytest.fixture(params=[NativeEngine, ReferenceEngine], ids=["native", "reference"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine = request.param()
    with contextlib.closing(made):
        yield made
