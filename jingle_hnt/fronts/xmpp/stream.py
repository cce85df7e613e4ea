"""One XEP-0114 stream over slixmpp, with slixmpp's habits kept in this file.

slixmpp's component brings the stream header, the handshake and the place in asyncio. What it does
besides does not fit a middlebox and is switched off here:

* Its parser has no limits, and its parse errors log raw data: `guard.StreamReader` reads instead.
* Its stanza objects create what is read from them: stanzas stay ElementTree elements.
* Its send queue is unbounded and is sent after a reconnect: what leaves here, leaves at once.
* Its own reconnection waits up to 300 s and does not follow a lost stream: `link` connects.
* Its DEBUG log prints whole stanzas: its loggers are capped at INFO.
* `fix_error_ns` would change classes that all streams of the interpreter share. Errors are
  written by `requests`, so that nothing needs it.
"""

import asyncio
import logging
from typing import Any, Protocol
from xml.etree.ElementTree import Element

from slixmpp.componentxmpp import ComponentXMPP

from jingle_hnt.fronts.xmpp.stream_reader import Event, StreamOpened, StreamReader

logging.getLogger("slixmpp").setLevel(logging.INFO)

AT_ONCE = 64 * 1024
"""Bytes that leave without waiting for the end of the event loop's turn."""


class Listener(Protocol):
    """The listener to events of a stream, in the event loop."""

    def on_event(self, event: Event) -> None:
        """Something was read."""

    def on_writable(self, writable: bool) -> None:
        """The server reads again, or has stopped to."""

    def on_lost(self, error: BaseException | None) -> None:
        """The connection is gone; the last that is heard of it."""


class ComponentStream(ComponentXMPP):
    """A protocol for `loop.create_connection`; to be made inside the running loop.

    It can be used for one connection after the other.
    """

    def __init__(self, jid: str, secret: str, listener: Listener) -> None:
        super().__init__(jid, secret)  # type: ignore[no-untyped-call]
        self._listener = listener
        self._reader = StreamReader()
        self._unsent = bytearray()

    # Overridden: what arrives

    def init_parser(self) -> None:
        """Called by slixmpp for each new connection."""
        self._reader = StreamReader()

    def data_received(self, data: bytes | str) -> None:
        """Read on; nothing is parsed by slixmpp."""
        if isinstance(data, str):
            data = data.encode()
        for event in self._reader.feed(data):
            if isinstance(event, StreamOpened):
                header = Element("stream", event.attributes)
                self.start_stream_handler(header)  # type: ignore[no-untyped-call]
            self._listener.on_event(event)

    def connection_lost(self, exception: BaseException | None) -> None:
        """The end of a connection."""
        self._unsent.clear()
        super().connection_lost(exception)
        self._listener.on_lost(exception)

    def pause_writing(self) -> None:
        """Called by the transport when too much waits in it."""
        self._listener.on_writable(False)

    def resume_writing(self) -> None:
        """Called by the transport when it is nearly empty again."""
        self._listener.on_writable(True)

    # Overridden: what leaves

    def send(self, data: Any, use_filters: bool = True) -> None:
        """slixmpp sends its handshake through this, and nothing else."""
        self.write(str(data).encode())

    # Ours

    def write(self, data: bytes) -> None:
        """Put bytes on the wire, or nothing if there is none.

        What is written in one turn of the event loop leaves in one piece: a system call for each
        stanza is a good part of what a call costs.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += data
        if len(self._unsent) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        data, self._unsent = bytes(self._unsent), bytearray()
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def hang_up(self) -> None:
        """Close in an orderly way what has been sent; `on_lost` follows."""
        self.write(self.stream_footer.encode())
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def cut(self) -> None:
        """Close at once, whatever waits to be sent; `on_lost` follows."""
        self._flush()
        if self.transport is not None:
            self.transport.abort()
