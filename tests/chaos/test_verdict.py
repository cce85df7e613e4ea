"""What the verdict of `scripts/chaos` calls a gap, and what excuses one."""

import pytest

from tests.chaos.verdict import Act, Reach, Track, Window, excuses, gaps, is_excused

EVERY_S = 0.1
NEVER = ((), ())


def track(*lost: tuple[float, float], until: float = 20.0, seat: int = 0) -> Track:
    """RTP ten times a second, of which nothing is heard in these spans."""
    made = Track(seat, "voice", 0)
    for number in range(int(until / EVERY_S)):
        at = round(number * EVERY_S, 3)
        made.sent.append((at, True))
        if not any(begin <= at < end for begin, end in lost):
            made.heard.add(number)
    return made


def test_a_gap_is_what_is_lost_in_a_row_and_had_to_be_heard() -> None:
    made = track((2.0, 2.3), (5.0, 7.0), (19.0, 20.0))
    assert [(g.begin, g.end) for g in gaps(made)] == [(5.0, 6.9), (19.0, 19.9)]
    assert made.lost == 3 + 20 + 10
    made.sent = [(at, expected and at >= 6.0) for at, expected in made.sent]
    assert [(g.begin, g.end) for g in gaps(made)] == [(6.0, 6.9), (19.0, 19.9)]


def test_a_pause_in_what_is_sent_is_no_gap() -> None:
    made = track((5.0, 5.2), (15.0, 15.2))
    kept = [n for n, (at, _) in enumerate(made.sent) if not 5.2 <= at < 15.0]
    made.heard = {kept.index(n) for n in kept if n in made.heard}
    made.sent = [made.sent[n] for n in kept]
    assert list(gaps(made)) == []


@pytest.mark.parametrize(
    ("reach", "acts", "excused"),
    [
        (Reach.MEDIA, (), True),
        (Reach.SIGNALLING, (), False),
        (Reach.SIGNALLING, (Act("transport-info", 4.9, 5.0),), True),
        (Reach.SIGNALLING, (Act("transport-info", 2.9, 3.0),), False),
        (Reach.NOTHING, (Act("transport-info", 4.9, 5.0),), False),
    ],
)
def test_a_fault_excuses_whom_it_reaches(
    reach: Reach, acts: tuple[Act, ...], excused: bool
) -> None:
    (gap,) = gaps(track((5.0, 7.0)))
    windows = [Window("fault", reach, 4.0, 6.7)]
    assert is_excused(gap, excuses(gap, track(seat=1), acts, windows, NEVER)) is excused


def test_what_lasts_longer_than_its_fault_is_not_excused() -> None:
    (gap,) = gaps(track((5.0, 9.0)))
    windows = [Window("kill-plane", Reach.MEDIA, 5.0, 6.0)]
    assert not is_excused(gap, excuses(gap, track(seat=1), (), windows, NEVER))
    acts = (Act("transport-info", 5.0, 5.1),)
    assert is_excused(gap, excuses(gap, track(seat=1), acts, windows, NEVER))


def test_a_party_that_its_nat_has_forgotten_is_followed_once_it_speaks() -> None:
    (gap,) = gaps(track((5.0, 8.0)))
    silent = track(seat=1)
    silent.sent = [(at, e) for at, e in silent.sent if not 5.0 <= at < 6.5]
    assert not is_excused(gap, excuses(gap, track(seat=1), (), (), ((5.0,), ())))
    assert not is_excused(gap, excuses(gap, track(seat=1), (), (), ((), (5.0,))))
    assert is_excused(gap, excuses(gap, silent, (), (), ((), (5.0,))))
    silent = track(seat=1)  # it has spoken, but too little to be believed beside the port before
    silent.sent = [(at, e) for at, e in silent.sent if not 5.8 <= at < 7.0]
    assert is_excused(gap, excuses(gap, silent, (), (), ((), (5.0,))))


def test_who_has_moved_while_nobody_signalled_and_is_muted_is_found_when_it_speaks() -> None:
    made = track((5.0, 6.0), (12.0, 13.5))
    kept = [n for n, (at, _) in enumerate(made.sent) if not 6.0 <= at < 12.0]
    made.heard = {kept.index(n) for n in kept if n in made.heard}
    made.sent = [made.sent[n] for n in kept]
    acts = (Act("transport-info", 5.0, 5.1),)
    windows = [Window("stop-plane", Reach.MEDIA, 5.0, 8.0)]
    for gap in gaps(made):
        assert is_excused(gap, excuses(gap, track(seat=1), acts, windows, NEVER))
        assert is_excused(gap, excuses(gap, track(seat=1), (), windows, NEVER)) is (gap.end < 8)


def test_what_begins_while_media_is_away_takes_its_time_afterwards() -> None:
    (gap,) = gaps(track((5.0, 9.9)))
    windows = [Window("unplug", Reach.MEDIA, 5.0, 8.0)]
    assert not is_excused(gap, excuses(gap, track(seat=1), (), windows, NEVER))
    assert is_excused(gap, excuses(gap, track(seat=1), (), windows, ((5.5,), ())))


def test_who_has_moved_and_speaks_late_is_found_when_it_speaks() -> None:
    (gap,) = gaps(track((5.0, 8.4)))
    acts = (Act("transport-info", 5.0, 5.1),)
    assert not is_excused(gap, excuses(gap, track(seat=1), acts, (), NEVER))
    silent = track(seat=1)
    silent.sent = [(at, e) for at, e in silent.sent if not 5.0 <= at < 6.5]
    assert is_excused(gap, excuses(gap, silent, acts, (), NEVER))
