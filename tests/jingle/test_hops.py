"""How far an offer has to go: the functions and files from `Registry.receive` to its `Bind`."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

from jingle_hnt.call.effects import Bind
from jingle_hnt.jingle.effects import Request
from jingle_hnt.model.jingle import Action, Jingle
from tests.jingle.stage import ALICE, BOB, Stage, content

FUNCTIONS, FILES = 103, 32
"""Most that the way may be long, constructors included. It is to become 60 in 15; see it shrink."""

PACKAGE = "/jingle_hnt/"


def hops() -> list[tuple[str, str]]:
    """File and name of every function that runs until an offer's bindings are asked for."""
    stage = Stage()
    jingle = Jingle(Action.SESSION_INITIATE, "a", contents=(content(),))
    request = Request(1, ALICE, BOB, jingle)
    seen: dict[tuple[str, str], None] = {}
    out = stage.registry.calls.out

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        is_asked = any(isinstance(effect, Bind) for effect in out)
        is_named = "<" not in code.co_qualname  # no lambda, no comprehension
        if event == "call" and PACKAGE in code.co_filename and is_named and not is_asked:
            seen.setdefault((code.co_filename.split(PACKAGE)[1], code.co_qualname))

    sys.setprofile(profile)
    try:
        stage.registry.receive(request, 100.0)
    finally:
        sys.setprofile(None)
    assert any(isinstance(effect, Bind) for effect in out)
    return list(seen)


def test_an_offer_takes_a_short_way_to_its_bindings() -> None:
    found = hops()
    assert len(found) <= FUNCTIONS
    assert len({Path(file) for file, _ in found}) <= FILES
