"""What we add to a call's set-up: the same offers through the same server, with us and without.

Two Prosody servers run side by side on loopback, one with the module and jingle-hnt behind it. The
time is from the caller's sending of the session-initiate to its arrival at the callee; offers go to
the two in turns, so that the machine's moods hit both.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.figures import machine, median, percentile
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import Client

DOMAIN, COMPONENT, SECRET = "example.org", "hnt.example.org", "hush"
START_S = 10.0
OFFER = (
    '<content creator="initiator" name="voice">'
    '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio">'
    '<payload-type id="0" name="PCMU" clockrate="8000"/></description>'
    '<transport xmlns="urn:xmpp:jingle:transports:raw-udp:1">'
    '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="7078"/>'
    '<candidate component="2" generation="0" id="b" ip="192.0.2.10" port="7079"/>'
    "</transport></content>"
)
CONFIGURATION = """\
[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "{server[0]}:{server[1]}"
secret_file = "{directory}/secret"
[relay]
interfaces = [{{ address = "127.0.0.1", advertise = "203.0.113.9" }}]
ports = "20000-29999"
quarantine_s = 0
[state]
directory = "{directory}"
runtime_directory = "{directory}"
[log]
level = "error"
[limits]
per_minute = 0
"""

Figures = dict[str, Any]


@contextlib.asynccontextmanager
async def relay(server: Prosody) -> AsyncIterator[None]:
    """jingle-hnt behind a server, up when this is entered."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        values = {"component": COMPONENT, "domain": DOMAIN, "server": server.component}
        text = CONFIGURATION.format(directory=directory, **values)
        configuration = directory / "jingle-hnt.toml"
        await asyncio.to_thread(configuration.write_text, text)
        await asyncio.to_thread((directory / "secret").write_text, SECRET)
        command = [sys.executable, "-m", "jingle_hnt"]
        process = await asyncio.create_subprocess_exec(
            *command, "run", "--config", str(configuration)
        )
        try:
            await _until_ready([*command, "status", "--config", str(configuration)])
            yield
        finally:
            process.terminate()
            await process.wait()


async def _until_ready(status: list[str]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        asked = await asyncio.create_subprocess_exec(
            *status, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if await asked.wait() == 0:
            return
    raise TimeoutError("jingle-hnt is not ready")


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
        async with relay(with_us):
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
        "benchmark": "setup",
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
    """Measure as told and print; returns the figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench setup", description=__doc__)
    parser.add_argument("--offers", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between offers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.offers, options.pause))
    if options.json:
        print(json.dumps(figures))
        return figures
    print(f"{options.offers} offers each, from sending to arrival, in milliseconds")
    for name in ("with_ms", "without_ms", "added_ms"):
        title = name.removesuffix("_ms")
        print(f"  {title:8} p50 {figures[name]['p50']:8.2f}   p99 {figures[name]['p99']:8.2f}")
    return figures
