"""The queue of stanzas while the server does not read. It is bounded, so memory is too."""

from collections import deque

MOST_STANZAS = 1000
MOST_BYTES = 1_000_000


class SendQueue:
    """First in, first out; when it is full the oldest stanza goes that may be lost.

    What ends a call is kept as long as there is anything else to drop: nothing repeats it.
    """

    def __init__(self, most_stanzas: int = MOST_STANZAS, most_bytes: int = MOST_BYTES) -> None:
        self._most_stanzas = most_stanzas
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, data: bytes, keep: bool = False) -> None:
        """Add a stanza; `keep` marks one that is to be dropped last."""
        self._waiting.append((data, keep))
        self._bytes += len(data)
        while len(self._waiting) > self._most_stanzas or self._bytes > self._most_bytes:
            self._drop_one()

    def take(self) -> bytes | None:
        """The oldest stanza, or None."""
        if not self._waiting:
            return None
        data, _ = self._waiting.popleft()
        self._bytes -= len(data)
        return data

    def clear(self) -> None:
        """Forget all: the stream that it was for is gone."""
        self._waiting.clear()
        self._bytes = 0

    def _drop_one(self) -> None:
        place = next((i for i, (_, keep) in enumerate(self._waiting) if not keep), 0)
        self._bytes -= len(self._waiting[place][0])
        del self._waiting[place]
        self.dropped += 1
