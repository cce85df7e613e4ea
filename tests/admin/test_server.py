"""The administrator's socket: what it answers, and what it survives."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from jingle_hnt.admin.commands import Served
from jingle_hnt.admin.server import MAX_REQUEST, AdminServer
from jingle_hnt.model.commands import Command


class Greeting(BaseModel):
    text: str


async def greet(request: Mapping[str, object]) -> Greeting:
    if "name" not in request:
        raise ValueError("say a name, as in {'name': 'Alice'}")
    return Greeting(text=f"hello {request['name']}")


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "admin.sock"
    server = AdminServer(path, [Served(Command("greet", "Greet"), greet)])
    await server.start()
    yield path
    await server.close()


async def ask(path: Path, *lines: bytes) -> list[dict[str, object]]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"".join(lines))
    writer.write_eof()
    answers = [json.loads(line) for line in (await reader.read()).splitlines()]
    writer.close()
    await writer.wait_closed()
    return answers


async def test_one_line_asks_and_one_line_answers(path: Path) -> None:
    request = b'{"command": "greet", "name": "Alice"}\n'
    assert await ask(path, request, request) == [{"text": "hello Alice"}] * 2


@pytest.mark.parametrize(
    ("request_line", "part"),
    [
        (b"garbage\n", "one JSON object"),
        (b"[1, 2]\n", "knows: greet"),
        (b'{"command": 7}\n', "knows: greet"),
        (b'{"command": "explode"}\n', "knows: greet"),
        (b'{"command": "greet"}\n', "say a name"),
        (b"[" * 60_000 + b"\n", "one JSON object"),
    ],
)
async def test_bad_requests_are_answered_in_words_and_lose_nothing(
    path: Path, request_line: bytes, part: str
) -> None:
    good = b'{"command": "greet", "name": "Bob"}\n'
    bad, after = await ask(path, request_line, good)
    assert part in str(bad["error"])
    assert after == {"text": "hello Bob"}


async def test_a_request_without_end_costs_one_connection_only(path: Path) -> None:
    (answer,) = await ask(path, b"x" * (2 * MAX_REQUEST))
    assert "at most" in str(answer["error"])
    assert await ask(path, b'{"command": "greet", "name": "Bob"}\n') == [{"text": "hello Bob"}]


def test_only_its_owner_may_open_the_socket(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_close_drops_who_is_connected_and_leaves_no_socket(path: Path) -> None:
    server = AdminServer(path, [Served(Command("greet", "Greet"), greet)])
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "greet", "name": "Eve"}\n')
    assert await reader.readline() == b'{"text":"hello Eve"}\n'
    await server.close()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(path)
