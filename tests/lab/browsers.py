"""A call between two browsers, from its beginning to its end, with what users do in the middle.

Run as a program (`scripts/browsers`) it plays all pairs of browsers in both modes and prints what
was seen, as a table; with `--record` it is what docs/clients.md shows.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.lab import play
from tests.lab.browser_phone import PROGRAMS, missing
from tests.lab.play import Caller, Event, Stage, stage
from tests.lab.world import RELAY, NatKind

PATIENCE_S = 120.0
"""How long a browser may take for one thing, whatever else is running."""
ENOUGH = {"audio": 25, "video": 10}
"""So many packets more show that media flows: half a second of audio, a second of video."""
ENGINES = tuple(PROGRAMS)
MODES = ("append", "terminate")
RECORD = Path(__file__).parent / "browser" / "measured.md"
"""What was measured last; `scripts/conformance.py` puts it into docs/clients.md."""
RECORDED = """\
`scripts/browsers --record` measured this on {day} with {browsers}.

{table}
"""


@dataclass(slots=True)
class Seen:
    """What was seen of one call: the browsers, and how many seconds each step took."""

    agents: dict[str, str] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)


async def call(caller: str, callee: str, mode: str, seen: Seen) -> None:
    """Play one call, all STEPS of it, between users behind symmetric NATs.

    One is logged in over WebSocket and the other over BOSH. Raises AssertionError or TimeoutError
    where a step does not end with media that grows at both ends through the relay.
    """
    async with stage(extra=f'[ice]\nmode = "{mode}"', web=True) as at:
        alice, bob = await asyncio.gather(
            _phone(at, "alice", caller, "websocket"), _phone(at, "bob", callee, "bosh")
        )
        for engine, party in ((caller, alice), (callee, bob)):
            agent = (await party.expect("online"))["agent"].split()
            seen.agents[engine] = next(a for a in agent if re.search("Chrome/|Firefox/", a))
        try:
            for name, step in STEPS.items():
                began = time.monotonic()
                await step(at, alice, bob)
                seen.steps[name] = time.monotonic() - began
            after = len(bob.events)
            alice.tell("hangup")
            await _expect(bob, "ended", after)
            await at.relay.until(lambda status: status["calls"] == 0)
        except (TimeoutError, AssertionError) as error:
            error.add_note(_last_words(alice, bob) + at.relay.log_text()[-3000:])
            raise


async def _phone(at: Stage, user: str, engine: str, over: str) -> Caller:
    address, public = at.lab.site(user, NatKind.SYMMETRIC)
    program, extra = "tests.lab.browser_phone", ("--engine", engine, "--over", over)
    return await at.phone_at(
        user, user, address, public, extra=extra, program=program, patience_s=PATIENCE_S
    )


# Steps


async def _start(at: Stage, alice: Caller, bob: Caller) -> None:
    alice.tell("call", to=bob.jid)
    for party in (alice, bob):
        await _expect(party, "connected")
    await _media(alice, bob, "audio")


async def _mute(at: Stage, alice: Caller, bob: Caller) -> None:
    for on, told in ((True, "mute"), (False, "unmute")):
        await _inform(alice, bob, "mute", on, told)
        await _media(alice, bob, "audio")


async def _hold(at: Stage, alice: Caller, bob: Caller) -> None:
    """Who holds sends nothing meanwhile, not even silence, and is sent nothing."""
    await _inform(alice, bob, "hold", True, "hold")
    await _inform(alice, bob, "hold", False, "resumed")
    await _media(alice, bob, "audio")


async def _restart(at: Stage, alice: Caller, bob: Caller) -> None:
    """New credentials at both ends, and at the relay both come from new sockets."""

    async def ends() -> list[str]:
        (known,) = await at.relay.calls()
        legs = known["contents"][0]["components"][0]["legs"]
        return [*(await _stats(alice))["credentials"], *(leg["learned"] for leg in legs)]

    before = now = await ends()
    alice.tell("restart")
    deadline = time.monotonic() + PATIENCE_S
    while any(one == other for one, other in zip(before, now, strict=True)):
        assert time.monotonic() < deadline, f"credentials and sources were {before}, are {now}"
        await asyncio.sleep(0.2)
        now = await ends()
    await _media(alice, bob, "audio")


async def _refusal(at: Stage, alice: Caller, bob: Caller) -> None:
    """The caller answers a content-add as stanza.js does: with a reject that names no content."""
    alice.tell("refuse")
    after = len(bob.events)
    bob.tell("add")
    await _expect(bob, "refused", after)
    await _media(alice, bob, "audio")


async def _camera(at: Stage, alice: Caller, bob: Caller) -> None:
    """The callee turns its camera on, and the caller follows."""
    after = len(alice.events), len(bob.events)
    bob.tell("add")
    for party, index in ((alice, after[0]), (bob, after[1])):
        await _expect(party, "added", index)
    await _media(alice, bob, "audio", "video")


STEPS: dict[str, Callable[[Stage, Caller, Caller], Awaitable[None]]] = {
    "audio": _start,
    "mute": _mute,
    "hold": _hold,
    "restart": _restart,
    "refusal": _refusal,
    "callee's camera": _camera,
}
"""Each ends with media that grows at both ends, through the relay."""


async def _inform(by: Caller, other: Caller, do: str, on: bool, told: str) -> None:
    after = len(other.events)
    by.tell(do, on=on)
    said = await _expect(other, "informed", after)
    assert said["of"] == told


async def _expect(party: Caller, event: str, after: int = 0) -> Event:
    """The next event of this name; fails at once where the call or the browser fails."""
    ends = {"failed", "ended", "offline"} - {event}
    wanted = "|".join((event, *ends))
    said = await party.expect(wanted, after=after, patience_s=PATIENCE_S)
    assert said["event"] == event, f"{party.jid} waits for {event}: {said}"
    return said


async def _stats(party: Caller) -> Event:
    after = len(party.events)
    party.tell("stats")
    return await _expect(party, "stats", after)


async def _media(one: Caller, other: Caller, *kinds: str) -> None:
    """Wait until both have heard more; who sends to them is the relay."""
    for party in (one, other):
        before = now = await _stats(party)
        wanted = {kind: now["heard"].get(kind, 0) + ENOUGH[kind] for kind in kinds}
        deadline = time.monotonic() + PATIENCE_S
        # A browser may know no pair for a moment, while it goes from one to another.
        while "far" not in now or any(now["heard"].get(k, 0) < wanted[k] for k in wanted):
            assert time.monotonic() < deadline, f"{party.jid} is at {now}, was at {before}"
            await asyncio.sleep(0.1)
            now = await _stats(party)
        assert now["far"]["address"] == RELAY, f"{party.jid} goes past us: {now}"


def _last_words(*parties: Caller) -> str:
    """What the parties said in the end, for the message of a failing call."""
    said = [(p.jid, e) for p in parties for e in p.events]
    lines = [f"{jid}: {event}" for jid, event in said]
    return "\n".join(lines) + "\n"


# As a program


async def _play(callers: list[str], callees: list[str], modes: list[str]) -> tuple[str, bool]:
    """Print a row for each pair and mode; returns the record, and whether all was well."""
    names = list(STEPS)
    rows = ["| mode | caller | callee | " + " | ".join(names) + " |"]
    rows.append("| --- " * (3 + len(names)) + "|")
    print(*rows, sep="\n")
    agents: dict[str, str] = {}
    errors = []
    for mode in modes:
        for caller in callers:
            for callee in callees:
                seen = Seen()
                try:
                    await call(caller, callee, mode, seen)
                except (TimeoutError, AssertionError) as error:
                    errors.append((mode, caller, callee, error))
                agents |= seen.agents
                cells = [f"{seen.steps[n]:.1f} s" if n in seen.steps else "no" for n in names]
                rows.append(f"| {mode} | {caller} | {callee} | " + " | ".join(cells) + " |")
                print(rows[-1], flush=True)
    browsers = " and ".join(sorted(agents.values()))
    print("\n" + browsers)
    for mode, caller, callee, failure in errors:
        print(f"\n{mode} {caller} {callee}: {failure!r}", file=sys.stderr)
        print(*getattr(failure, "__notes__", ()), sep="\n", file=sys.stderr)
    day = datetime.now(UTC).date().isoformat()
    table = "\n".join(rows)
    return RECORDED.format(day=day, browsers=browsers, table=table), not errors


def main() -> None:
    """All pairs in both modes, or those that are named."""
    parser = argparse.ArgumentParser(prog="scripts/browsers", description=__doc__)
    parser.add_argument("--caller", choices=ENGINES, action="append")
    parser.add_argument("--callee", choices=ENGINES, action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--server", choices=play.SERVERS, default="prosody")
    parser.add_argument("--record", action="store_true", help="have docs/clients.md show it")
    options = parser.parse_args()
    if why := missing():
        sys.exit(why)
    play.in_use = play.SERVERS[options.server]
    engines = list(ENGINES)
    record, well = asyncio.run(
        _play(options.caller or engines, options.callee or engines, options.mode or list(MODES))
    )
    if options.record and well:
        RECORD.write_text(record)
        print("recorded; `python -m scripts.conformance` puts it into docs/clients.md")
    sys.exit(not well)


if __name__ == "__main__":
    main()
