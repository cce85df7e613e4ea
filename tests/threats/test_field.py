"""How the field counts what was lost."""

from collections.abc import Container

import pytest

from tests.threats.field import IN_TURNS_S, gap_packets

PACKETS = 100


def talk(begins_at: float = 0.0, late: Container[int] = ()) -> list[float]:
    """When a party sends: each 20 ms; what is late goes 19 ms later."""
    times = ((n, begins_at + 0.02 * n) for n in range(PACKETS))
    return [at + 0.019 if n in late else at for n, at in times]


def lost(*numbers: int, sent_at: list[float], own_at: list[float]) -> int:
    arrived = [n for n in range(PACKETS) if n not in numbers]
    return gap_packets({"sent_at": sent_at}, {"sent_at": own_at, "numbers": arrived})


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [((), 0), ((50,), 1), ((50, 52), 1), ((50, 51), 2), (range(20, 60), 40), (range(PACKETS), 100)],
)
def test_the_longest_row_of_lost_packets_counts(numbers: tuple[int, ...], gap: int) -> None:
    assert lost(*numbers, sent_at=talk(), own_at=talk(IN_TURNS_S)) == gap


def test_what_is_sent_while_the_receiver_sends_nothing_counts_once() -> None:
    own_at = talk(IN_TURNS_S, late={50})
    assert lost(50, 51, sent_at=talk(), own_at=own_at) == 1
    assert lost(50, 51, 52, sent_at=talk(), own_at=own_at) == 2


def test_a_stream_of_a_few_packets_has_no_gaps() -> None:
    assert gap_packets({"sent_at": [0.0, 0.02]}, {"sent_at": [], "numbers": []}) == 0
