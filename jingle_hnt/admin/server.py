"""The administrator's local socket: one JSON line asks, one JSON line answers.

``{"command": "status"}`` is answered by the model of that command, or by ``{"error": "..."}``.
Only the user that the process runs as, and root, may ask; the kernel vouches for who asks.
"""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

from jingle_hnt.admin.commands import Served
from jingle_hnt.process.local_socket import is_trusted, owner_only

MAX_REQUEST = 64 * 1024


class AdminServer:
    """Serves `commands` on a socket of mode 0600. After `start` you must `close` it."""

    def __init__(self, path: Path, commands: Iterable[Served]) -> None:
        self._path = path
        self._commands = {one.command.name: one for one in commands}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take over the path; the caller has made sure that no other instance lives."""
        self._path.unlink(missing_ok=True)
        with owner_only():
            self._server = await asyncio.start_unix_server(
                self._connected, self._path, limit=MAX_REQUEST
            )

    async def close(self) -> None:
        """Stop serving and drop the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if is_trusted(writer):
                await self._converse(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the limit: the rest cannot be framed any more
                writer.write(_error(f"a request is one JSON line of at most {MAX_REQUEST} bytes"))
                return
            if not line:
                return
            writer.write(await self._answer(line))
            await writer.drain()

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error("a request is one JSON object on one line")
        name = request.get("command") if isinstance(request, dict) else None
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            known = ", ".join(sorted(self._commands))
            return _error(f"unknown command; this process knows: {known}")
        try:
            answer = await command.run(request)
        except ValueError as error:
            return _error(str(error))
        return answer.model_dump_json().encode() + b"\n"


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode() + b"\n"
