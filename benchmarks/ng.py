"""CPU that a SIP call costs the signalling process, without sockets and without a plane.

    python -m benchmarks.ng [--calls N]

Each call is an offer, an answer and a delete as Kamailio sends them, from bencode to bencode,
through the front and the session core; a substitute for the plane makes bindings at once. What is
told is CPU time, so other work on the machine does not count.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from jingle_hnt.fronts.ng.front import NgFront
from jingle_hnt.relay.binding import BindingSnapshot
from tests.fronts.ng import samples
from tests.fronts.ng.proxy import Proxy

UNDER_WAY = 20


async def nothing(names: Sequence[str]) -> list[BindingSnapshot]:
    """What the plane would tell of bindings, which is its own work."""
    return []


async def measured(calls: int) -> dict[str, Any]:
    """Microseconds of CPU for each command, with `UNDER_WAY` calls going on beside."""
    proxy = Proxy(ports=(10000, 59999))
    proxy.front = NgFront(proxy.core, proxy.own, nothing, lambda: proxy.now)
    proxy.core.on_end = proxy.front.ended
    messages = {
        number: [
            samples.unsorted(make(**{"call-id": f"call-{number}"}))
            for make in (samples.offer, samples.answer, samples.delete)
        ]
        for number in range(UNDER_WAY + calls)
    }
    spent = [0.0, 0.0, 0.0]
    for number, kinds in messages.items():
        if number < UNDER_WAY:
            for message in kinds[:2]:
                await proxy.front.carry_out(message)
            continue
        for kind, message in enumerate(kinds):
            began = time.process_time()
            answer = await proxy.front.carry_out(message)
            spent[kind] += time.process_time() - began
            assert b"2:ok" in answer, answer
        proxy.drain()
        proxy.answers.clear()
        proxy.ended.clear()
    each = dict(zip(("offer", "answer", "delete"), (1e6 * s / calls for s in spent), strict=True))
    whole = sum(each.values())
    return {
        **{f"{name}_us": round(us) for name, us in each.items()},
        "call_us": round(whole),
        "calls_per_core_s": round(1e6 / whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    print(json.dumps(asyncio.run(measured(parser.parse_args().calls)), indent=1))


if __name__ == "__main__":
    main()
