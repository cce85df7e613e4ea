"""What a token bucket lets through."""

from jingle_hnt.relay.policing import Bucket, MediaLimits


def passed(limits: MediaLimits, length: int, times: list[float]) -> int:
    bucket = Bucket(limits)
    return sum(bucket.admits(length, now) for now in times)


def test_a_burst_of_one_second_passes_and_no_more() -> None:
    assert passed(MediaLimits(max_pps=50), 100, [0.0] * 200) == 50
    assert passed(MediaLimits(max_kbps=8), 100, [0.0] * 200) == 10


def test_the_rate_holds_over_time() -> None:
    flood = [number / 1000 for number in range(10000)]  # 10 s of 1000 packets a second
    assert passed(MediaLimits(max_pps=50), 100, flood) in range(548, 552)
    assert passed(MediaLimits(max_kbps=80), 100, flood) in range(1098, 1102)


def test_the_tighter_limit_decides_and_none_is_none() -> None:
    assert passed(MediaLimits(max_pps=5, max_kbps=8), 100, [0.0] * 50) == 5
    assert passed(MediaLimits(max_pps=50, max_kbps=8), 100, [0.0] * 50) == 10
    assert passed(MediaLimits(), 65507, [0.0] * 5000) == 5000


def test_what_was_refused_costs_nothing() -> None:
    bucket = Bucket(MediaLimits(max_kbps=8))
    assert not bucket.admits(1001, 0.0)
    assert bucket.admits(1000, 0.0)


def test_rest_saves_up_one_second_only() -> None:
    bucket = Bucket(MediaLimits(max_pps=5))
    times = [0.0] * 9 + [60.0] * 9
    assert sum(bucket.admits(1, now) for now in times) == 10
