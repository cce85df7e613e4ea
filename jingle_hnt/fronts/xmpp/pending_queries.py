"""Questions of ours that wait for an answer: only who was asked can answer, and once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import Element


class PendingQueries:
    """Waiting questions by whom they were put to and their id.

    slixmpp's own matching also believes our own domain, the bare JID and answers without a sender.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], asyncio.Future[Element | None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def expect(self, whom: str, id_: str) -> Iterator[asyncio.Future[Element | None]]:
        """A future of the answer, while inside; None where the stream was lost meanwhile."""
        future: asyncio.Future[Element | None] = asyncio.get_running_loop().create_future()
        self._waiting[whom, id_] = future
        try:
            yield future
        finally:
            self._waiting.pop((whom, id_), None)

    def settle(self, sender: str, iq: Element) -> None:
        """An IQ of type result or error came; what nobody waits for is ignored."""
        self._settle((sender, iq.get("id", "")), iq)

    def clear(self) -> None:
        """No answer will come any more."""
        for key in list(self._waiting):
            self._settle(key, None)

    def _settle(self, key: tuple[str, str], iq: Element | None) -> None:
        future = self._waiting.pop(key, None)
        if future is not None and not future.done():
            future.set_result(iq)
