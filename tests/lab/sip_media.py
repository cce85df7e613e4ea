"""A phone's media: sends a marked stream where it is told to, and counts what it hears of whom.

    python -m tests.lab.sip_media --address IP --port N --stream NAME --told FILE

The last line of FILE (``ip port``) says where to send, or nowhere (``- -``); sipp writes it there
when it has read a description. On each line of standard input it prints what was sent and heard, as
JSON.
"""

import argparse
import asyncio
import json
import sys
import zlib
from collections import Counter
from pathlib import Path

from tests.lab.rtp import Component, mark

LOOK_S = 0.02


class Line(Component):
    """A component that counts packets by whose they are; `foreign` are of nobody."""

    def __init__(self, name: str, control: bool) -> None:
        super().__init__(name.encode().ljust(16, b"\0"), zlib.crc32(name.encode()), control)
        self.of: Counter[str] = Counter()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = mark(data)
        if found is None:
            self.heard.foreign += 1
        else:
            self.of[found[0].rstrip(b"\0").decode(errors="replace")] += 1
            self.heard.sources[addr[0], addr[1]] += 1


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stream", required=True)
    parser.add_argument("--told", type=Path, required=True)
    return parser.parse_args()


async def main() -> None:
    options = parsed()
    components = [Line(options.stream, control) for control in (False, True)]
    for number, component in enumerate(components):
        await component.open(options.address, options.port + number)
    watching = asyncio.create_task(follow(options.told, components))
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"event": "ready"}), flush=True)
    while await reader.readline():
        print(json.dumps([told(component) for component in components]), flush=True)
    watching.cancel()


async def follow(path: Path, components: list[Line]) -> None:
    """Send where the file says, as often as it says something else."""
    before = ""
    while True:
        text = path.read_text() if path.exists() else ""  # noqa: ASYNC240 - a line of a local file
        if text != before and text.endswith("\n"):
            before = text
            ip, port = text.split("\n")[-2].split()
            for number, component in enumerate(components):
                if ip == "-":
                    component.stop()
                else:
                    component.start((ip, int(port) + number))
        await asyncio.sleep(LOOK_S)


def told(component: Line) -> dict[str, object]:
    """What this component sent, and what it heard, by whose it was."""
    return {
        "sent": len(component.sent_at),
        "heard": dict(component.of),
        "foreign": component.heard.foreign,
        "sources": [f"{ip}:{port}" for ip, port in component.heard.sources],
    }


if __name__ == "__main__":
    asyncio.run(main())
