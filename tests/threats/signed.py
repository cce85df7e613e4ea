"""Rows M whose calls can be told from an attacker: SDES keys, or ICE credentials."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from tests.threats.anchors import Call
from tests.threats.field import Attack, Field, Outcome, count_in, finished, live_ports
from tests.threats.guards import Guard, forged_checks, heard_checks, heard_media
from tests.threats.media import OTHERS, spray
from tests.threats.party import ssrc_of, stream

CALLS = 10
SHAPES = f"rtp,{OTHERS},hello,srtp"
HEARD_AFTER_S = 1.5
"""Somebody on the way needs to have heard what he repeats."""


async def m3(field: Field) -> Outcome:
    """ICE: checks of who knows the names and no password, from before the parties' own; then what
    they have sent, word for word, from elsewhere."""
    return await _attacked(field, await field.calls(CALLS, guard=Guard.ICE))


async def m4(field: Field) -> Outcome:
    """The same from a host behind the callees' NAT."""
    field.lab.neighbour("guest", of="office")
    ice = await _attacked(field, await field.calls(CALLS, guard=Guard.ICE), "guest")
    calls = await field.calls(CALLS, first=CALLS, guard=Guard.SDES)
    return _worse(ice, await _attacked(field, calls, "guest"))


async def m11(field: Field) -> Outcome:
    """SDES: what the caller has sent, word for word, and what it has still to send, with other
    tags, in its own name.

    The port-restricted NAT keeps the port, so the attacker can know it.
    """
    calls = await field.calls(1, guard=Guard.SDES)
    terms = calls[0].terms[0]
    coming = heard_media(terms, stream("a", 0), ssrc_of("a", 0), range(40, 2000, 100))
    bad = [datagram[:-1] + bytes((datagram[-1] ^ 1,)) for datagram in coming]
    words = _words([*_heard(calls[:1]), *bad])
    aimed, seconds = spray(field, [calls[0].ports[0][0]], words)
    forged = Attack([*aimed, "--pps", "10000", "--source", f"{field.home_public}:7000"])
    return await field.talk_and_then(calls, max(3.0, 10 * seconds + 2), forged)


async def m19(field: Field) -> Outcome:
    """SDES: other keys, no tags, and replays, from elsewhere and from behind the callees' NAT."""
    field.lab.neighbour("guest", of="office")
    calls = await field.calls(CALLS, guard=Guard.SDES)
    return await _attacked(field, calls, "x", "guest")


async def _attacked(field: Field, calls: Sequence[Call], *nodes: str) -> Outcome:
    ports = live_ports(calls)
    known = [d for call in calls for terms in call.terms if "own" in terms
             for d in forged_checks(terms)]  # fmt: skip
    aimed, seconds = spray(field, ports, ",".join([SHAPES, _words(known)]).strip(","))
    repeated, _ = spray(field, ports, _words(_heard(calls)))
    lasts = 2 * seconds + 3
    aimed += ["--seconds", str(lasts)]
    repeated += ["--seconds", str(lasts - 2 * HEARD_AFTER_S)]  # no longer than the calls
    replays: list[asyncio.subprocess.Process] = []

    async def repeat(starts_at: float) -> None:
        await asyncio.sleep(starts_at + HEARD_AFTER_S - time.time())
        replays.extend([await field.attack(Attack(repeated, node)) for node in nodes or ("x",)])

    attacks = [Attack(aimed, node) for node in nodes or ("x",)]
    outcome = await field.talk(calls, lasts, attacks, meanwhile=repeat)
    for process in replays:
        count_in(outcome, await finished(process))
    return outcome


def _heard(calls: Sequence[Call]) -> list[bytes]:
    """What the parties of these calls have sent in their first second."""
    found = []
    for number, call in enumerate(calls):
        for party, terms in zip("ab", call.terms, strict=True):
            if "own" in terms:
                found += heard_checks(terms)
            else:
                own, ssrc = stream(party, number), ssrc_of(party, number)
                found += heard_media(terms, own, ssrc, range(0, 40, 8))
    return found


def _words(datagrams: Iterable[bytes]) -> str:
    return ",".join(f"0x{datagram.hex()}" for datagram in datagrams)


def _worse(one: Outcome, other: Outcome) -> Outcome:
    """Both together."""
    one.sent += other.sent
    one.pps = min(one.pps, other.pps)
    one.bleed += other.bleed
    one.inject += other.inject
    one.answers += other.answers
    one.answer_bytes += other.answer_bytes
    one.live = min(one.live, other.live)
    return one
