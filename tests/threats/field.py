"""A field for attacks: two NATs with parties behind them, a relay, an attacker, a bystander.

home    port-restricted NAT, the callers          relay    203.0.113.9
office  symmetric NAT, the callees                x        198.51.100.66, the attacker
                                                  v        198.51.100.77, a bystander
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from bisect import bisect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.figures import cpu_s
from tests.lab.rtp import RTP_INTERVAL_S
from tests.lab.world import RELAY, STRANGER, Lab, NatKind
from tests.threats.anchors import PORTS, Anchor, Call, Seen, ours
from tests.threats.guards import Guard
from tests.threats.party import Plan
from tests.threats.theirs import theirs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BYSTANDER = "198.51.100.77"
FIRST_PORT = 7000
SETTLING_S = 0.1
"""Packets of the first moments are not counted as lost."""
ENOUGH = 40
"""A stream of fewer packets has no gaps."""
START_S = 1.0
"""From the order to talk to the first packet."""
IN_TURNS_S = RTP_INTERVAL_S / 2
"""The office talks so much later: whose packet came first is never a race."""
ANCHORS: dict[str, Callable[[Lab, float], AbstractAsyncContextManager[Anchor]]] = {
    "jingle-hnt": ours,
    "rtpengine": theirs,
}

Told = list[list[dict[str, Any]]]


@dataclass(slots=True)
class Outcome:
    """What an attack came to.

    `bleed` counts the parties' packets at the attackers and `inject` the others' packets at the
    parties; `live` is the worst direction's part of the calls' own packets that arrived after the
    first 100 ms, `neighbours` the same of the calls that were not attacked. Gaps are RTP's;
    `gap_packets` counts what was lost between two packets of the receiver's own as one.
    """

    sent: int = 0
    pps: int = 0
    bleed: int = 0
    inject: int = 0
    live: float = 1.0
    neighbours: float = 1.0
    answers: int = 0
    icmps: int = 0
    answer_bytes: int = 0
    duplicates: int = 0
    cpu_s: float = 0.0
    seen: Seen | None = None
    gap_ms: float = 0.0
    gap_packets: int = 0
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attacker's doing; `options` are those of `attacker`, `node` is where it is done."""

    options: Sequence[str]
    node: str = "x"


class Field:
    """See the module's text; made by `on`. `dose` scales counts and seconds: 1 is full.

    Where it is `rough`, what the parties send is lost, doubled, late and out of order. `loud` and
    `gone` are for callers and callees, by their call's place (see `party.Plan`); `told` is what the
    parties said last.
    """

    def __init__(self, lab: Lab, anchor: Anchor, dose: float) -> None:
        self.lab = lab
        self.anchor = anchor
        self.dose = dose
        self.rough = False
        self.loud: dict[int, str] = {}
        self.gone: dict[int, tuple[float, float]] = {}
        self.told: Sequence[Told] = ()
        self.home, self.home_public = lab.site("home", NatKind.PORT_RESTRICTED)
        self.office, self.office_public = lab.site("office", NatKind.SYMMETRIC)
        lab.public("x", STRANGER)
        lab.public("v", BYSTANDER)

    def count(self, full: int) -> int:
        """So many packets at this dose."""
        return max(1, round(full * self.dose))

    def seconds(self, full: float, least: float) -> float:
        """So long at this dose."""
        return max(least, full * self.dose)

    async def calls(
        self,
        count: int,
        first: int = 0,
        guard: Guard = Guard.NONE,
        known: tuple[str, str] | None = None,
    ) -> list[Call]:
        """Make calls between the two sites; `known` is where they signal from, by default there."""
        made = []
        at = known or (self.home_public, self.office_public)
        for number in range(first, first + count):
            port = FIRST_PORT + 2 * (number - first)
            signalled = ((self.home, port), (self.office, port))
            if guard is Guard.NONE:
                made.append(await self.anchor.call(number, signalled, at))
            else:
                made.append(await self.anchor.guarded(number, signalled, guard))
        return made

    async def again(self, call: Call, leg: int, generation: int) -> None:
        """A party of a call that `calls` made signals the same address as before once more."""
        at = FIRST_PORT + 2 * call.number
        await self.anchor.move(call.number, leg, ((self.home, self.office)[leg], at), generation)

    async def talk(
        self,
        calls: Sequence[Call],
        seconds: float,
        attacks: Sequence[Attack] = (),
        late: Mapping[int, float] | None = None,
        meanwhile: Callable[[float], Awaitable[None]] | None = None,
        attacked: Sequence[int] | None = None,
    ) -> Outcome:
        """Let the parties of these calls talk under attack.

        Attackers start at once, the parties a second later; `meanwhile` is called with the time of
        their start. `late` delays the first
        packets of callers by their place in `calls`; `attacked` are the places of the calls that
        the attack is aimed at (all).
        """
        starts_at = time.time() + START_S
        parties = [
            await self._party(node, address, own, peer, leg, calls, begins_at, seconds, late or {})
            for node, address, own, peer, leg, begins_at in (
                ("home", self.home, "a", "b", 0, starts_at),
                ("office", self.office, "b", "a", 1, starts_at + IN_TURNS_S),
            )
        ]
        attackers = [await self.attack(a) for a in attacks]
        before = cpu_s(self.anchor.pid)
        if meanwhile is not None:
            await meanwhile(starts_at)
        self.told = told = [await _told(party) for party in parties]
        spent = cpu_s(self.anchor.pid) - before
        outcome = _outcome(told, attacked)
        outcome.cpu_s = round(spent, 3)
        for attacker in attackers:
            count_in(outcome, await finished(attacker))
        outcome.seen = await self.anchor.seen()
        return outcome

    async def talk_and_then(
        self, calls: Sequence[Call], seconds: float, attack: Attack, after_s: float = 1.0
    ) -> Outcome:
        """The same with an attack that begins when the parties have talked for a while."""
        running: list[asyncio.subprocess.Process] = []

        async def begin(starts_at: float) -> None:
            await asyncio.sleep(starts_at + after_s - time.time())
            running.append(await self.attack(attack))

        outcome = await self.talk(calls, seconds, meanwhile=begin)
        for process in running:
            count_in(outcome, await finished(process))
        return outcome

    async def attack(self, attack: Attack) -> asyncio.subprocess.Process:
        """Start an attacker; `finished` tells what it did."""
        program = [sys.executable, "-m", "tests.threats.attacker", "--address", RELAY]
        words = [*program, *attack.options]
        return await asyncio.create_subprocess_exec(
            *self.lab.command(attack.node, words), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )

    async def _party(
        self,
        node: str,
        address: str,
        own: str,
        peer: str,
        leg: int,
        calls: Sequence[Call],
        starts_at: float,
        seconds: float,
        late: Mapping[int, float],
    ) -> asyncio.subprocess.Process:
        plan = Plan(
            address=address,
            first_port=FIRST_PORT,
            own=own,
            peer=peer,
            to=[[(RELAY, port) for port in call.ports[leg]] for call in calls],
            starts_at=starts_at,
            seconds=seconds,
            late={str(n): s for n, s in late.items()} if leg == 0 else {},
            rough=self.rough,
            loud={str(n): kind for n, kind in self.loud.items()} if leg == 0 else {},
            gone={str(n): times for n, times in self.gone.items()} if leg == 1 else {},
            terms=[call.terms[leg] for call in calls],
        )
        return await start_party(self.lab, node, "tests.threats.party", plan)


async def start_party(
    lab: Any, node: str, program: str, plan: object
) -> asyncio.subprocess.Process:
    """A program that takes its plan as a line of JSON, once it has said that its ports are open."""
    process = await asyncio.create_subprocess_exec(
        *lab.command(node, [sys.executable, "-m", program]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=1 << 26,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(plan).encode() + b"\n")
    await process.stdin.drain()
    assert json.loads(await process.stdout.readline())["open"]
    return process


async def _told(party: asyncio.subprocess.Process) -> Told:
    output, _ = await party.communicate()
    told: Told = json.loads(output.splitlines()[-1])
    return told


async def finished(attacker: asyncio.subprocess.Process) -> dict[str, Any]:
    """What an attacker did and heard, when it has ended."""
    output, _ = await attacker.communicate()
    told: dict[str, Any] = json.loads(output)
    return told


def count_in(outcome: Outcome, told: Mapping[str, Any]) -> None:
    """Add an attacker's account."""
    outcome.sent += told["sent"]
    outcome.pps = max(outcome.pps, round(told["sent"] / max(told["seconds"], 0.001)))
    outcome.bleed += told["media"]
    outcome.answers += told["answers"]
    outcome.icmps += told["icmps"]
    outcome.answer_bytes += told["answer_bytes"]
    sent_bytes = outcome.notes.get("sent_bytes", 0) + told["sent_bytes"]
    outcome.notes["sent_bytes"] = sent_bytes


def _outcome(told: Sequence[Told], attacked: Sequence[int] | None) -> Outcome:
    callers, callees = told
    outcome = Outcome()
    live: dict[tuple[bool, int], list[int]] = {}
    for number, (caller, callee) in enumerate(zip(callers, callees, strict=True)):
        aimed_at = attacked is None or number in attacked
        for way, (senders, receivers) in enumerate(((caller, callee), (callee, caller))):
            pairs = zip(senders, receivers, strict=True)
            for component, (sender, receiver) in enumerate(pairs):
                wanted, heard = delivered(sender, receiver)
                sums = live.setdefault((aimed_at, way), [0, 0])
                sums[0] += len(wanted)
                sums[1] += len(heard)
                outcome.inject += receiver["foreign"]
                outcome.duplicates += receiver["duplicates"]
                if component == 0:
                    outcome.gap_ms = max(outcome.gap_ms, _gap_ms(sender, receiver))
                    lost = gap_packets(sender, receiver)
                    outcome.gap_packets = max(outcome.gap_packets, lost)
    parts = {key: heard / wanted if wanted else 0.0 for key, (wanted, heard) in live.items()}
    outcome.live = min((part for (aimed, _), part in parts.items() if aimed), default=1.0)
    outcome.neighbours = min((part for (aimed, _), part in parts.items() if not aimed), default=1.0)
    return outcome


def delivered(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> tuple[set[int], set[int]]:
    """Which packets should have arrived once both had begun to send, and which of them did."""
    if not sender["sent_at"] or not receiver["sent_at"]:
        return set(), set()
    settled_at = max(sender["sent_at"][0], receiver["sent_at"][0]) + SETTLING_S
    wanted = {n for n, at in enumerate(sender["sent_at"]) if at > settled_at}
    return wanted, wanted & set(receiver["numbers"])


def _gap_ms(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> float:
    """The longest time of the sender's without a packet that arrived, to its very end."""
    sent_at = sender["sent_at"]
    if len(sent_at) < ENOUGH:
        return 0.0
    heard = [sent_at[n] for n in receiver["numbers"] if n < len(sent_at)]
    times = [*(heard or sent_at[:1]), sent_at[-1]]
    return 1000.0 * max(float(b - a) for a, b in pairwise(times))


def gap_packets(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> int:
    """The most packets in a row that did not arrive.

    Who is to be heard anew is heard with its next packet: what others sent until then counts as
    one, so that a party whose machine kept it waiting is not held against the relay.
    """
    sent_at, own_at = sender["sent_at"], receiver["sent_at"]
    if len(sent_at) < ENOUGH:
        return 0
    edges = [*(receiver["numbers"] or [-1]), len(sent_at)]
    return max(
        len({bisect(own_at, sent_at[number]) for number in range(before + 1, after)})
        for before, after in pairwise(edges)
    )


def whole_range() -> str:
    """All the relay's ports, for an attacker."""
    return f"{PORTS[0]}-{PORTS[1]}"


def live_ports(calls: Sequence[Call]) -> list[int]:
    """The relay's ports of these calls."""
    return [port for call in calls for port in call.live]


def ports_of(calls: Sequence[Call]) -> str:
    """The live ports of calls, for an attacker."""
    return ",".join(map(str, live_ports(calls)))


@contextlib.asynccontextmanager
async def on(kind: str, dose: float, linger_s: float = 30.0) -> AsyncIterator[Field]:
    """A field with a relay of this kind; everything is removed afterwards."""
    with Lab() as lab:
        lab.public("relay", RELAY)
        async with ANCHORS[kind](lab, linger_s) as anchor:
            yield Field(lab, anchor, dose)
