"""Rows S: where the relay must not send, whatever it is told. `bleed` counts packets of the parties
at the victim."""

import asyncio

from tests.lab.world import RELAY
from tests.threats.anchors import Refused
from tests.threats.field import (
    BYSTANDER,
    FIRST_PORT,
    Attack,
    Field,
    Outcome,
    count_in,
    finished,
    live_ports,
)
from tests.threats.media import CALLS, spray

INTERNAL = "10.1.2.3"
WATCHED = 5
"""Ports that are listened to at the victim, of the first so many calls."""
MUTE = 1e9


async def _told_to_send_to(field: Field, address: str, node: str) -> Outcome:
    """Callers signal the victim's address and are mute; the callees talk."""
    try:
        calls = await field.calls(WATCHED, caller=address)
    except Refused:
        return Outcome(notes={"refused": 1})
    seconds = field.seconds(10, 2)
    listen = ["--listen", "--seconds", str(seconds + 1)]
    victims = [
        await field.attack(Attack([*listen, "--port", str(FIRST_PORT + 2 * number)], node))
        for number in range(WATCHED)
    ]
    outcome = await field.talk(calls, seconds, late=dict.fromkeys(range(WATCHED), MUTE))
    outcome.live = 1.0  # half of it is mute
    for victim in victims:
        count_in(outcome, await finished(victim))
    for call in calls:
        await field.anchor.hang_up(call.number)
    return outcome


async def s1(field: Field) -> Outcome:
    """Candidates that are the relay's loopback, its own address, or a host of an internal network
    that it has a route to."""
    field.lab.public("inside", INTERNAL)
    total = Outcome()
    for address, node in (("127.0.0.1", "relay"), (RELAY, "relay"), (INTERNAL, "inside")):
        outcome = await _told_to_send_to(field, address, node)
        total.bleed += outcome.bleed
        total.notes[f"to_{address}"] = outcome.bleed
    return total


async def s2(field: Field) -> Outcome:
    """A candidate that is a public bystander's address."""
    return await _told_to_send_to(field, BYSTANDER, "v")


async def s3(field: Field) -> Outcome:
    """One packet forged in the bystander's name, at every port, before the parties send."""
    calls = await field.calls(WATCHED)
    for number in range(WATCHED):
        source = f"{BYSTANDER}:{FIRST_PORT + 2 * number}"
        port = str(calls[number].ports[0][0])
        forged = ["--ports", port, "--count", "50", "--pps", "50", "--source", source]
        await finished(await field.attack(Attack([*forged, "--seconds", "0.5"])))
    listen = ["--listen", "--seconds", str(field.seconds(10, 2) + 1)]
    victims = [
        await field.attack(Attack([*listen, "--port", str(FIRST_PORT + 2 * number)], "v"))
        for number in range(WATCHED)
    ]
    mute = dict.fromkeys(range(WATCHED), MUTE)
    outcome = await field.talk(calls, field.seconds(10, 2), late=mute)
    outcome.live = 1.0
    for victim in victims:
        count_in(outcome, await finished(victim))
    return outcome


async def s5(field: Field) -> Outcome:
    """Two calls whose parties are each other's ports; ten packets are thrown in. `inject` counts
    what the relay sent to itself."""
    first, second = await field.calls(2)
    towards = [((RELAY, c.ports[0][0]), (RELAY, c.ports[1][0])) for c in (first, second)]
    try:
        await field.anchor.again(first.number, towards[1], 1)
        await field.anchor.again(second.number, towards[0], 1)
    except Refused:
        return Outcome(notes={"refused": 1})
    before = await _loopback(field)
    thrown = ["--ports", str(first.ports[1][0]), "--count", "10", "--seconds", "1"]
    outcome = Outcome()
    for source in ("", f"{RELAY}:{second.ports[1][0]}"):
        forged = ["--source", source] if source else []
        count_in(outcome, await finished(await field.attack(Attack([*thrown, *forged]))))
    await asyncio.sleep(field.seconds(5, 2))
    outcome.inject = await _loopback(field) - before
    return outcome


async def s6(field: Field) -> Outcome:
    """Every shape at ports of calls that were not heard yet, and of free ones: what comes back."""
    calls = await field.calls(CALLS)
    aimed, _ = spray(field, live_ports(calls), "rtp,rtcp,four,stun,junk,empty")
    outcome = Outcome()
    count_in(outcome, await finished(await field.attack(Attack(aimed))))
    return outcome


async def _loopback(field: Field) -> int:
    """Packets that the relay's host has sent to itself."""
    words = field.lab.command("relay", ["cat", "/proc/net/dev"])
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    line = next(line for line in output.decode().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[2])
