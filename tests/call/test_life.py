"""When a call ends by itself: each deadline against the others."""

import pytest

from jingle_hnt.call.life import GONE_S, Life, Why
from jingle_hnt.call.policy import Times

TIMES = Times(setup_s=120, first_media_s=30, silence_s=60, hold_s=3600, call_s=86400)


def talked(quiet_since: float | None = 1000.0) -> Life:
    """A call of the time 100, accepted at 150, whose media was heard."""
    return Life(100.0, accepted_at=150.0, quiet_since=quiet_since, heard=True)


def test_the_first_media_is_waited_for_from_the_accept_on() -> None:
    life = Life(100.0, accepted_at=150.0, quiet_since=100.0)
    assert life.deadline(TIMES, held=False, gone=False) == (180.0, Why.NO_MEDIA)


def test_silence_begins_when_the_last_one_falls_silent_and_nothing_prolongs_it() -> None:
    life = talked(quiet_since=None)
    life.note(lively=False, now=1000.0)
    life.note(lively=False, now=1040.0)
    assert life.deadline(TIMES, held=False, gone=False) == (1060.0, Why.SILENCE)
    life.note(lively=True, now=1050.0)
    assert life.deadline(TIMES, held=False, gone=False) == (86500.0, Why.CALL_TIMEOUT)


@pytest.mark.rule("J10")
def test_who_has_left_the_server_is_not_waited_for_on_hold_either() -> None:
    assert talked().deadline(TIMES, held=True, gone=False) == (4600.0, Why.HOLD_TIMEOUT)
    assert talked().deadline(TIMES, held=True, gone=True) == (1000.0 + GONE_S, Why.SILENCE)


def test_who_has_left_is_not_given_longer_than_who_has_not() -> None:
    impatient = Times(silence_s=5.0)
    assert talked().deadline(impatient, held=False, gone=True) == (1005.0, Why.SILENCE)


@pytest.mark.parametrize(
    ("life", "held"),
    [
        (Life(100.0), False),
        (Life(100.0, accepted_at=150.0, quiet_since=150.0), False),
        (talked(), False),
        (talked(), True),
    ],
)
def test_no_call_outlives_the_longest(life: Life, held: bool) -> None:
    assert life.deadline(Times(call_s=10.0), held, gone=False) == (110.0, Why.CALL_TIMEOUT)
