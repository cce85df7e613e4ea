"""Sets up calls on an rtpengine by its NG protocol: ``python -m benchmarks.rtpengine CALLS A B``.

Prints the relay's ports as JSON: for each call the one that faces A and the one that faces B.
"""

import json
import re
import socket
import sys
import time

NG = ("127.0.0.1", 22222)
START_S = 15.0
PATIENCE_S = 2.0

Value = str | int | list["Value"] | dict[str, "Value"]

SDP = """\
v=0\r
o=- 1 1 IN IP4 {ip}\r
s=-\r
c=IN IP4 {ip}\r
t=0 0\r
m=audio {port} RTP/AVP 0\r
a=rtpmap:0 PCMU/8000\r
a=sendrecv\r
"""


def bencode(value: Value) -> bytes:
    """The encoding of the NG protocol."""
    match value:
        case str():
            return f"{len(value.encode())}:".encode() + value.encode()
        case int():
            return f"i{value}e".encode()
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            items = (bencode(k) + bencode(v) for k, v in sorted(value.items()))
            return b"d" + b"".join(items) + b"e"


class Client:
    """Asks one thing after the other."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(NG)
        self._socket.settimeout(PATIENCE_S)
        self._cookies = 0

    def ask(self, **request: Value) -> bytes:
        """The raw answer; asks again while nothing listens yet."""
        self._cookies += 1
        cookie = f"{self._cookies} ".encode()
        deadline = time.monotonic() + START_S
        while True:
            try:
                self._socket.send(cookie + bencode(request))
                answer = self._socket.recv(65535)
            except (ConnectionRefusedError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            if answer.startswith(cookie):
                return answer

    def port(self, **request: Value) -> int:
        """The port of the SDP in the answer."""
        answer = self.ask(**request)
        found = re.search(rb"m=audio (\d+) ", answer)
        if found is None:
            raise RuntimeError(f"rtpengine answers {answer!r}")
        return int(found[1])


def main() -> None:
    """Make the calls and print their ports."""
    calls, *addresses = int(sys.argv[1]), *sys.argv[2:]
    a, b = addresses
    client = Client()
    client.ask(command="ping")
    ports = []
    for number in range(calls):
        own = 7000 + 2 * (number % 8)
        common: dict[str, Value] = {
            "call-id": f"bench-{number}",
            "from-tag": "a",
            "flags": ["strict source"],
            "ICE": "remove",
            "replace": ["origin"],
        }
        offer = {**common, "command": "offer", "sdp": SDP.format(ip=a, port=own)}
        answer = {**common, "command": "answer", "to-tag": "b", "sdp": SDP.format(ip=b, port=own)}
        facing_b = client.port(**offer)
        ports.append((client.port(**answer), facing_b))
    print(json.dumps(ports))


if __name__ == "__main__":
    main()
