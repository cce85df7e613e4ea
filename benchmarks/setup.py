"""What we add to a call's set-up: the same offers through the same server, with us and without.

Two Prosody servers run side by side on loopback, one with the module and jingle-hnt behind it. The
time is from the caller's sending of the session-initiate to its arrival at the callee; offers go to
the two in turns, so that the machine's moods hit both.
"""

import argparse
import asyncio
import time
from typing import Any

from benchmarks.component import COMPONENT, DOMAIN, SECRET, component
from benchmarks.figures import machine, median, percentile, table
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import Client

OFFER = (
    '<content creator="initiator" name="voice">'
    '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
    '<payload-type id="0" name="PCMU" clockrate="8000"/></description>'
    '<transport xmlns="urn:xmpp:jingle:transports:raw-udp:1">'
    '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="7078"/>'
    '<candidate component="2" generation="0" id="b" ip="192.0.2.10" port="7079"/>'
    "</transport></content>"
)
Figures = dict[str, Any]


async def one(caller: Client, callee: Client, sid: str) -> float:
    """Seconds from the offer's sending to its arrival; the call is ended again."""
    started = time.perf_counter()
    caller.request(callee.jid, "session-initiate", sid, OFFER)
    await callee.next_request(sid)
    lasted = time.perf_counter() - started
    caller.request(callee.jid, "session-terminate", sid, "<reason><success/></reason>")
    await callee.next_request(sid)
    return lasted


async def measure(offers: int, pause_s: float) -> Figures:
    """So many offers through each server, in turns."""
    users = {"alice": "secret", "bob": "secret"}
    secrets = {COMPONENT: SECRET}
    with (
        Prosody([VirtualHost(DOMAIN, users, component=COMPONENT)], secrets) as with_us,
        Prosody([VirtualHost(DOMAIN, users)], secrets) as without,
    ):
        async with component(with_us):
            pairs = [
                (
                    await Client.login(server, f"alice@{DOMAIN}/phone"),
                    await Client.login(server, f"bob@{DOMAIN}/desk"),
                )
                for server in (with_us, without)
            ]
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(offers + 5):
                for kept, (caller, callee) in zip(times, pairs, strict=True):
                    lasted = await one(caller, callee, f"call-{number}")
                    if number >= 5:  # the first ones warm everything up
                        kept.append(1000 * lasted)
                await asyncio.sleep(pause_s)
            for pair in pairs:
                for client in pair:
                    await client.close()
    ours, plain = times
    return {
        "machine": machine(),
        "offers": offers,
        "with_ms": {"p50": round(median(ours), 3), "p99": round(percentile(ours, 0.99), 3)},
        "without_ms": {"p50": round(median(plain), 3), "p99": round(percentile(plain, 0.99), 3)},
        "added_ms": {
            "p50": round(median(ours) - median(plain), 3),
            "p99": round(percentile(ours, 0.99) - percentile(plain, 0.99), 3),
        },
    }


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench setup", description=__doc__)
    parser.add_argument("--offers", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between offers")
    options = parser.parse_args(arguments)
    return asyncio.run(measure(options.offers, options.pause))


def rows(figures: Figures) -> str:
    """The table of the set-up times."""
    times = {"with jingle-hnt": "with_ms", "without": "without_ms", "added": "added_ms"}
    return table(
        ("an offer, sent to received", "p50 ms", "p99 ms"),
        [
            (title, f"{figures[name]['p50']:.2f}", f"{figures[name]['p99']:.2f}")
            for title, name in times.items()
        ],
    )
