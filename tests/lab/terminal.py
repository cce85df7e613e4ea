"""A program that is told lines and answers each, as a person at a terminal would."""

import asyncio


class Terminal:
    """The standard streams of a script of the lab, which ends each answer with a line ``DONE``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    async def until(self, last: bytes) -> str:
        """What it says up to this line, which is left out. Raises RuntimeError where it ends."""
        said = b""
        while not said.endswith(last):
            line = await self._out.readline()
            if not line:
                raise RuntimeError(f"it ended without {last.decode().strip()}:\n{said.decode()}")
            said += line
        return said.decode().removesuffix(last.decode())

    async def ask(self, line: str) -> str:
        """The answer to a line."""
        self._in.write(f"{line}\n".encode())
        return await self.until(b"DONE\n")
