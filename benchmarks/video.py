"""What a packet of video costs: as `relay` measures, with the bursts that frames are sent in."""

from benchmarks.generator import Load
from benchmarks.relay import SAME_THREADS, against
from benchmarks.rig import Figures

CALLS = (20, 100)
FRAMES = Load(pps=300, size=1200, burst=10)
"""30 frames a second of ten packets each, 2.9 Mbit/s each way."""


def main(arguments: list[str]) -> Figures:
    """The native engine against rtpengine."""
    return against((SAME_THREADS, "rtpengine"), CALLS, arguments, FRAMES)
