"""One who calls normally, in the NAT lab: from many accounts in turn, as one may make but so many
calls a minute; Bob is called and answers nothing.

``python -m benchmarks.alice ACCOUNTS``; for each number of seconds on standard input it calls for
so long, and says how long an offer took from its sending to its arrival, how many were not relayed,
and how many were refused.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.component import DOMAIN
from benchmarks.figures import median, percentile
from benchmarks.setup import OFFER
from benchmarks.talk import AT
from tests.lab.xmpp_actors import Client, as_text

BETWEEN_CALLS_S = 0.1
PRIVATE = "192.0.2.10"
"""What she signals, and nobody else is to see."""
PATIENCE_S = 8.0
END = "<reason><success/></reason>"


class Alice:
    """See the module's text."""

    def __init__(self, callers: Sequence[Client], bob: Client) -> None:
        self.callers, self.bob = callers, bob
        self.number = 0

    async def calls(self, seconds: float) -> dict[str, Any]:
        """Call for so long."""
        until = time.monotonic() + seconds
        times: list[float] = []
        leaked = refused = 0
        while time.monotonic() < until:
            caller = self.callers[self.number % len(self.callers)]
            self.number += 1
            began = time.perf_counter()
            came = await self._one(caller, f"call-{self.number}")
            if came is None:
                refused += 1
            else:
                times.append(1000 * (time.perf_counter() - began))
                leaked += PRIVATE in came
            await asyncio.sleep(BETWEEN_CALLS_S)
        times = times or [1000 * PATIENCE_S]
        spread = {"p50_ms": round(median(times), 2), "p99_ms": round(percentile(times, 0.99), 2)}
        return spread | {"calls": len(times), "leaked": leaked, "refused": refused}

    async def _one(self, caller: Client, sid: str) -> str | None:
        """The offer as it arrived, None where it did not; the call is ended again."""
        name = caller.request(self.bob.jid, "session-initiate", sid, OFFER)
        waits = [
            asyncio.create_task(each)
            for each in (self.bob.next_request(sid), caller.reply_to(name))
        ]
        await asyncio.wait(waits, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        came, _ = await asyncio.gather(*waits, return_exceptions=True)
        caller.inbox.clear()
        if isinstance(came, BaseException):
            return None
        self.bob.acknowledge(came)
        caller.request(self.bob.jid, "session-terminate", sid, END)
        self.bob.acknowledge(await self.bob.next_request(sid))
        return as_text(came)


async def main(accounts: int) -> None:
    """Log in, and call as told."""
    users = ["bob", *(f"alice{number}" for number in range(accounts))]
    bob, *callers = [await Client.login(AT, f"{user}@{DOMAIN}/x") for user in users]
    alice = Alice(callers, bob)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await asyncio.to_thread(sys.stdin.readline):
        sys.stdout.write(json.dumps(await alice.calls(float(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
