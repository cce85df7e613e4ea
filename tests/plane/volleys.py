"""A process of its own that fires datagrams at ports until its standard input ends.

It is told ``{"relay": host, "hosts": [...], "ports": [...], "datagrams": [hex]}``, and answers
with the address of each host's socket.
"""

import contextlib
import json
import random
import select
import socket
import sys

VOLLEY, PAUSE_S = 64, 0.001


def main() -> None:
    """Fire."""
    told = json.loads(sys.stdin.readline())
    datagrams = [bytes.fromhex(datagram) for datagram in told["datagrams"]]
    with contextlib.ExitStack() as stack:
        sockets = []
        for host in told["hosts"]:
            made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.bind((host, 0))
            made.setblocking(False)
            sockets.append(made)
        sys.stdout.write(json.dumps([made.getsockname() for made in sockets]) + "\n")
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            for _ in range(VOLLEY):
                made = random.choice(sockets)
                made.sendto(random.choice(datagrams), (told["relay"], random.choice(told["ports"])))
                with contextlib.suppress(BlockingIOError):
                    made.recv(2048)


if __name__ == "__main__":
    main()
