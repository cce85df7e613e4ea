"""How much one side may send through the relay, and how it is marked on its way.

The C engine mirrors `Bucket` in `plane/native/rules/policing.c`, and a property test holds the two
together.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What each side of each binding may send, 0 for no limit, and the DSCP of what is sent on.

    `max_kbps` is in 1000 bits of UDP payload a second, `max_pps` in packets a second. `dscp` is a
    codepoint of RFC 2474 (0 to 63); 0 leaves packets unmarked.
    """

    max_kbps: int = 0
    max_pps: int = 0
    dscp: int = 0


NO_LIMITS = MediaLimits()


class Bucket:
    """A token bucket of one second's worth, so that a burst such as a key frame passes."""

    def __init__(self, limits: MediaLimits) -> None:
        self._packets_per_s = float(limits.max_pps)
        self._bytes_per_s = limits.max_kbps * 125.0
        self._packets = self._bytes = 0.0
        self._at: float | None = None  # None: full

    def admits(self, length: int, now: float) -> bool:
        """Whether a datagram of so many bytes may pass now; one that may not costs nothing."""
        elapsed_s = 1.0 if self._at is None else min(1.0, now - self._at)
        self._at = now
        full, whole = self._packets_per_s, self._bytes_per_s
        self._packets = min(full, self._packets + elapsed_s * full)
        self._bytes = min(whole, self._bytes + elapsed_s * whole)
        if (full > 0 and self._packets < 1) or (whole > 0 and self._bytes < length):
            return False
        self._packets -= 1
        self._bytes -= length
        return True
