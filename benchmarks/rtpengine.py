"""rtpengine as a benchmark's relay: Debian's daemon in userspace, driven over its NG protocol.

NG is a cookie and a bencoded dictionary in one UDP datagram each way (rtpengine's documentation,
"The NG control protocol").
"""

import asyncio
import contextlib
import re
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.generator import PORT
from benchmarks.network import CLIENTS, RELAY, Network

CONTROL = ("127.0.0.1", 2223)
START_S = 10.0
ANSWER_S = 0.5
TRIES = 6
NOTHING_ELSE = ("--config-file=none", "--log-level=3", "--log-stderr", "--foreground")

Value = str | int | list[Any] | dict[str, Any]


def bencode(value: Value) -> bytes:
    """Bencoding as BitTorrent's BEP 3 has it, with text in UTF-8."""
    match value:
        case int():
            return b"i%de" % value
        case str():
            data = value.encode()
            return b"%d:%b" % (len(data), data)
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            items = sorted(value.items())
            return b"d" + b"".join(bencode(key) + bencode(item) for key, item in items) + b"e"


def bdecode(data: bytes) -> Value:
    """The value of these bytes; raises ValueError where they are not one."""
    value, rest = _value(data)
    if rest:
        raise ValueError(f"bytes after the bencoded value: {rest[:20]!r}")
    return value


def _value(data: bytes) -> tuple[Value, bytes]:
    kind = data[:1]
    if kind == b"i":
        number, _, rest = data[1:].partition(b"e")
        return int(number), rest
    if kind in (b"l", b"d"):
        items, rest = [], data[1:]
        while rest[:1] != b"e":
            item, rest = _value(rest)
            items.append(item)
        if kind == b"l":
            return items, rest[1:]
        return dict(zip(map(str, items[::2]), items[1::2], strict=True)), rest[1:]
    length, colon, rest = data.partition(b":")
    if not colon or len(rest) < int(length):
        raise ValueError(f"not bencoded: {data[:20]!r}")
    return rest[: int(length)].decode(), rest[int(length) :]


class Rtpengine:
    """A running daemon. `call` makes calls whose parties are the network's two clients."""

    name = "rtpengine"

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control

    async def calls(self, count: int) -> tuple[list[int], list[int]]:
        """Make so many calls; returns the relay's ports that face client 0, and client 1."""
        return await asyncio.to_thread(self._calls, count)

    def _calls(self, count: int) -> tuple[list[int], list[int]]:
        pairs = [self._call(f"call-{number}") for number in range(count)]
        return [mine for mine, _ in pairs], [yours for _, yours in pairs]

    def _call(self, name: str) -> tuple[int, int]:
        """Offer and answer: the answer tells the caller's port, the offer the callee's."""
        common: dict[str, Value] = {
            "call-id": name,
            "from-tag": "caller",
            "flags": ["strict source"],
            "replace": ["origin"],
            "ICE": "remove",
        }
        offer = self.ask({"command": "offer", "sdp": _sdp(CLIENTS[0]), **common})
        answer = self.ask(
            {"command": "answer", "to-tag": "callee", "sdp": _sdp(CLIENTS[1]), **common}
        )
        return _port(answer), _port(offer)

    def delete(self, count: int) -> None:
        """End the first so many calls at once."""
        for number in range(count):
            named: dict[str, Value] = {"call-id": f"call-{number}", "from-tag": "caller"}
            self.ask({"command": "delete", "delete-delay": 0, **named})

    def ask(self, order: dict[str, Value]) -> dict[str, Any]:
        """One order and its answer, repeated under the same cookie while none comes.

        Raises TimeoutError, or RuntimeError with the daemon's own words.
        """
        cookie = secrets.token_hex(8).encode()
        for _ in range(TRIES):
            self._control.send(cookie + b" " + bencode(order))
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                while True:
                    came, _, body = self._control.recv(65536).partition(b" ")
                    if came == cookie:
                        return _granted(order, bdecode(body))
        raise TimeoutError(f"rtpengine does not answer {order['command']}")


def _granted(order: dict[str, Value], answer: Value) -> dict[str, Any]:
    if not isinstance(answer, dict) or answer.get("result") not in ("ok", "pong"):
        raise RuntimeError(f"rtpengine refuses {order['command']}: {answer}")
    return answer


def _sdp(address: str) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {PORT} RTP/AVP 0\r\n"
    )


def _port(answer: dict[str, Any]) -> int:
    found = re.search(r"^m=audio (\d+) ", answer["sdp"], re.MULTILINE)
    if found is None:
        raise RuntimeError(f"rtpengine answers without a port: {answer}")
    return int(found.group(1))


@contextlib.asynccontextmanager
async def rtpengine(network: Network, threads: int | None = None) -> AsyncIterator[Rtpengine]:
    """The daemon in the relay's namespace, with as many threads as it starts by itself or as told.

    It learns endpoints from the first packet, as our relay does, rather than after three seconds.
    """
    words = ["rtpengine", *NOTHING_ELSE, "--table=-1", f"--interface={RELAY}"]
    words += [f"--listen-ng={CONTROL[0]}:{CONTROL[1]}", "--endpoint-learning=immediate"]
    words += ["--port-min=10000", "--port-max=59999"]
    words += [] if threads is None else [f"--num-threads={threads}"]
    with tempfile.TemporaryFile() as log, network.udp_socket(network.relay) as control:
        control.settimeout(ANSWER_S)
        control.connect(CONTROL)
        process = await asyncio.create_subprocess_exec(
            *network.command(network.relay, words), stdout=log, stderr=log
        )
        try:
            relay = Rtpengine(process.pid, control)
            await until_ready(relay, process)
            yield relay
        except BaseException as error:
            log.seek(0)
            error.add_note("rtpengine: " + log.read()[-2000:].decode(errors="replace"))
            raise
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until_ready(relay: Rtpengine, process: asyncio.subprocess.Process) -> None:
    """Wait for the first answer; raises TimeoutError where none comes."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            await asyncio.to_thread(relay.ask, {"command": "ping"})
            return
        except TimeoutError:
            if process.returncode is not None or time.monotonic() > deadline:
                raise
