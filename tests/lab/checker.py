"""The stranger that knows everything but the passwords: sprays checks of ICE agents at the ports.

Each names the agents rightly, nominates, and is signed with a guess; between them come answers and
media. Prints one JSON object when it is done.
"""

import argparse
import json
import os
import secrets
import time

from aioice import stun

from tests.lab.sprayer import _count, _listeners, shapes


def checks(usernames: list[str], count: int) -> list[bytes]:
    """So many forged messages, no two with the same transaction."""
    made = []
    for number in range(count):
        kind = stun.Class.RESPONSE if number % 8 == 0 else stun.Class.REQUEST
        message = stun.Message(stun.Method.BINDING, kind)
        if kind is stun.Class.REQUEST:
            message.attributes["USERNAME"] = usernames[number % len(usernames)]
            message.attributes["PRIORITY"] = 1
            message.attributes["ICE-CONTROLLING"] = 1
            message.attributes["USE-CANDIDATE"] = None
        message.add_message_integrity(secrets.token_bytes(16))
        made.append(bytes(message))
    return made


def main() -> None:
    """Spray as told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--ports", required=True, help="comma-separated")
    parser.add_argument("--usernames", required=True, help="comma-separated")
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    os.nice(5)  # the victim is what is measured
    ports = [int(port) for port in options.ports.split(",")]
    datagrams = [*checks(options.usernames.split(","), 1000), *shapes(seed=1)]
    listeners = _listeners()
    started = time.monotonic()
    for number in range(options.count):
        datagram = datagrams[number % len(datagrams)]
        listeners[0].sendto(datagram, (options.address, ports[number % len(ports)]))
    seconds = round(time.monotonic() - started, 3)
    answers = _count(listeners, 0.5)
    print(json.dumps({"sent": options.count, "answers": answers, "seconds": seconds}))


if __name__ == "__main__":
    main()
