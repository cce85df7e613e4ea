"""Sockets: who is heard, what comes twice, and that nothing that comes breaks anything."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from jingle_hnt.fronts.ng import server as module
from jingle_hnt.fronts.ng.bencode import encode
from jingle_hnt.fronts.ng.listening import Listening, demand_safe
from jingle_hnt.fronts.ng.server import NgServer
from jingle_hnt.model.address import IPNetwork, literal
from tests.ports import free_port

PING = encode({"command": "ping"})


class Echo:
    """Answers every message by what it was, in capitals, as often as it is asked."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def carry_out(self, message: bytes) -> bytes:
        self.heard.append(message)
        await self.open.wait()
        return message.upper()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[socket.socket]:
    """The socket of a proxy that is connected to a server on loopback."""
    port = free_port("127.0.0.1", socket.SOCK_DGRAM)
    served = NgServer([Listening.of(f"127.0.0.1:{port}")], [], echo.carry_out)
    await served.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.connect(("127.0.0.1", port))
        own.setblocking(False)
        yield own
    await served.close()


async def answer(own: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(own, 65536)


async def test_a_command_and_its_answer(echo: Echo, proxy: socket.socket) -> None:
    proxy.send(b"1_a " + PING)
    assert await answer(proxy) == b"1_a " + PING.upper()


async def test_what_comes_again_is_answered_and_not_done_twice(
    echo: Echo, proxy: socket.socket
) -> None:
    echo.open.clear()
    proxy.send(b"1 x")
    proxy.send(b"1 x")  # while the first is at work
    proxy.send(b"2 y")
    async with asyncio.timeout(10):
        while len(echo.heard) < 2:  # noqa: ASYNC110 - nothing else tells of it
            await asyncio.sleep(0.01)
    echo.open.set()
    assert sorted([await answer(proxy), await answer(proxy)]) == [b"1 X", b"2 Y"]
    proxy.send(b"1 x")
    assert await answer(proxy) == b"1 X"
    assert sorted(echo.heard) == [b"x", b"y"]


async def test_what_has_no_cookie_is_not_answered(echo: Echo, proxy: socket.socket) -> None:
    for nothing in (b"", b" ", b"d", b"\xff" * 40, b"a" * 4000):
        proxy.send(nothing)
    proxy.send(b"1 x")
    assert await answer(proxy) == b"1 X"
    assert echo.heard == [b"x"]


async def test_a_stranger_is_dropped_unread(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOPBACK", ())
    port = free_port("127.0.0.1", socket.SOCK_DGRAM)
    served = NgServer(
        [Listening.of(f"127.0.0.1:{port}")], [ip_network("192.0.2.0/24")], echo.carry_out
    )
    await served.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for _ in range(3):
            own.sendto(b"1 x", ("127.0.0.1", port))
        async with asyncio.timeout(10):
            while served.strangers < 3:  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0.01)
    await served.close()
    assert echo.heard == []


async def test_a_unix_socket_with_and_without_cookies(echo: Echo, tmp_path: Path) -> None:
    path = tmp_path / "ng.sock"
    for _ in range(2):  # what an earlier run has left makes room
        served = NgServer([Listening.of(f"unix:{path}")], [], echo.carry_out)
        await served.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(PING[:5])
        await writer.drain()
        writer.write(PING[5:] + b"7_7 " + PING)
        whole = await reader.readexactly(2 * len(PING) + 4)
        assert whole == PING.upper() + b"7_7 " + PING.upper()
        writer.close()
        await writer.wait_closed()
        await served.close()
    assert not path.exists()


@pytest.mark.parametrize("garbage", [b"x" * 100, b"dd", b"d1:a999999:", b"1 x"])
async def test_garbage_ends_a_connection_and_nothing_else(
    echo: Echo, tmp_path: Path, garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.2)
    path = tmp_path / "ng.sock"
    served = NgServer([Listening.of(f"unix:{path}")], [], echo.carry_out)
    await served.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(garbage)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(PING)
    assert await reader.readexactly(len(PING)) == PING.upper()
    writer.close()
    await served.close()


async def test_an_address_that_is_taken_is_an_error_and_nothing_stays_bound(echo: Echo) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        free = free_port("127.0.0.1", socket.SOCK_DGRAM)
        places = [f"127.0.0.1:{free}", f"127.0.0.1:{taken.getsockname()[1]}"]
        served = NgServer([Listening.of(place) for place in places], [], echo.carry_out)
        with pytest.raises(OSError, match="in use"):
            await served.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", free))


@pytest.mark.parametrize(
    "text", ["127.0.0.1:2223", "[::1]:2223", "unix:/run/ng.sock", "203.0.113.9:22222"]
)
def test_a_place_is_written_as_it_is_read(text: str) -> None:
    assert str(Listening.of(text)) == text


@pytest.mark.parametrize(
    "text", ["", "2223", "127.0.0.1", "localhost:2223", "unix:ng", "1.2.3.4:0"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|address|IPv4"):
        Listening.of(text)


@pytest.mark.parametrize(
    ("places", "networks", "why"),
    [
        (["203.0.113.9:2223"], [], "no authentication"),
        (["127.0.0.1:2223", "[2001:db8::1]:2223"], [], "no authentication"),
        (["203.0.113.9:2223"], ["0.0.0.0/0"], "everybody"),
    ],
)
def test_nobody_but_proxies_may_order_calls(
    places: list[str], networks: list[str], why: str
) -> None:
    listed: list[IPNetwork] = [ip_network(network) for network in networks]
    with pytest.raises(ValueError, match=why):
        demand_safe([Listening.of(place) for place in places], listed)


def test_listed_proxies_and_this_host_are_heard() -> None:
    listed: list[IPNetwork] = [ip_network("198.51.100.7/32")]
    served = NgServer([Listening.of("203.0.113.9:2223")], listed, Echo.carry_out)  # type: ignore[arg-type]
    heard = {ip: served.admits(literal(ip)) for ip in ("198.51.100.7", "127.0.0.1", "::1")}
    assert all(heard.values())
    assert not served.admits(literal("198.51.100.8"))
    assert not served.admits(literal("2001:db8::1"))
