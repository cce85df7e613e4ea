"""A STUN server for the lab: tells who asks from where it was heard (RFC 8489 section 7)."""

import asyncio
import sys
from typing import cast

from aioice import stun


class Server(asyncio.DatagramProtocol):
    """Answers Binding requests, and nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        self._transport.sendto(bytes(answer), addr)


async def serve(address: str) -> None:
    """Serve on port 3478 until ended."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Server, local_addr=(address, 3478))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
