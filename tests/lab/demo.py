"""The main job, shown live: a call between two NATs, through a real server, with and without us."""

import argparse
import asyncio
import json
import sys
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from tests.lab.play import COMPONENTS, Caller, Stage, delivered, stage
from tests.lab.world import NatKind

ENOUGH = 0.995
WITHOUT_S = 1.5

Figures = dict[str, Any]


async def demo(options: argparse.Namespace, console: Console) -> Figures:
    """Both calls, and what came of them."""
    console.print("[bold]Setting the stage[/]: namespaces, NATs, Prosody, jingle-hnt, two phones")
    async with stage(engine=options.engine) as at:
        alice = await at.phone("alice", NatKind(options.nat_a))
        bob = await at.phone("bob", NatKind(options.nat_b))
        console.print(
            f"alice is behind a [cyan]{options.nat_a}[/] NAT, bob behind a [cyan]{options.nat_b}[/]"
            " one; their servers' address is all that either can reach\n"
        )
        figures = await relayed(at, alice, bob, options.seconds, console)
    console.print("\nThe same call with the server module unloaded:")
    async with stage(relayed=False) as at:
        alice = await at.phone("alice", NatKind(options.nat_a))
        bob = await at.phone("bob", NatKind(options.nat_b))
        without = await unrelayed(alice, bob)
    received = [direction["received"] for direction in without]
    console.print(f"  packets heard: {', '.join(map(str, received))}")
    direct = NatKind.NONE in (options.nat_a, options.nat_b)
    figures["without"] = without
    figures["ok"] = all(leg["delivered"] >= ENOUGH for leg in figures["legs"]) and (
        direct or not any(received)
    )
    return figures


async def relayed(
    at: Stage, alice: Caller, bob: Caller, seconds: float, console: Console
) -> Figures:
    """The call through the relay; the table is drawn anew twice a second."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted")
    setup_ms = 1000 * (loop.time() - started)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while loop.time() - started < seconds:
            live.update(drawn(await at.relay.calls()))
            await asyncio.sleep(0.5)
    (call,) = await at.relay.calls()
    alice.tell("quiet")
    bob.tell("quiet")
    await asyncio.sleep(0.2)
    heard = {alice: await alice.stats(), bob: await bob.stats()}
    alice.tell("hangup")
    await bob.expect("ended")
    status = await at.relay.until(lambda s: s["calls"] == 0 and s["plane"]["bindings"] == 0)
    legs = [
        figures_of(leg, component["component"], heard[party], heard[other])
        for content in call["contents"]
        for component in content["components"]
        for leg, party, other in zip(component["legs"], (alice, bob), (bob, alice), strict=True)
    ]
    return {"legs": legs, "setup_ms": round(setup_ms, 1), "ports_leased": status["ports"]["leased"]}


def figures_of(leg: Figures, component: int, own: Figures, others: Figures) -> Figures:
    """One leg: its addresses, and what of its party's media the other party heard."""
    name = COMPONENTS[component - 1]
    return {
        "leg": leg["leg"],
        "component": component,
        "signalled": leg["signalled"],
        "advertised": leg["advertised"],
        "learned": leg["learned"],
        "source_auth": leg["source_auth"],
        "sent": own[name]["sent"],
        "received": len(own[name]["numbers"]),
        "delivered": round(delivered(own[name], others[name], patience_s=0.0), 4),
    }


async def unrelayed(alice: Caller, bob: Caller) -> list[Figures]:
    """The call as it is without us."""
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted")
    await asyncio.sleep(WITHOUT_S)
    found = []
    for party in (alice, bob):
        stats = await party.stats()
        for name in COMPONENTS:
            received = len(stats[name]["numbers"])
            sent = stats[name]["sent"]
            found.append({"party": party.jid, "media": name, "sent": sent, "received": received})
    return found


def drawn(calls: list[Figures]) -> Group:
    """The live table: per leg and component what is signalled, told, learned, and how it flows."""
    table = Table(title="The call as the relay sees it", title_style="bold")
    for heading in ("leg", "media", "says it is at", "is told to send to", "really comes from"):
        table.add_column(heading)
    for heading in ("authenticated by", "latch", "in", "out"):
        table.add_column(heading, justify="right")
    for call in calls:
        for content in call["contents"]:
            for component in content["components"]:
                for leg in component["legs"]:
                    table.add_row(
                        leg["leg"],
                        COMPONENTS[component["component"] - 1],
                        ", ".join(leg["signalled"]),
                        leg["advertised"],
                        f"[green]{leg['learned']}[/]" if leg["learned"] else "-",
                        leg["source_auth"] or "-",
                        leg["latch"],
                        str(leg["received_packets"]),
                        str(leg["sent_packets"]),
                    )
    return Group(table)


def summary(figures: Figures) -> Panel:
    """What it came to, in words."""
    shares = [
        f"{leg['leg']} {COMPONENTS[leg['component'] - 1]} {leg['delivered']:.1%}"
        for leg in figures["legs"]
    ]
    lost = sum(direction["received"] for direction in figures["without"])
    text = (
        f"With jingle-hnt: call set up in {figures['setup_ms']:.0f} ms;"
        f" delivered after the first 100 ms: {', '.join(shares)}.\n"
        f"Without it: {lost} packets heard in all.\n"
        f"Ports still leased after the hang-up: {figures['ports_leased']}."
    )
    style = "green" if figures["ok"] else "red"
    return Panel(text, title="It works" if figures["ok"] else "It does NOT work", style=style)


def main() -> int:
    """Show it; exit status 0 where media went both ways with us, and not at all without."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    kinds = [kind.value for kind in NatKind]
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--seconds", type=float, default=8, help="how long the call lasts")
    parser.add_argument("--nat-a", choices=kinds, default=NatKind.PORT_RESTRICTED.value)
    parser.add_argument("--nat-b", choices=kinds, default=NatKind.SYMMETRIC.value)
    parser.add_argument("--engine", choices=("auto", "native", "reference"), default="auto")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    console.width = max(console.width, 112)  # the table needs the room, whatever the terminal
    figures = asyncio.run(demo(options, console))
    if options.json:
        print(json.dumps(figures))
    else:
        console.print(summary(figures))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
