"""Ended calls leave nothing behind in the core (row F16); `endless` makes many more of them."""

from tests.jingle.endless import calls
from tests.jingle.stage import Stage


def test_what_is_kept_does_not_grow_with_the_calls() -> None:
    stage = Stage(ports=(2000, 3999))
    calls(stage, 0, 2000)
    before = kept(stage)
    calls(stage, 2000, 4000)
    assert kept(stage) <= before + 10
    assert len(stage.registry) == 0


def kept(stage: Stage) -> int:
    """How many things the core and its parts hold."""
    core = stage.registry
    parts = [*vars(core).values(), core.limits.users, core.limits.domains, core.limits.half_open]
    return sum(len(part) for part in parts if hasattr(part, "__len__"))
