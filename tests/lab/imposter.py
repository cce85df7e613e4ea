"""A component that says what it likes, each stanza on a stream of its own, as a program.

python -m tests.lab.imposter SERVER DOMAIN SECRET < stanzas as a JSON list
"""

import asyncio
import json
import sys
from contextlib import suppress
from functools import partial

from tests.lab.xmpp_actors import Component, Disconnected, Element


class _Server:
    def __init__(self, host: str) -> None:
        self.c2s = self.component = (host, 5347)

    def log_text(self) -> str:
        return ""

    async def reload_module(self, on: bool, domain: str | None = None) -> None:
        raise RuntimeError("an imposter does not administer its server")


def _is(id_: str, element: Element) -> bool:
    return element.get("id") == id_


async def main(host: str, domain: str, secret: str) -> None:
    for number, stanza in enumerate(json.load(sys.stdin)):
        component = await Component.connect(_Server(host), domain, secret)
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        component.send(stanza)
        component.send(f"<iq type='get' id='p{number}' from='{domain}' to='{domain}'>{ping}</iq>")
        # It comes back to us, behind what we said, unless the server has had enough.
        with suppress(Disconnected, TimeoutError, ConnectionError):
            await component.next(partial(_is, f"p{number}"))
        await component.abort()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
