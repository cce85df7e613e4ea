"""A server for component streams that does what a test says, and nothing by itself."""

import asyncio
import hashlib
from types import TracebackType
from typing import Self
from xml.etree import ElementTree as ET

from jingle_hnt.fronts.xmpp.stream_reader import Closed, Stanza, StreamOpened, StreamReader
from tests.fronts.xmpp.recorder import until

SECRET = "s3cret"
STREAM_ID = "stream-1"
DIGEST = hashlib.sha1((STREAM_ID + SECRET).encode()).hexdigest()

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept'"
    f" xmlns:stream='http://etherx.jabber.org/streams' id='{STREAM_ID}'>"
)


class Connection:
    """One component that connected: what it said, and a way to say something to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.stanzas: list[ET.Element] = []
        self.header: dict[str, str] | None = None
        self.ended = False
        self.closed = False
        self.reading = asyncio.Event()
        self.reading.set()
        self._reader, self._writer = reader, writer

    @property
    def handshake(self) -> str | None:
        found = [s.text for s in self.stanzas if s.tag.endswith("}handshake")]
        return found[0] if found else None

    def iqs(self, type_: str | None = None) -> list[ET.Element]:
        """What it sent, without pings of its own."""
        return [
            s
            for s in self.stanzas
            if s.tag.endswith("}iq")
            and s.find("{urn:xmpp:ping}ping") is None
            and type_ in (None, s.get("type"))
        ]

    def send(self, text: str) -> None:
        self._writer.write(text.encode())

    async def reply(self, id_: str) -> ET.Element:
        """The answer to a stanza with this id."""

        def found() -> list[ET.Element]:
            return [s for s in self.stanzas if s.get("id") == id_]

        await until(found)
        return found()[0]

    def cut(self) -> None:
        self._writer.transport.abort()

    async def serve(self) -> None:
        parser = StreamReader()
        try:
            while True:
                await self.reading.wait()
                data = await self._reader.read(65536)
                if not data:
                    break
                for event in parser.feed(data):
                    match event:
                        case StreamOpened(attributes=attributes):
                            self.header = attributes
                        case Stanza(element=element):
                            self.stanzas.append(element)
                        case Closed():
                            self.closed = True
                            self._writer.close()
        except ConnectionError:
            pass
        finally:
            self.ended = True
            self._writer.close()


class FakeServer:
    """Answers each stream's header with `greeting` and each handshake with `verdict`."""

    def __init__(self, greeting: str = HEADER, verdict: str = "<handshake/>") -> None:
        self.greeting = greeting
        self.verdict = verdict
        self.connections: list[Connection] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def last(self) -> Connection:
        return self.connections[-1]

    async def start(self) -> None:
        """Listen: on a free port first, and on the same one ever after."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.reading.set()
            if not connection.ended:
                connection.cut()
        while self._tasks:
            await asyncio.gather(*self._tasks)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        serving = asyncio.create_task(connection.serve())
        self._tasks.add(serving)
        serving.add_done_callback(self._tasks.discard)
        try:
            await until(lambda: connection.header is not None or connection.ended)
            connection.send(self.greeting)
            await until(lambda: connection.handshake is not None or connection.ended)
            connection.send(self.verdict)
        except TimeoutError:
            connection.cut()
