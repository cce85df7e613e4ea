"""The native engine; `plane/native.py` turns its bytes and numbers into values.

An address is the IP address (4 or 16 bytes) and the port (2 bytes, big endian). Networks are
records of 18 bytes: version, prefix, IP address padded to 16. Tags are records of 43 bytes: the
keys for RTP and RTCP, the length of a tag, and that of an MKI (2, big endian).
"""

_Quality = tuple[int, int, int, int, int, float, float]
"""ssrc, packets, lost, reordered, duplicates, jitter_ms, round_trip_ms; -1 for not known."""

_StreamAt = tuple[int, int]
"""ssrc and sequence of what the learned source sent last."""

_View = tuple[
    bytes, int, int, bytes | None, float, float, int, tuple[int, ...], _Quality, _StreamAt | None
]
"""bound, state, generation, learned, latched_s, heard_s, flow, counters, quality, stream."""

_Event = tuple[
    int, int, int, int, bytes | None, bool, float, _StreamAt | None, tuple[_View, _View] | None
]
"""kind, handle, side, generation, source, relatched, seconds, stream, views of one drained."""

_Checks = tuple[bytes, bytes, bytes, int, bool, list[bytes]]
"""username, password, secret, tie_breaker, controlling, targets."""

class Engine:
    def __new__(
        cls,
        workers: int = 1,
        max_kbps: int = 0,
        max_pps: int = 0,
        dscp: int = 0,
        linger_cap_s: float = 600.0,
    ) -> Engine: ...
    def bind(self, addresses: list[bytes], /) -> list[int]:
        """Two addresses a binding. Raises OSError whose third argument is the address's index."""
    def arm(
        self,
        handle: int,
        side: int,
        generation: int,
        sources: bytes,
        refused: bytes,
        likely: bytes,
        probation: int,
        several: bool,
        reports: bool,
        lapse_s: float,
        events: bytes,
        keys: list[tuple[bytes, bytes]],
        tags: bytes,
        resume: bytes | None,
        stream: _StreamAt | None,
        early: bytes | None,
        checks: _Checks | None,
        /,
    ) -> bool: ...
    def gate(self, handle: int, flow_0: int, flow_1: int, /) -> None: ...
    def release(self, handle: int, linger_s: float, /) -> None: ...
    def view(self, handle: int, /) -> tuple[_View, _View, bool] | None: ...
    def sockets(self, handle: int, /) -> list[int]: ...
    def inherit(self, descriptor: int, /) -> None: ...
    def disown(self) -> None: ...
    def events(self) -> list[_Event]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
