"""What a play counts as delivered: all, from when the parties hear each other, or should."""

from collections.abc import Container

import pytest

from tests.lab.play import delivered

PACKETS = 100


def told(begins_at: float, missing: Container[int] = ()) -> dict[str, object]:
    """A phone that has sent each 20 ms from then on, and has heard all of the other but these."""
    sent_at = [begins_at + 0.02 * n for n in range(PACKETS)]
    return {"sent_at": sent_at, "numbers": [n for n in range(PACKETS) if n not in missing]}


@pytest.mark.parametrize(
    ("missing", "part"),
    [
        (range(0), 1.0),  # the first 100 ms are not asked of anybody
        (range(6), 1.0),
        (range(15), 1.0),  # the other party is heard late, and then always
        ({*range(6), 50}, 1 - 1 / 89),
        (range(40), 1 - 9 / 69),  # later than it may be: what is missing after 0.6 s counts
        (range(PACKETS), 0.0),
    ],
)
def test_what_is_missing_counts_once_the_parties_hear_each_other(
    missing: Container[int], part: float
) -> None:
    assert delivered(told(0.0), told(0.0, missing)) == pytest.approx(part, abs=0.003)


def test_nothing_is_asked_before_both_have_begun() -> None:
    assert delivered(told(0.0), told(0.5, range(30))) == 1.0
    assert delivered(told(0.0), told(0.5, range(31, 33))) < 1.0


def test_who_says_nothing_is_not_delivered_to() -> None:
    assert delivered(told(0.0), {"sent_at": [], "numbers": []}) == 0.0


def test_without_patience_all_counts_from_the_start() -> None:
    assert delivered(told(0.0), told(0.0, range(15)), patience_s=0.0) < 0.95
