"""Rows M18 and S8: a party sends ten times what a side of a call may (4 Mbit/s unless configured).

The party is the caller of the first call, in its own name and stream; the others are neighbours.
"""

from itertools import pairwise

from jingle_hnt.config import Relay
from tests.threats.anchors import Ours
from tests.threats.field import Field, Outcome, delivered
from tests.threats.media import CALLS
from tests.threats.party import loud_size

LIMIT_KBPS: int = Relay.model_fields["max_kbps"].default
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
