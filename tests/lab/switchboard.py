"""Many calls that go on, in one program: pairs of phones which talk until they are told otherwise.

Like `caller.py` it takes JSON lines on standard input and writes JSON lines on standard output, so
that `play.Caller` can drive it. Each packet is numbered: what is lost is known to the packet.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.lab.caller import say
from tests.lab.crowd import Party, connect, crowd, endpoint
from tests.lab.xmpp_actors import Client

TICK_S = 0.02
TICKS_OF_RTP, TICKS_OF_RTCP = 5, 50
"""A party speaks once in so many ticks; the parties take turns, so that none is crowded."""
PATIENCE_S = 40.0
LOGINS_AT_ONCE = 10
ARRIVING_S = 3.0
"""How long what is under way is waited for."""
Pair = tuple[Party, Party]
Direction = tuple[int, int]
"""Whose packets (the number of a party) on which component (0 or 1)."""


class Switchboard:
    """See the module's text."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.server = endpoint(options.server)
        self.domain = options.jid.partition("@")[2].partition("/")[0]
        self.parties: list[Party] = []
        self.sent: Counter[Direction] = Counter()
        self.since: dict[Direction, int] = {}
        self.speaking: set[Direction] = set()

    async def run(self) -> None:
        """Log everybody in, then do as told."""
        options = self.options
        coming = crowd(
            self.server, self.domain, options.address, options.pairs, at_once=LOGINS_AT_ONCE
        )
        self.parties = [party async for party in coming]
        say("online")
        talking = asyncio.create_task(self._talk())
        try:
            await self._obey()
        finally:
            talking.cancel()

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            if command["do"] == "quit":
                return
            say(command["do"], **await self._carry_out(command))

    async def _carry_out(self, command: dict[str, Any]) -> dict[str, object]:
        pairs = list(self._pairs())[command.get("first", 0) : command.get("last")]
        async with asyncio.timeout(PATIENCE_S):
            match command["do"]:
                case "call":
                    await self._call(pairs, command["sid"])
                case "heard":
                    await self._all_heard(self._directions(pairs))
                case "mark":
                    self.since = {key: self.sent[key] for key in self.speaking}
                case "account":
                    return await self._account()
                case "hangup":
                    await self._hang_up(pairs, command["sid"])
                case "ended":
                    self._hush(pairs)
                    parties = [party for pair in pairs for party in pair]
                    await asyncio.gather(*(each.told("session-terminate") for each in parties))
                case "again":
                    await self._again(pairs, command["sid"])
                case "quiet":
                    self._hush(pairs)
        return {"calls": len(pairs)}

    def _pairs(self) -> Iterator[Pair]:
        return zip(self.parties[::2], self.parties[1::2], strict=True)

    # Calls

    async def _call(self, pairs: Sequence[Pair], sid: str) -> None:
        """Make these calls, and let their parties talk until everybody has been heard."""
        address = self.options.address
        await asyncio.gather(
            *(connect(*pair, address, f"{sid}{number_of(pair)}") for pair in pairs)
        )
        directions = self._directions(pairs)
        self.speaking |= directions
        await self._all_heard(directions)

    async def _all_heard(self, directions: set[Direction]) -> None:
        """Wait until something that is said from now on has come of everybody."""
        before = {key: self.sent[key] for key in directions}
        while any(  # noqa: ASYNC110
            max(self._heard(key), default=-1) < n for key, n in before.items()
        ):
            await asyncio.sleep(TICK_S)

    def _directions(self, pairs: Sequence[Pair]) -> set[Direction]:
        return {
            (party.number, component)
            for pair in pairs
            for party in pair
            for component in range(len(party.ears))
        }

    def _hush(self, pairs: Sequence[Pair]) -> None:
        self.speaking -= self._directions(pairs)

    def _heard(self, key: Direction) -> Counter[int]:
        """The numbers that a party's peer has heard of it, and how often."""
        number, component = key
        return self.parties[number ^ 1].ears[component].heard[number]

    async def _hang_up(self, pairs: Sequence[Pair], sid: str) -> None:
        """Callers and callees hang up in turn, and the other is told."""
        self._hush(pairs)
        reason, waiting = "<reason><success/></reason>", []
        for pair in pairs:
            n = number_of(pair)
            one, other = pair if n % 2 else pair[::-1]
            one.client.request(other.client.jid, "session-terminate", f"{sid}{n}", reason)
            waiting.append(other.told("session-terminate"))
        await asyncio.gather(*waiting)

    async def _again(self, pairs: Sequence[Pair], sid: str) -> None:
        """One of each pair comes online anew, and hangs up; the other has not come back."""
        self._hush(pairs)
        for pair in pairs:
            n = number_of(pair)
            one, other = pair if n % 2 else pair[::-1]
            with contextlib.suppress(ConnectionError):
                await one.client.abort()
            one.client = await Client.login(self.server, one.client.jid)
            reason = "<reason><success/></reason>"
            one.client.request(other.client.jid, "session-terminate", f"{sid}{n}", reason)

    # Media

    async def _talk(self) -> None:
        """Everybody who is in a call speaks on both components, evenly spread over time."""
        loop = asyncio.get_running_loop()
        tick, due = 0, loop.time()
        while True:
            for number, component in self.speaking:
                every = (TICKS_OF_RTP, TICKS_OF_RTCP)[component]
                if (tick + number) % every == 0:
                    self.parties[number].say_on(component, self.sent[number, component])
                    self.sent[number, component] += 1
            tick += 1
            due = max(due + TICK_S, loop.time() - 1)
            await asyncio.sleep(due - loop.time())

    async def _account(self) -> dict[str, object]:
        """What became of the packets since the mark."""
        wanted = {key: set(range(n, self.sent[key])) for key, n in self.since.items()}
        deadline = asyncio.get_running_loop().time() + ARRIVING_S
        while True:
            lost = sum(len(each.difference(self._heard(key))) for key, each in wanted.items())
            if not lost or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(TICK_S)
        ears = [(party.number ^ 1, ear) for party in self.parties for ear in party.ears]
        return {
            "least": min(map(len, wanted.values())),
            "sent": sum(map(len, wanted.values())),
            "lost": lost,
            "foreign": sum(ear.packets_of_others(peer) for peer, ear in ears),
        }


def number_of(pair: Pair) -> int:
    """The place of a pair among all; it ends the call's session id."""
    return pair[0].number // 2


def main() -> None:
    """Run until told to quit, or until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jid", required=True, help="its domain is everybody's")
    parser.add_argument("--server", required=True, help="IP:PORT")
    parser.add_argument("--address", required=True, help="the address to offer")
    parser.add_argument("--port", help="not used: each socket takes one of the system's choice")
    parser.add_argument("--pairs", type=int, required=True)
    asyncio.run(Switchboard(parser.parse_args()).run())


if __name__ == "__main__":
    main()
