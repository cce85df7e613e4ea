"""Nothing is ended because we were not there to hear of it (row F10)."""

import pytest

from jingle_hnt.call.calls import LATE_S, PATIENCE_S
from jingle_hnt.call.life import Why
from jingle_hnt.model.jingle import Action
from tests.jingle.stage import ALICE, BOB, Stage, content


def wake(stage: Stage, after_s: float) -> None:
    """The process stood still for so long; its timers come before what waits in its sockets."""
    stage.now += after_s
    stage.registry.calls.expire(stage.now)
    stage.settle()


@pytest.mark.parametrize("away_s", [60.0, 3600.0, 10 * 365 * 86400.0])
def test_who_was_heard_meanwhile_goes_on(away_s: float) -> None:
    stage = Stage()
    stage.call()
    wake(stage, away_s)
    assert not stage.ended
    stage.latch("s1.1.1", 0, "198.51.100.1")
    stage.passes(PATIENCE_S + 1.0)
    if away_s < 86400:
        assert not stage.ended
    else:
        assert [ended.why for ended in stage.ended] == [Why.CALL_TIMEOUT]


def test_an_answer_that_waits_in_the_socket_is_in_time() -> None:
    stage = Stage()
    stage.says(ALICE, Action.SESSION_INITIATE, content())
    wake(stage, 150.0)
    assert not stage.ended
    stage.passes(PATIENCE_S + 0.1)
    assert not stage.ended, "a phone rings for as long as its user likes"
    stage.says(BOB, Action.SESSION_ACCEPT, stage.bobs())
    assert not stage.ended


def test_a_timer_that_is_a_little_late_is_carried_out() -> None:
    stage = Stage()
    stage.call()
    wake(stage, 30.0 + LATE_S / 2)
    assert [ended.why for ended in stage.ended] == [Why.NO_MEDIA]
