"""Loss, order, jitter, round trip and what they are worth, of one side's RTP and RTCP."""

import struct
from dataclasses import replace

import pytest

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.binding import BindingSnapshot, Counters, Flow, PinholeSnapshot, Quality
from jingle_hnt.relay.latch import LatchState
from jingle_hnt.relay.packet import classify
from jingle_hnt.relay.quality import StreamMeter, mos, unheard
from tests.plane.packets import report, rtp


def heard(*sequences: int, ssrc: int = 1) -> Quality:
    stream = StreamMeter()
    for number, sequence in enumerate(sequences):
        datagram = rtp(sequence, ssrc)
        stream.observe(classify(datagram), datagram, number * 0.02, StreamMeter())
    return stream.quality


@pytest.mark.parametrize(
    ("sequences", "packets", "lost", "reordered", "duplicates"),
    [
        ((1, 2, 3), 3, 0, 0, 0),
        ((1, 3, 4), 3, 1, 0, 0),
        ((1, 3, 2, 4), 4, 0, 1, 0),
        ((1, 2, 2, 3), 3, 0, 0, 1),
        ((65534, 65535, 1), 3, 1, 0, 0),
        ((1, 2, 30000, 30001), 4, 0, 0, 0),
        ((10, 9, 11), 2, 0, 1, 0),
    ],
)
def test_what_is_missing_late_or_twice_is_counted(
    sequences: tuple[int, ...], packets: int, lost: int, reordered: int, duplicates: int
) -> None:
    quality = heard(*sequences)
    assert (quality.packets, quality.lost) == (packets, lost)
    assert (quality.reordered, quality.duplicates) == (reordered, duplicates)


def test_another_stream_is_no_loss() -> None:
    stream = StreamMeter()
    for sequence, ssrc in ((1, 1), (3, 1), (500, 2), (501, 2)):
        datagram = rtp(sequence, ssrc)
        stream.observe(classify(datagram), datagram, 0.0, StreamMeter())
    assert stream.quality == replace(stream.quality, ssrc=2, packets=4, lost=1)


def paced(payload_type: int, step: int, times: list[float]) -> float:
    stream = StreamMeter()
    for number, at in enumerate(times):
        datagram = struct.pack(">BBHII", 0x80, payload_type, number, number * step, 1)
        stream.observe(classify(datagram), datagram, at, StreamMeter())
    return stream.quality.jitter_ms


@pytest.mark.parametrize(("payload_type", "step"), [(0, 160), (111, 960), (26, 1800)])
def test_jitter_is_told_whatever_the_clock(payload_type: int, step: int) -> None:
    even = [number * 0.02 for number in range(400)]
    uneven = [at + 0.005 * (number % 2) for number, at in enumerate(even)]
    assert paced(payload_type, step, even) < 0.001
    assert paced(payload_type, step, uneven) == pytest.approx(5.0, abs=0.01)


def test_the_round_trip_is_what_the_report_says_less_the_delay_of_its_writer() -> None:
    first, second = StreamMeter(), StreamMeter()
    said = report(middle=0x12345678)
    first.observe(classify(said), said, 100.0, second)
    back = report(last=0x12345678, delay=0x8000)  # half a second
    second.observe(classify(back), back, 100.58, first)
    assert second.quality.round_trip_ms == pytest.approx(80.0)
    assert first.quality.round_trip_ms is None


@pytest.mark.parametrize("last", [0, 0x12345679])
def test_a_report_of_something_else_tells_nothing(last: int) -> None:
    first, second = StreamMeter(), StreamMeter()
    said, back = report(middle=0x12345678), report(last=last)
    first.observe(classify(said), said, 100.0, second)
    second.observe(classify(back), back, 100.5, first)
    assert second.quality.round_trip_ms is None


def test_the_score_falls_with_loss_and_delay() -> None:
    clean = mos(Quality(packets=1000))
    lossy = mos(Quality(packets=950, lost=50))
    slow = mos(Quality(packets=1000, round_trip_ms=800.0))
    gone = mos(Quality(packets=50, lost=5000))
    assert clean == pytest.approx(4.41, abs=0.01)  # G.107 with all its defaults
    assert lossy == pytest.approx(3.92, abs=0.01)  # Ie-eff 15.8, so R 77.4
    assert slow == pytest.approx(3.05, abs=0.01)  # Id 34.1, so R 59.1
    assert gone == pytest.approx(1.18, abs=0.01)
    assert mos(Quality(packets=49)) is None


ADDRESS = TransportAddress.of("192.0.2.1", 4000)
MEDIA = Quality(packets=900)
HEARD = PinholeSnapshot(
    ADDRESS, LatchState.LATCHED, 0, None, ADDRESS, 20.0, 0.1, Flow.OPEN, Counters(), MEDIA
)
CHECKS_ONLY = replace(HEARD, quality=Quality())
NEVER = replace(
    HEARD, state=LatchState.ARMED, learned=None, latched_s=None, heard_s=None, quality=Quality()
)
QUIET = replace(HEARD, heard_s=11.0)


@pytest.mark.parametrize(
    ("first", "second", "side"),
    [
        (HEARD, HEARD, None),
        (HEARD, NEVER, 1),
        (NEVER, HEARD, 0),
        (HEARD, CHECKS_ONLY, 1),
        (CHECKS_ONLY, CHECKS_ONLY, None),
        (QUIET, HEARD, 0),
        (NEVER, NEVER, None),
        (QUIET, NEVER, None),
        (replace(HEARD, latched_s=5.0), NEVER, None),
        (replace(HEARD, flow=Flow.HELD), NEVER, None),
    ],
)
def test_a_one_way_call_is_seen(
    first: PinholeSnapshot, second: PinholeSnapshot, side: int | None
) -> None:
    assert unheard(BindingSnapshot("a", (first, second), draining=False)) == side
