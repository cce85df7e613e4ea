"""Rows M18 and S8: a party sends ten times what a side of a call may (4 Mbit/s unless configured).

The party is the caller of the first call, in its own name and stream; the others are neighbours.
Row P5: strangers send as much at calls whose packets are signed.
"""

import statistics
from collections.abc import Iterable
from itertools import pairwise

from jingle_hnt.settings.model import RelayOptions
from tests.threats.anchors import Call, Ours
from tests.threats.field import Attack, Field, Outcome, delivered
from tests.threats.guards import Guard, forged_checks
from tests.threats.media import CALLS
from tests.threats.party import loud_size

LIMIT_KBPS: int = RelayOptions.model_fields["max_kbps"].default
BURST_S = 1.5
"""After the first packet: what may pass at once has passed by then."""
EXACT = 0.05
"""Of the limit: a packet on the edge of what is counted may have 64 kB."""


async def m18(field: Field) -> Outcome:
    """Packets as of video, and among them some larger than a link and as large as can be."""
    return await _loud(field, "large")


async def s8(field: Field) -> Outcome:
    """The same as a tunnel: when a little RTP has opened the way, packets of IPv4."""
    return await _loud(field, "tunnel")


async def _loud(field: Field, kind: str) -> Outcome:
    assert isinstance(field.anchor, Ours)
    calls = await field.calls(CALLS)
    field.loud = {0: kind}
    outcome = await field.talk(calls, field.seconds(60, 4), attacked=[0])
    (caller, _), (callee, _) = (side[0] for side in field.told)
    sent = caller["sent_at"]
    heard = dict(zip(callee["numbers"], callee["heard_at"], strict=True))
    begun_at, ended_at = min(heard.values()) + BURST_S, max(heard.values())
    passed = sum(loud_size(n) for n, at in heard.items() if begun_at < at <= ended_at)
    wanted, back = delivered(callee, caller)
    outcome.notes |= {
        "sent_kbps": _kbps(sum(map(loud_size, range(len(sent)))), sent[-1] - sent[0]),
        "passed_kbps": _kbps(passed, ended_at - begun_at),
        "longest_gap_ms": 1000 * max(b - a for a, b in pairwise(sorted(heard.values()))),
        "back": len(back) / len(wanted),
        "policed": 0,
        "others_policed": 0,
    }
    loud_port = calls[0].ports[0][0]
    for binding in await field.anchor.client.snapshot():
        for pinhole in binding.pinholes:
            which = "policed" if pinhole.bound.port == loud_port else "others_policed"
            outcome.notes[which] += pinhole.counters.dropped_policed
    return outcome


def _kbps(count: int, seconds: float) -> int:
    return round(count * 8 / 1000 / seconds)


def bounded(outcome: Outcome) -> bool:
    """It is cut at the limit, and goes on below it; nobody else notices."""
    notes = outcome.notes
    within = 0.5 < notes["passed_kbps"] / LIMIT_KBPS <= 1 + EXACT
    tried = notes["sent_kbps"] > 5 * LIMIT_KBPS and notes["policed"] > 0
    calm = notes["back"] >= 0.995 and outcome.neighbours >= 0.999
    return within and tried and calm and notes["others_policed"] == 0


STRANGERS_PPS, LARGE = 40_500, 1200
"""280 Mbit/s of packets as of video."""
CALM_CPU = 0.05


async def p5(field: Field) -> Outcome:
    """Strangers send 280 Mbit/s of large packets of every shape, which nothing has signed, at a
    live port of ICE and SDES calls each: what it costs, and how long other calls' packets take.

    `cpu` is what it adds, as a part of a core; `way_ms` is p50 of the calls that are not attacked.
    """
    assert isinstance(field.anchor, Ours)
    others = await field.calls(CALLS - 2)
    seconds = field.seconds(30, 4)
    quiet = await field.talk([*await _signed(field, CALLS), *others], seconds)
    quiet_ms = _way_ms(field, range(2, CALLS))
    # Agents that say nothing for 30 s have no consent any more (RFC 7675).
    calls = [*await _signed(field, CALLS + 2), *others]
    ports = ",".join(str(call.ports[0][0]) for call in calls[:2])
    named = [check.hex() for check in forged_checks(calls[0].terms[0])]
    shapes = ",".join([*["video"] * 9, "srtp", *(f"0x{check}" for check in named)])
    words = ["--ports", ports, "--shapes", shapes, "--pps", str(STRANGERS_PPS)]
    attack = Attack([*words, "--seconds", str(seconds + 1)])
    outcome = await field.talk(calls, seconds, [attack], attacked=[0, 1])
    outcome.notes |= {
        "mbps": round(outcome.notes["sent_bytes"] * 8e-6 / (seconds + 1)),
        "cpu": round(max(0.0, outcome.cpu_s - quiet.cpu_s) / seconds, 3),
        "quiet_ms": quiet_ms,
        "way_ms": _way_ms(field, range(2, CALLS)),
    }
    return outcome


async def _signed(field: Field, first: int) -> list[Call]:
    """A call of ICE agents, and one with SDES keys."""
    agents = await field.calls(1, first=first, guard=Guard.ICE)
    return agents + await field.calls(1, first=first + 1, guard=Guard.SDES)


def _way_ms(field: Field, places: Iterable[int]) -> float:
    """The median of how long RTP of these calls was under way, in milliseconds."""
    ways = []
    for sender, receiver in (field.told, field.told[::-1]):
        for place in places:
            sent_at = sender[place][0]["sent_at"]
            heard = receiver[place][0]
            ways += [
                at - sent_at[number]
                for number, at in zip(heard["numbers"], heard["heard_at"], strict=True)
            ]
    return 1000 * float(statistics.median(ways))


def cheap(outcome: Outcome) -> bool:
    """The process hardly notices, and nobody else does."""
    notes = outcome.notes
    calm = notes["cpu"] <= CALM_CPU and notes["way_ms"] <= notes["quiet_ms"] + 1.0
    nothing_leaks = outcome.bleed == outcome.inject == 0
    return nothing_leaks and calm and min(outcome.live, outcome.neighbours) >= 0.995
