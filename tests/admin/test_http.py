"""Readers of the metrics that do not read."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator

import pytest
import structlog

from jingle_hnt import log
from jingle_hnt.admin import http
from jingle_hnt.admin.http import MetricsServer
from jingle_hnt.admin.metrics import Scrape
from jingle_hnt.admin.service import AdminService


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


async def test_slow_readers_cost_a_line_each_at_most(
    service: AdminService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row P10: no traceback, whatever becomes of the connection."""
    monkeypatch.setattr(http._Handler, "timeout", 0.3)
    monkeypatch.setattr(http, "_exposition", lambda *_: ("200 OK", http.PLAIN, bytes(8 << 20)))

    async def scrape() -> Scrape:
        return await service.scrape()

    log.configure(form="json")
    server = MetricsServer("127.0.0.1", 0, scrape)
    readers = []
    for number in range(30):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        if number % 3 == 0:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reader.close()
        readers.append(reader)
    said = ""
    async with asyncio.timeout(20):
        while http.GIVEN_UP not in said:
            await asyncio.sleep(0.1)
            said += capsys.readouterr().err
    await server.close()
    for reader in readers:
        reader.close()
    lines = [json.loads(line) for line in (said + capsys.readouterr().err).splitlines()]
    assert {line["event"] for line in lines} == {"metrics are served", http.GIVEN_UP}
    assert len(lines) <= 1 + 13
