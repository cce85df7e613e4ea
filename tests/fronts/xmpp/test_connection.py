"""The link: kept up for ever, bounded, never stale."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from xml.etree.ElementTree import Element, SubElement

import pytest

from jingle_hnt.errors import SecretRefused
from jingle_hnt.fronts.xmpp import connection as connection_module
from jingle_hnt.fronts.xmpp.connection import ConnectionSettings, ServerConnection
from jingle_hnt.fronts.xmpp.stream_reader import Stanza
from jingle_hnt.model.address import IPNetwork
from tests.fronts.xmpp.fakeserver import DIGEST, HEADER, SECRET, FakeServer
from tests.fronts.xmpp.recorder import until

JID = "hnt.example.org"


class Told:
    """What a link told, in order."""

    def __init__(self) -> None:
        self.server_connection: list[str] = []
        self.stanzas: list[Element] = []

    def stanza(self, stanza: Stanza) -> None:
        self.stanzas.append(stanza.element)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(connection_module, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def told() -> Told:
    return Told()


def new_server_connection(
    port: int,
    told: Told,
    ping_s: float = 10.0,
    host: str = "127.0.0.1",
    trusted: tuple[IPNetwork, ...] = (),
) -> ServerConnection:
    settings = ConnectionSettings(JID, SECRET, host, port, ping_s, trusted)
    return ServerConnection(
        settings,
        told.stanza,
        lambda: told.server_connection.append("up"),
        told.server_connection.append,
    )


@asynccontextmanager
async def running(server_connection: ServerConnection) -> AsyncIterator[ServerConnection]:
    task = asyncio.create_task(server_connection.run())
    try:
        yield server_connection
    finally:
        await server_connection.stop()
        await asyncio.wait_for(task, 5)


def stanza(id_: str, body: str = "") -> Element:
    iq = Element("{jabber:component:accept}iq", {"id": id_, "type": "result"})
    if body:
        SubElement(iq, "{urn:x}body").text = body
    return iq


async def test_the_handshake_is_that_of_xep_0114(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        assert told.server_connection == ["up"]
        assert server.last.header == {"to": JID}
        assert server.last.handshake == DIGEST
    assert server.last.closed
    assert not server_connection.up
    assert told.server_connection == ["up"]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of every name, in their order."""
    found: list[str] = []

    async def getaddrinfo(_: object, host: str, port: int, **how: object) -> list[object]:
        kind = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        return [(*kind, (address, port)) for address in found or [host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return found


async def test_a_name_is_resolved_for_each_connection(
    server: FakeServer, told: Told, resolver: list[str]
) -> None:
    resolver[:] = ["192.0.2.7"]
    async with running(
        new_server_connection(server.port, told, host="prosody")
    ) as server_connection:
        await until(lambda: bool(told.server_connection))
        assert "it is 192.0.2.7, another host" in told.server_connection[0]
        assert (
            "list a network that you trust in xmpp.allow_plaintext_to" in told.server_connection[0]
        )
        assert not server.connections
        resolver[:] = ["192.0.2.7", "127.0.0.1"]
        await until(lambda: server_connection.up)


async def test_a_name_may_be_of_a_network_that_is_trusted(
    told: Told, resolver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    async def connect(_: object, __: object, host: str, port: int) -> object:
        tried.append(host)
        raise OSError("nobody")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)
    resolver[:] = ["2001:db8::7", "198.51.100.7", "192.0.2.7"]
    trusted = (ip_network("192.0.2.0/24"),)
    async with running(new_server_connection(5347, told, host="prosody", trusted=trusted)):
        await until(lambda: bool(tried))
    assert set(tried) == {"192.0.2.7"}


async def test_stanzas_go_both_ways(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        assert server_connection.send(stanza("1"))
        assert (await server.last.reply("1")).get("type") == "result"
        server.last.send("<message from='a'/><message from='b'/>")
        await until(lambda: len(told.stanzas) == 2)
        assert [s.get("from") for s in told.stanzas] == ["a", "b"]


async def test_nothing_is_heard_or_said_before_the_handshake(told: Told) -> None:
    async with (
        FakeServer(verdict="") as server,
        running(new_server_connection(server.port, told)) as server_connection,
    ):
        await until(lambda: server.connections and server.last.handshake)
        assert not server_connection.send(stanza("1"))
        server.last.send("<message from='early'/><handshake/><message from='late'/>")
        await until(lambda: told.stanzas)
        assert [s.get("from") for s in told.stanzas] == ["late"]
        assert server.last.iqs() == []


async def test_a_lost_stream_comes_back_and_nothing_stale_is_sent(
    server: FakeServer, told: Told
) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        await server.stop()
        await until(lambda: not server_connection.up)
        assert not server_connection.send(stanza("stale"))
        await until(lambda: any("cannot connect" in t for t in told.server_connection))
        await server.start()
        await until(lambda: server_connection.up)
        assert server_connection.send(stanza("fresh"))
        await server.last.reply("fresh")
        assert [s.get("id") for s in server.last.iqs()] == ["fresh"]
    assert (told.server_connection[0], told.server_connection[-1]) == ("up", "up")


async def test_a_reason_is_told_once(told: Told) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with running(new_server_connection(unused.getsockname()[1], told)):
            await until(lambda: told.server_connection)
            await asyncio.sleep(0.2)  # about ten more attempts
    assert len(told.server_connection) == 1
    assert told.server_connection[0].startswith("cannot connect to 127.0.0.1 port")


ERROR = (
    "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>{}</stream:error>"
    "</stream:stream>"
)


async def test_a_refused_secret_is_final(told: Told) -> None:
    text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Given token\ndoes not match</text>"
    async with FakeServer(verdict=ERROR.format("not-authorized", text)) as server:
        with pytest.raises(SecretRefused, match=r"Given token does not match.*xmpp\.secret"):
            await asyncio.wait_for(new_server_connection(server.port, told).run(), 5)
        assert len(server.connections) == 1
        assert SECRET not in "".join(told.server_connection)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("conflict", 'component_conflict_resolve = "kick_old"'),
        ("host-unknown", f'write Component "{JID}" with component_secret'),
        ("system-shutdown", "the server says system-shutdown"),
    ],
)
async def test_stream_errors_are_explained_and_outlived(
    told: Told, condition: str, text: str
) -> None:
    greeting = HEADER + ERROR.format(condition, "")
    async with (
        FakeServer(greeting) as server,
        running(new_server_connection(server.port, told)) as server_connection,
    ):
        await until(lambda: told.server_connection)
        assert text in told.server_connection[0]
        server.greeting = HEADER
        await until(lambda: server_connection.up)
    assert told.server_connection[-1] == "up"


async def test_a_server_that_does_not_answer_the_handshake_is_left(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "HANDSHAKE_S", 0.05)
    async with (
        FakeServer(verdict="") as server,
        running(new_server_connection(server.port, told)) as server_connection,
    ):
        await until(lambda: len(server.connections) > 1)
        assert told.server_connection == ["the server did not answer the handshake"]
        server.verdict = "<handshake/>"
        await until(lambda: server_connection.up)


async def test_three_silent_pings_end_the_stream(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told, ping_s=0.05)) as server_connection:
        await until(lambda: server_connection.up)
        first = server.last
        await until(lambda: len(told.server_connection) > 1)
        assert told.server_connection[1] == "no sign of life from the server for 3 pings"
        pings = [s for s in first.stanzas if s.find("{urn:xmpp:ping}ping") is not None]
        assert len(pings) == 3
        assert {(p.get("from"), p.get("to"), p.get("type")) for p in pings} == {(JID, JID, "get")}
        await until(lambda: server_connection.up)


async def test_whatever_the_server_says_is_a_sign_of_life(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told, ping_s=0.05)) as server_connection:
        await until(lambda: server_connection.up)
        for _ in range(30):
            server.last.send("<presence/>")
            await asyncio.sleep(0.02)
        assert told.server_connection == ["up"]


async def test_what_cannot_be_read_ends_the_stream_and_says_why(
    server: FakeServer, told: Told
) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        server.last.send("<iq></message>")
        await until(lambda: len(told.server_connection) > 1)
        assert "(not-well-formed)" in told.server_connection[1]
        await until(lambda: server_connection.up)


async def test_a_server_that_does_not_read_costs_bounded_memory(
    server: FakeServer, told: Told
) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        server.last.reading.clear()
        for number in range(3000):
            assert server_connection.send(stanza(f"n{number}", "x" * 20_000))
            if number == 0:
                server_connection.send(stanza("first end"), keep=True)
        assert server_connection.send(stanza("last end"), keep=True)
        assert len(server_connection._queue) <= 1000
        assert server_connection.dropped > 1000
        server.last.reading.set()
        await server.last.reply("last end")
        ids = [s.get("id", "") for s in server.last.iqs()]
        assert "first end" in ids
        numbers = [int(i[1:]) for i in ids if i[0] == "n"]
        assert numbers == sorted(numbers)
        assert len(numbers) + server_connection.dropped == 3000
        assert server_connection.up


async def test_what_waited_for_a_lost_stream_is_not_sent_on_the_next(
    server: FakeServer, told: Told
) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        server.last.reading.clear()
        while not len(server_connection._queue):
            server_connection.send(stanza("stale", "x" * 100_000))
        server.last.cut()
        await until(lambda: len(server.connections) == 2 and server_connection.up)
        server_connection.on_writable(False)
        server_connection.send(stanza("fresh"))
        server_connection.on_writable(True)
        await server.last.reply("fresh")
        assert [s.get("id") for s in server.last.iqs()] == ["fresh"]


async def test_what_is_too_large_for_the_server_is_not_sent(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        assert not server_connection.send(stanza("big", "x" * 600_000))
        assert server_connection.send(stanza("small"))
        await server.last.reply("small")
        assert [s.get("id") for s in server.last.iqs()] == ["small"]


async def test_a_dead_peer_is_noticed_by_the_kernel_too(server: FakeServer, told: Told) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        assert server_connection._stream is not None
        assert server_connection._stream.transport is not None
        connected = server_connection._stream.transport.get_extra_info("socket")
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000


@pytest.mark.parametrize("verdict", ["<handshake/>", ""])
async def test_a_stop_leaves_nothing_behind(told: Told, verdict: str) -> None:
    async with FakeServer(verdict=verdict) as server:
        before = asyncio.all_tasks()
        async with running(new_server_connection(server.port, told)) as server_connection:
            await until(lambda: server.connections and server.last.handshake)
            await until(lambda: server_connection.up or not verdict)
        await until(lambda: server.last.ended)
        assert server.last.closed
        await until(lambda: asyncio.all_tasks() <= before)
        await server_connection.stop()


async def test_a_server_that_does_not_read_cannot_hold_up_a_stop(
    server: FakeServer, told: Told
) -> None:
    async with running(new_server_connection(server.port, told)) as server_connection:
        await until(lambda: server_connection.up)
        server.last.reading.clear()
        while server_connection.send(stanza("x", "x" * 100_000)) and not len(
            server_connection._queue
        ):
            pass
    assert not server_connection.up


async def test_a_cancelled_run_is_cancelled(server: FakeServer, told: Told) -> None:
    server_connection = new_server_connection(server.port, told)
    task = asyncio.create_task(server_connection.run())
    await until(lambda: server_connection.up)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.last.closed
    assert told.server_connection == ["up", "we closed the stream"]
    await server_connection.stop()


async def test_nobodys_stanzas_are_in_the_log(
    server: FakeServer, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running(new_server_connection(server.port, told)) as server_connection:
            await until(lambda: server_connection.up)
            server.last.send("<iq><private/></iq><iq></message>")
            assert server_connection.send(stanza("private"))
            await until(lambda: len(told.server_connection) > 1)
    assert "private" not in caplog.text
    assert DIGEST not in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in repr(ConnectionSettings(JID, SECRET))
