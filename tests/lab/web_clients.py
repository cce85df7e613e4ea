"""Clients that come by HTTP, as browsers do: BOSH (XEP-0124, XEP-0206) and WebSocket (RFC 7395).

They log in and send; what a test reads, it reads at the other end.
"""

import asyncio
import base64
import os
import struct
from typing import Self

from tests.lab.server import LocalServer
from tests.lab.xmpp_actors import CLIENT

PATIENCE_S = 20.0
_FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_BIND = "urn:ietf:params:xml:ns:xmpp-bind"


def _plain(jid: str, password: str) -> str:
    proof = base64.b64encode(f"\0{jid.partition('@')[0]}\0{password}".encode()).decode()
    return f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{proof}</auth>"


def _bind(jid: str) -> str:
    resource = jid.partition("/")[2]
    asked = f"<bind xmlns='{_BIND}'><resource>{resource}</resource></bind>"
    return f"<iq xmlns='{CLIENT}' type='set' id='bind'>{asked}</iq>"


def _domain(jid: str) -> str:
    return jid.partition("@")[2].partition("/")[0]


class Bosh:
    """A session over BOSH, in which every request may come from another address."""

    def __init__(self, server: LocalServer, jid: str) -> None:
        assert server.web is not None
        self.jid = jid
        self._endpoint = (server.c2s[0], server.web)
        self._sid = ""
        self._rid = int.from_bytes(os.urandom(4), "big")
        self._held: set[asyncio.Task[str]] = set()

    @classmethod
    async def login(
        cls, server: LocalServer, jid: str, local: str, password: str = "secret"
    ) -> Self:
        """A client that is online from the address `local`."""
        client = cls(server, jid)
        domain = _domain(jid)
        opened = await client.post(
            f"to='{domain}' wait='5' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0'", "", local
        )
        client._sid = opened.partition(" sid=")[2][1:].partition(opened.partition(" sid=")[2][0])[0]
        assert "success" in await client.post("", _plain(jid, password), local)
        await client.post(f"to='{domain}' xmpp:restart='true'", "", local)
        assert jid in await client.post("", _bind(jid), local)
        return client

    def send(self, stanza: str, local: str) -> None:
        """Send a stanza in a request from this address; nobody waits for its answer."""
        task = asyncio.create_task(self.post("", stanza, local))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def post(self, attributes: str, inside: str, local: str) -> str:
        """One request and its answer, on a connection of its own."""
        self._rid += 1
        sid = f"sid='{self._sid}'" if self._sid else ""
        body = (
            f"<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'"
            f" rid='{self._rid}' {sid} {attributes}>{inside}</body>"
        ).encode()
        reader, writer = await asyncio.open_connection(*self._endpoint, local_addr=(local, 0))
        head = (
            f"POST /http-bind HTTP/1.1\r\nHost: {_domain(self.jid)}\r\nConnection: close\r\n"
            f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return (await reader.read()).decode()
        finally:
            writer.close()

    async def close(self) -> None:
        """Go without a word."""
        for task in list(self._held):
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)


class WebSocket:
    """A session over WebSocket."""

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def login(
        cls, server: LocalServer, jid: str, local: str, password: str = "secret"
    ) -> Self:
        """A client that is online from the address `local`."""
        assert server.web is not None
        client = cls(jid)
        client._reader, client._writer = await asyncio.open_connection(
            server.c2s[0], server.web, local_addr=(local, 0)
        )
        domain = _domain(jid)
        key = base64.b64encode(os.urandom(16)).decode()
        client._writer.write(
            f"GET /xmpp-websocket HTTP/1.1\r\nHost: {domain}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: xmpp\r\n\r\n".encode()
        )
        answer = await asyncio.wait_for(client._reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        assert b" 101 " in answer, answer
        opening = f"<open xmlns='{_FRAMING}' to='{domain}' version='1.0'/>"
        client.send(opening)
        await client._until("mechanism")
        client.send(_plain(jid, password))
        await client._until("success")
        client.send(opening)
        await client._until("bind")
        client.send(_bind(jid))
        await client._until(jid)
        return client

    def send(self, stanza: str) -> None:
        """Send a stanza: one masked frame of text (RFC 6455 section 5)."""
        text, mask = stanza.encode(), os.urandom(4)
        size = struct.pack("!BBH", 0x81, 0x80 | 126, len(text))
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(text))
        self._writer.write(size + mask + masked)

    async def _until(self, part: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while part not in await self._frame():
                pass

    async def _frame(self) -> str:
        _, length = await self._reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return (await self._reader.readexactly(length)).decode()

    async def close(self) -> None:
        """Go without a word."""
        self._writer.close()
