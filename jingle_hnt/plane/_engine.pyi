"""The native engine; `plane/native.py` turns its bytes and numbers into values.

An address is the IP address (4 or 16 bytes) and the port (2 bytes, big endian). Networks are
records of 18 bytes: version, prefix, IP address padded to 16. Tags are records of 43 bytes: the
keys for RTP and RTCP, the length of a tag, and that of an MKI (2, big endian).
"""

from typing import Any

_Record = tuple[Any, ...]
"""Fields in the order of `records.RECORDS`."""

RECORDS: str
"""`records.digest()` of the records that it was built of."""

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
    def arm(self, handle: int, record: dict[str, Any], /) -> bool:
        """`record` has the fields of `records.RECORDS["ARM"]` by name."""
    def gate(self, handle: int, flow_0: int, flow_1: int, /) -> None: ...
    def release(self, handle: int, linger_s: float, /) -> None: ...
    def view(self, handle: int, /) -> tuple[tuple[_Record, _Record], bool] | None: ...
    def sockets(self, handle: int, /) -> list[int]: ...
    def inherit(self, descriptor: int, /) -> None: ...
    def disown(self) -> None: ...
    def events(self) -> list[tuple[int, int, _Record]]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
