"""Many parties of one network: marked media of each of its calls, sent and counted.

Reads one JSON object from stdin (see `Plan`), says ``{"open": true}`` when its ports are open,
sends from `starts_at` on, and prints what it sent and heard when the time is over.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, TypedDict

from tests.lab.rtp import Component

AFTER_S = 0.4
"""How long packets that are under way are waited for."""


class Plan(TypedDict):
    """Calls by number: `own` and `peer` name the streams, `to` holds where RTP and RTCP go.

    Times are CLOCK_REALTIME seconds. `late` (by call, 0 if missing) delays a party's first packet.
    """

    address: str
    first_port: int
    own: str
    peer: str
    to: list[list[tuple[str, int]]]
    starts_at: float
    seconds: float
    late: dict[str, float]


class Party:
    """One call's components."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        ssrc = 1000 * (1 + (plan["own"] > plan["peer"])) + number
        self.components = [
            Component(stream(plan["own"], number), ssrc, control) for control in (False, True)
        ]

    async def open(self) -> None:
        """Bind both ports."""
        for component, sink in enumerate(self.components):
            sink.heard.expected = stream(self.plan["peer"], self.number)
            port = self.plan["first_port"] + 2 * self.number + component
            await sink.open(self.plan["address"], port)

    async def talk(self) -> None:
        """Send until the time is over; nothing where the first packet would be later than that."""
        late = self.plan["late"].get(str(self.number), 0.0)
        if late >= self.plan["seconds"]:
            await asyncio.sleep(self.plan["starts_at"] + self.plan["seconds"] - time.time())
            return
        await asyncio.sleep(self.plan["starts_at"] + late - time.time())
        for sink, (host, port) in zip(self.components, self.plan["to"][self.number], strict=True):
            sink.start((host, port))
        await asyncio.sleep(self.plan["starts_at"] + self.plan["seconds"] - time.time())
        for sink in self.components:
            sink.stop()

    def told(self) -> list[dict[str, Any]]:
        """What each component sent and heard."""
        return [
            {
                "sent_at": sink.sent_at,
                "numbers": sorted(sink.heard.numbers),
                "duplicates": sink.heard.numbers.total() - len(sink.heard.numbers),
                "foreign": sink.heard.foreign,
            }
            for sink in self.components
        ]


def stream(name: str, number: int) -> bytes:
    """The mark of one party's packets in one call."""
    return f"{name}{number}".encode().ljust(16, b"\0")[:16]


def say(value: object) -> None:
    """One line for who started us."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def run(plan: Plan) -> Sequence[object]:
    """All calls of a plan."""
    parties = [Party(plan, number) for number in range(len(plan["to"]))]
    for party in parties:
        await party.open()
    say({"open": True})
    await asyncio.gather(*(party.talk() for party in parties))
    await asyncio.sleep(AFTER_S)
    return [party.told() for party in parties]


if __name__ == "__main__":
    say(asyncio.run(run(json.loads(sys.stdin.readline()))))
