"""Rows M: other people's media at the attacker, the attacker's at the parties, and whether the
calls live through it. A row takes a field and returns what came of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.threats.anchors import Call, Ours
from tests.threats.field import (
    Attack,
    Field,
    Outcome,
    count_in,
    finished,
    live_ports,
    ports_of,
    whole_range,
)

CALLS = 20
OTHERS = "rtcp,four,stun,junk,empty"
RULE = Path(__file__).parents[2] / "config" / "nftables" / "jingle-hnt.nft"
RECONNECT_S = 0.5
PPS = 100_000
"""What the attacker sends, if the machine lets it: the parties need some of it, too."""


def spray(field: Field, ports: Sequence[int], shapes: str = "rtp") -> tuple[list[str], float]:
    """10^5 packets for each of these ports (full dose): the options, and how long it takes."""
    count = field.count(100_000 * len(ports))
    words = ["--ports", ",".join(map(str, ports)), "--shapes", shapes]
    return [*words, "--count", str(count), "--pps", str(PPS)], count / PPS


async def m1(field: Field, shapes: str = "rtp") -> Outcome:
    """From before the offer the whole range, then every live port until the calls end."""
    range_ = ["--ports", whole_range(), "--shapes", shapes, "--pps", "50000"]
    scanning = await field.attack(Attack([*range_, "--count", str(field.count(100_000))]))
    calls = await field.calls(CALLS)
    aimed, seconds = spray(field, live_ports(calls), shapes)
    outcome = await field.talk(calls, seconds + 1, [Attack(aimed)])
    count_in(outcome, await finished(scanning))
    return outcome


async def m2(field: Field) -> Outcome:
    """The same with RTCP, four bytes, STUN, junk, nothing, and the largest datagram."""
    return await m1(field, OTHERS)


async def m6(field: Field) -> Outcome:
    """The callers' first packets are late: up to half the call; every live port is sprayed."""
    calls = await field.calls(CALLS)
    aimed, seconds = spray(field, live_ports(calls))
    late = {n: (0.0, 0.1, 1.0, seconds / 2)[n % 4] for n in range(CALLS)}
    return await field.talk(calls, seconds + 1, [Attack(aimed)], late)


async def m7(field: Field) -> Outcome:
    """After the latch."""
    calls = await field.calls(CALLS)
    aimed, seconds = spray(field, live_ports(calls), f"rtp,{OTHERS}")
    return await field.talk_and_then(calls, seconds + 2, Attack(aimed))


async def m8(field: Field) -> Outcome:
    """The parties signal their addresses again and again, as on hold and in re-offers."""
    calls = await field.calls(CALLS)
    aimed, seconds = spray(field, live_ports(calls), f"rtp,{OTHERS}")

    async def signal_again(starts_at: float) -> None:
        for generation in range(1, 4):
            await asyncio.sleep(max(0.0, starts_at + generation - time.time()))
            for call in calls:
                await field.again(call, generation % 2, generation)

    return await field.talk(calls, seconds + 4, [Attack(aimed)], meanwhile=signal_again)


async def m9(field: Field) -> Outcome:
    """RTCP and four bytes at the RTCP ports, before and after the latch."""
    calls = await field.calls(CALLS)
    ports = [leg[1] for call in calls for leg in call.ports]
    aimed, seconds = spray(field, ports, "rtcp,four")
    return await field.talk(calls, seconds + 2, [Attack(aimed)])


async def m10(field: Field) -> Outcome:
    """In the caller's name, its latched address and port, blind to its SSRC.

    The port-restricted NAT keeps the port, so the attacker can know it.
    """
    calls = await field.calls(1)
    aimed, seconds = spray(field, [calls[0].ports[0][0]])
    forged = Attack([*aimed, "--pps", "10000", "--source", f"{field.home_public}:7000"])
    return await field.talk_and_then(calls, max(3.0, 10 * seconds + 2), forged)


async def m12(field: Field, attacks: bool = False) -> Outcome:
    """A NAT forgets its mappings in mid-call: the same address, other ports, the old ones silent.

    `gap_ms` is the longest time without a packet in either direction, the healing.
    """
    calls = await field.calls(CALLS)
    seconds = field.seconds(30, 6)
    aimed = Attack(["--ports", ports_of(calls), "--seconds", str(seconds), "--pps", str(PPS)])

    async def remap(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 2 - time.time())
        await asyncio.to_thread(field.lab.remap, "home")

    return await field.talk(calls, seconds, [aimed] if attacks else [], meanwhile=remap)


async def m13(field: Field) -> Outcome:
    """The callers' site gets another public address, and their clients reconnect from there.

    Until they have, nobody is told of the new address: RECONNECT_S of the gap are theirs.
    """
    calls = await field.calls(CALLS)
    seconds = field.seconds(30, 6)
    aimed = Attack(["--ports", ports_of(calls), "--seconds", str(seconds), "--pps", str(PPS)])

    async def move(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 2 - time.time())
        there = await asyncio.to_thread(field.lab.move, "home")
        await asyncio.sleep(RECONNECT_S)
        for call in calls:
            await field.anchor.reconnected(call.number, 0, there)

    return await field.talk(calls, seconds, [aimed], meanwhile=move)


async def m14(field: Field) -> Outcome:
    """The same while every live port is sprayed."""
    return await m12(field, attacks=True)


def facing(calls: Sequence[Call]) -> str:
    """The ports that face the callers."""
    return ",".join(str(port) for call in calls for port in call.ports[0])


async def m21(field: Field) -> Outcome:
    """In the callers' name from another port, two datagrams a second at each port that faces them,
    from before their first packets and through the call."""
    calls = await field.calls(CALLS)
    seconds = field.seconds(30, 6)
    options = ["--ports", facing(calls), "--pps", str(4 * CALLS), "--seconds", str(seconds + 1)]
    forged = Attack([*options, "--source", f"{field.home_public}:7777"])
    return await field.talk(calls, seconds, [forged])


async def m22(field: Field, remap: Callable[[], Awaitable[None]] | None = None) -> Outcome:
    """M12 while somebody behind the callers' NAT sprays the ports that face them, from 2 s on."""

    async def forget() -> None:
        await asyncio.to_thread(field.lab.remap, "home")

    calls = await field.calls(CALLS)
    seconds = field.seconds(30, 9)
    shapes = f"rtp,{OTHERS}"
    options = ["--ports", facing(calls), "--seconds", str(seconds - 2), "--shapes", shapes]
    neighbours: list[asyncio.subprocess.Process] = []

    async def spray_and_remap(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 3 - time.time())
        neighbours.append(await field.attack(Attack([*options, "--pps", "20000"], "home")))
        await asyncio.sleep(starts_at + 5 - time.time())
        await (remap or forget)()

    outcome = await field.talk(calls, seconds, meanwhile=spray_and_remap)
    for neighbour in neighbours:
        count_in(outcome, await finished(neighbour))
    return outcome


async def e1(field: Field) -> Outcome:
    """The whole range from before the calls on, one stream of RTP at each port; nothing is known of
    the parties but private addresses."""
    if isinstance(field.anchor, Ours):
        await field.anchor.watch()
    seconds = field.seconds(30, 8)
    options = ["--ports", whole_range(), "--pps", "4000", "--seconds", str(seconds + 6)]
    spraying = await field.attack(Attack(options))
    await asyncio.sleep(3.0)
    calls = await field.calls(CALLS, known=("", ""))
    outcome = await field.talk(calls, seconds)
    count_in(outcome, await finished(spraying))
    return outcome


async def f28(field: Field) -> Outcome:
    """M22, and the plane is killed in the moment in which the NAT forgets its mappings."""
    anchor = field.anchor
    assert isinstance(anchor, Ours)

    async def crash_and_remap() -> None:
        await asyncio.gather(anchor.crash(), asyncio.to_thread(field.lab.remap, "home"))

    return await m22(field, crash_and_remap)


async def m20(field: Field) -> Outcome:
    """M1 with DTLS hellos that offer null ciphers only, from before the parties' first packets."""
    return await m1(field, "hello")


async def m15(field: Field) -> Outcome:
    """Calls one after the other at once, while everybody who was ever told a port sends on to it.

    `inject` counts stale packets that reached a later call, `bleed` what of one reached who had
    left.
    """
    total = Outcome()
    rounds, stale_s = max(2, field.count(50)), field.seconds(20, 4)
    stale: list[asyncio.subprocess.Process] = []
    for number in range(rounds):
        calls = await field.calls(CALLS, first=number * CALLS)
        outcome = await field.talk(calls, 1.5)
        total.inject += outcome.inject
        total.live = min(total.live, outcome.live)
        ports = ports_of(calls)
        for call in calls:
            await field.anchor.hang_up(call.number)
        options = ["--ports", ports, "--pps", "4000", "--seconds", str(stale_s)]
        for node in ("home", "office"):
            stale.append(await field.attack(Attack(options, node)))
    for process in stale:
        count_in(total, await finished(process))
    total.notes["calls"] = rounds * CALLS
    return total


async def m16(field: Field) -> Outcome:
    """50 kpps, then as much as the attacker can send, at one live port; its call, its neighbours,
    our CPU."""
    calls = await field.calls(CALLS)
    seconds = field.seconds(30, 3)
    quiet = await field.talk(calls, seconds)
    options = ["--ports", str(calls[0].ports[0][0]), "--seconds", str(seconds)]
    first = await field.talk(calls, seconds, [Attack([*options, "--pps", "50000"])], attacked=[0])
    flooded = await field.talk(calls, seconds, [Attack(options)], attacked=[0])
    flooded.bleed += first.bleed
    flooded.inject += first.inject
    flooded.live = min(first.live, flooded.live)
    flooded.neighbours = min(first.neighbours, flooded.neighbours)
    most_s = max(first.cpu_s, flooded.cpu_s)
    flooded.notes["cpu_more"] = round(most_s / max(quiet.cpu_s, 0.001) - 1, 3)
    return flooded


async def m17(field: Field) -> Outcome:
    """A scan of the whole range tells live ports from free ones by nothing that comes back.

    Our rule is loaded, which is for the ports that the kernel answers for.
    """
    if field.anchor.name == "jingle-hnt":
        field.lab.filter("relay", RULE)
    calls = await field.calls(CALLS)
    options = ["--ports", whole_range(), "--shapes", f"rtp,{OTHERS}", "--pps", "20000"]
    scan = Attack([*options, "--count", str(max(5000, field.count(100_000)))])
    return await field.talk(calls, 3, [scan])


async def s6(field: Field) -> Outcome:
    """What comes back from live ports, whatever a stranger sends."""
    calls = await field.calls(CALLS)
    aimed, seconds = spray(field, live_ports(calls), f"rtp,{OTHERS},large")
    return await field.talk(calls, min(seconds, 20) + 1, [Attack([*aimed, "--seconds", "20"])])


async def f5(field: Field) -> Outcome:
    """The plane is killed in mid-call, and started again as our supervisor does."""
    anchor = field.anchor
    assert isinstance(anchor, Ours)
    calls = await field.calls(CALLS)

    async def crash(starts_at: float) -> None:
        await asyncio.sleep(starts_at + 2 - time.time())
        await anchor.crash()

    return await field.talk(calls, 5, meanwhile=crash)
