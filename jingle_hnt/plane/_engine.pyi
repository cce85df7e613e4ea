"""The native engine; `plane/native.py` turns its bytes and numbers into values.

An address is the IP address (4 or 16 bytes) and the port (2 bytes, big endian). Networks are
records of 18 bytes: version, prefix, IP address padded to 16.
"""

_View = tuple[bytes, int, int, bytes | None, float, float, int, tuple[int, ...]]
"""bound, state, generation, learned, latched_s, heard_s, flow, counters."""

_Event = tuple[int, int, int, int, bytes | None, bool, float, tuple[_View, _View] | None]
"""kind, handle, side, generation, source, relatched, seconds, views of a drained binding."""

class Engine:
    def __new__(cls, workers: int = 1) -> Engine: ...
    def bind(self, addresses: list[bytes], /) -> list[int]:
        """Two addresses a binding. Raises OSError whose third argument is the address's index."""
    def arm(
        self,
        handle: int,
        side: int,
        generation: int,
        sources: bytes,
        refused: bytes,
        probation: int,
        resume: bytes | None,
        early: bytes | None,
        /,
    ) -> bool: ...
    def gate(self, handle: int, flow_0: int, flow_1: int, /) -> None: ...
    def release(self, handle: int, linger_s: float, /) -> None: ...
    def view(self, handle: int, /) -> tuple[_View, _View, bool] | None: ...
    def events(self) -> list[_Event]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

class Latch:
    """The rules alone, for the test that compares them with `relay/latch.py`."""

    def __new__(cls) -> Latch: ...
    def arm(self, generation: int, sources: bytes, refused: bytes, probation: int, /) -> bool: ...
    def observe(self, source: bytes, datagram: bytes, now: float, /) -> int: ...

def classify(datagram: bytes, /) -> tuple[int, int, int]: ...
