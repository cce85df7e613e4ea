"""What clients, NATs and servers do to a raw UDP call in its middle, in the NAT lab on the native
engine: all of it at once, each in a call of its own. Each row names what it was before."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import OTHER_DROPS, diagnose
from jingle_hnt.model.address import literal
from jingle_hnt.model.jingle import Info
from jingle_hnt.relay.evidence import Sighting, Via
from tests.lab.world import RELAY
from tests.threats import anchors
from tests.threats.changing import Call, Script, Talk
from tests.threats.doses import Measured
from tests.threats.field import SETTLING_S, Attack, Field, finished, on, start_party

pytestmark = pytest.mark.integration

SECONDS = 10.0
START_S = 1.0
STALE = "198.51.100.250"
ELSEWHERE = "2001:db8:5::5"
KEYS = 101
NEIGHBOUR_AFTER_S = 2.5
"""Who is behind the party's NAT and was there first would be taken for it (SECURITY.md)."""
LATE_S = 0.15
"""What a busy machine may add to a gap."""


def voice(begins: float, ends: float = SECONDS, **more: Any) -> Talk:
    talk: Talk = {"port": 0, "begins": begins, "ends": ends, "ssrc": 1000}
    return talk | more  # type: ignore[return-value]


@dataclass(frozen=True)
class Row:
    """A change: what the caller sends, and what signalling tells. From `since` on neither party may
    hear nothing for longer than `gap_s`, and at most `lost` packets of the caller may be lost."""

    talks: Sequence[Talk]
    gap_s: float
    lost: int
    since: float = 0.5
    ports: int = 1
    known: bool = True
    described: dict[str, Any] = field(default_factory=dict)
    seen: tuple[Sighting, ...] = ()
    moves_at: float | None = None
    resumes_at: float | None = None
    holds_at: tuple[float, ...] = ()
    rivals: bool = False
    explained: frozenset[str] = frozenset()  # causes that `explain` names


UNKNOWN_LOST = 10
"""Those of the probation, and what the callee's beginning costs."""

ROWS = {
    "a late packet of the old port, another stream at the new one": Row(
        [
            voice(0, 3),
            voice(3.1, 3.12, sequence=150),
            voice(3.05, port=1, ssrc=2000, sequence=9000),
        ],
        gap_s=1.0,
        lost=50,
        ports=2,
        moves_at=3.0,
        rivals=True,
    ),
    "muted for 4 s, then another port and stream": Row(
        [voice(0, 2), voice(6, port=1, ssrc=2000, sequence=9000)],
        gap_s=2.0,
        lost=60,
        since=6.0,
        ports=2,
        rivals=True,
    ),
    "other SSRCs without a pause": Row(
        [
            voice(0, 2),
            voice(2, 4, ssrc=2000, sequence=9000),
            voice(4, 6, ssrc=3000, sequence=100),
            voice(6, ssrc=4000, sequence=60000),
        ],
        gap_s=0.16,
        lost=15,
    ),
    "key presses of an SSRC of their own": Row(
        [
            voice(0),
            voice(0.61, 1.25, ssrc=9000, payload_type=KEYS),
            voice(4.01, 4.65, ssrc=9000, payload_type=KEYS, sequence=32),
            voice(7.01, 7.65, ssrc=9001, payload_type=KEYS),
        ],
        gap_s=0.1,
        lost=0,
        described={"events": frozenset({KEYS})},
    ),
    "retransmission and repair beside the media, of an unknown party": Row(
        [voice(0), voice(0.005, ssrc=2000), voice(0.01, ssrc=3000, sequence=65000)],
        gap_s=0.1,
        lost=3 * UNKNOWN_LOST,
        known=False,
        described={"several": True},
    ),
    "every packet twice, of an unknown party": Row(
        [voice(0, way="twice")], gap_s=0.1, lost=UNKNOWN_LOST, known=False
    ),
    "pairs swapped, of an unknown party": Row(
        [voice(0, way="swapped")], gap_s=0.1, lost=UNKNOWN_LOST, known=False
    ),
    "five reports of any SSRC from a neighbour, after a second of silence": Row(
        [
            voice(0, 3),
            voice(4.2, 4.3, port=1, ssrc=7, way="rtcp", own=False),
            voice(4.3, 4.6, port=1, ssrc=7, own=False),
            voice(5, sequence=150),
        ],
        gap_s=0.1,
        lost=0,
        since=5.0,
        ports=2,
        rivals=True,
        explained=frozenset({"rival"}),
    ),
    "reports and media of a neighbour while the call is on hold": Row(
        [
            voice(0, 3),
            voice(4.2, 4.3, port=1, ssrc=7, way="rtcp", own=False),
            voice(4.3, 6.9, port=1, ssrc=7, own=False),
            voice(7.1, sequence=150),
        ],
        gap_s=0.3,
        lost=10,
        since=7.2,
        ports=2,
        holds_at=(3.0, 7.0),
        rivals=True,
        explained=frozenset({"rival"}),
    ),
    "a neighbour's media in a mute of two seconds": Row(
        [voice(0, 3), voice(3.2, 5.2, port=1, ssrc=7, own=False), voice(5, sequence=150)],
        gap_s=0.1,
        lost=0,
        since=5.0,
        ports=2,
        rivals=True,
        explained=frozenset({"rival"}),
    ),
    "an address that a BOSH user had before": Row(
        [voice(0)],
        gap_s=0.1,
        lost=UNKNOWN_LOST,
        known=False,
        seen=(Sighting(literal(STALE), Via.BOSH, 60.0),),
    ),
    "XMPP resumed by IPv6 in mid-call, under a spray": Row(
        [voice(0)], gap_s=0.1, lost=0, resumes_at=3.0, rivals=True, explained=frozenset({"rival"})
    ),
}


async def _party(
    lab: Any, node: str, address: str, starts_at: float, calls: list[Call]
) -> asyncio.subprocess.Process:
    script = Script(address=address, starts_at=starts_at, seconds=SECONDS, calls=calls)
    return await start_party(lab, node, "tests.threats.changing", script)


def _at(number: int, row: Row) -> tuple[list[int], list[int]]:
    first = 7000 + 10 * number
    return [first + 4 * port for port in range(row.ports)], [7000 + 10 * number]


async def _calls(at: Field, rows: Sequence[Row]) -> list[anchors.Call]:
    anchor = at.anchor
    assert isinstance(anchor, anchors.Ours)
    made = []
    for number, row in enumerate(rows):
        anchor.described[number], anchor.seen_at[number] = row.described, row.seen
        mine, theirs = _at(number, row)
        signalled = (at.home, mine[0]), (at.office, theirs[0])
        known = at.home_public if row.known else "", at.office_public
        made.append(await anchor.call(number, signalled, known))
    return made


async def _signal(at: Field, rows: Sequence[Row], starts_at: float) -> None:
    """Parties announce another port, or their servers another address."""
    anchor = at.anchor
    assert isinstance(anchor, anchors.Ours)
    due: list[tuple[float, int, Callable[[], Awaitable[None]]]] = []
    for number, row in enumerate(rows):
        if row.moves_at is not None:
            to = at.home, _at(number, row)[0][1]
            due.append((row.moves_at, number, partial(anchor.move, number, 0, to, 1)))
        if row.resumes_at is not None:
            due.append((row.resumes_at, number, partial(anchor.reconnected, number, 0, ELSEWHERE)))
        for when, info in zip(row.holds_at, (Info.HOLD, Info.ACTIVE), strict=False):
            due.append((when, number, partial(anchor.informs, number, 0, info)))
    for when, _, order in sorted(due, key=lambda each: each[:2]):
        await asyncio.sleep(starts_at + when - time.time())
        await order()


def _gap_s(heard: Sequence[Sequence[Any]], begins: float, ends: float) -> float:
    times: list[float] = [begins, *(at for at, *_ in heard if begins < at < ends), ends]
    return max(b - a for a, b in pairwise(times))


def _outcome(
    row: Row, caller: dict[str, Any], callee: dict[str, Any], starts_at: float
) -> dict[str, Any]:
    """The longest time without a packet, and how many were lost, were others', or went astray."""
    settled_at = callee["sent"][0][0] + SETTLING_S  # a busy machine may begin late
    since, until = max(starts_at + row.since, settled_at), starts_at + SECONDS - 0.1
    heard = [[entry for entry in told["heard"] if entry[3]] for told in (caller, callee)]
    numbers = {number for _, number, _, _ in heard[1]}
    lost = [at for at, number, _ in caller["sent"] if number not in numbers]
    own = {talk["port"] for talk in row.talks if talk.get("own", True)}
    return {
        "gap_s": round(max(_gap_s(each, since, until) for each in heard), 3),
        "lost": sum(at >= (since if row.known else settled_at) for at in lost),
        "inject": len(callee["heard"]) - len(heard[1]),
        "bleed": sum(place not in own for _, _, place, _ in caller["heard"]),
    }


@dataclass(frozen=True)
class Played:
    """What came of rows: the outcome of each, the attackers' share, and rivals that were told of;
    `itself` are those that were the learned source."""

    outcomes: list[dict[str, Any]]
    bled: int
    itself: int


async def _play(at: Field, rows: Sequence[Row], moves_at: float | None = None) -> Played:
    """All rows at once, a call each; the callers' site may get another public address."""
    calls = await _calls(at, rows)
    starts_at = time.time() + START_S
    scripts: tuple[list[Call], list[Call]] = ([], [])
    for number, (row, call) in enumerate(zip(rows, calls, strict=True)):
        own, names = _at(number, row), (f"a{number}", f"b{number}")
        talks = list(row.talks), [voice(0, ssrc=5000)]
        for leg in (0, 1):
            to = RELAY, call.ports[leg][0]
            scripts[leg].append(
                Call(name=names[leg], peer=names[1 - leg], ports=own[leg], to=to, talks=talks[leg])
            )
    parties = [
        await _party(at.lab, "home", at.home, starts_at, scripts[0]),
        await _party(at.lab, "office", at.office, starts_at, scripts[1]),
    ]
    ports = [call.ports[0][0] for row, call in zip(rows, calls, strict=True) if row.resumes_at]
    attackers = [await at.attack(each) for each in _spray(ports, starts_at)] if ports else []
    await _signal(at, rows, starts_at)
    if moves_at is not None:
        await asyncio.sleep(starts_at + moves_at - time.time())
        await asyncio.to_thread(at.lab.move, "home")
    callers, callees = [json.loads((await p.communicate())[0].splitlines()[-1]) for p in parties]
    bled = sum([(await finished(attacker))["media"] for attacker in attackers])
    assert isinstance(at.anchor, anchors.Ours)
    rivals = at.anchor.rivals
    learned: dict[tuple[str, int], object] = {}
    bindings = {binding.name: binding for binding in await at.anchor.client.snapshot()}
    for binding in bindings.values():
        learned |= {(binding.name, n): p.learned for n, p in enumerate(binding.pinholes)}
    outcomes = []
    for number, row in enumerate(rows):
        outcome = _outcome(row, callers[number], callees[number], starts_at)
        outcome["rivals"] = sum(r.name.startswith(f"t{number + 1}.") for r in rivals)
        session = at.anchor.registry.find(f"t{number + 1}")
        assert session is not None
        case = Case(snapshots.call(session, bindings, time.monotonic()))
        outcome["explained"] = sorted({finding.cause for finding in diagnose(case)})
        outcomes.append(outcome)
    return Played(outcomes, bled, sum(r.source == learned.get((r.name, r.side)) for r in rivals))


def _spray(ports: Sequence[int], starts_at: float) -> list[Attack]:
    spray = ["--ports", ",".join(map(str, ports)), "--pps", "4000", "--seconds", str(SECONDS)]
    later = ["--starts-at", str(starts_at + NEIGHBOUR_AFTER_S)]
    return [Attack(spray, "x"), Attack([*spray, *later], "home")]


def _is_met(row: Row, outcome: dict[str, Any]) -> bool:
    most = {"gap_s": row.gap_s + LATE_S, "lost": row.lost, "inject": 0, "bleed": 0}
    most["rivals"] = 2 * SECONDS * row.rivals
    # What came before a callee that a busy machine keeps waiting is a finding of its own.
    is_told = set(outcome["explained"]) - {OTHER_DROPS} == row.explained
    return is_told and all(outcome[figure] <= most[figure] for figure in most)


@pytest.mark.alone
async def test_a_call_follows_its_parties(record_property: Measured) -> None:
    async with on("jingle-hnt", 1.0) as at:
        played = await _play(at, list(ROWS.values()))
    outcomes = dict(zip(ROWS, played.outcomes, strict=True))
    for name, outcome in outcomes.items():
        record_property(name, outcome)
    assert {n: outcome for n, outcome in outcomes.items() if not _is_met(ROWS[n], outcome)} == {}
    assert played.bled == 0
    assert played.itself == 0, "no source is called a rival of itself"


@pytest.mark.alone
@pytest.mark.parametrize("widen_v4", [24, 32])
async def test_a_carriers_pool_gives_a_flow_another_address(widen_v4: int) -> None:
    """Where the operator has said that the pool is the user's."""
    row = Row([voice(0)], gap_s=2.0, lost=100)
    async with on("jingle-hnt", 1.0) as at:
        assert isinstance(at.anchor, anchors.Ours)
        policy = at.anchor.registry.policy
        peers = replace(policy.peers, widen_v4=widen_v4)
        at.anchor.registry.policy = replace(policy, peers=peers)
        played = await _play(at, [row], moves_at=3.0)
    assert _is_met(row, played.outcomes[0]) is (widen_v4 == 24), played
