"""Row F24 of docs/threats.md: what is logged while strangers spray live ports (as in M1) and a user
floods the relay with offers, good ones and bad ones (as in X8)."""

import asyncio
import json
import sys
import time
from collections import Counter

import pytest

from tests.integration.test_abuse import GOOD, offer
from tests.integration.test_imposters import heard_out
from tests.integration.test_nat_calls import hang_up, legs
from tests.lab.play import COMPONENT, ROOT, Caller, Stage, stage
from tests.lab.world import RELAY, STRANGER, NatKind
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(900)]

FLOOD_S = 600 if doses.dose() >= 1 else 10
"""Less than a twentieth in CI: all of it is work for the machine's processors."""
PER_S, AT_ONCE, PPS = 1000, 50, 20_000
LINES_PER_S, AT_FIRST = 10, 30
"""Of each kind of line the first ten are told."""
MOST_BYTES = 10_000_000


def offers(first: int, to: str) -> str:
    """Offers that ring, that are given up at once, and with an odd candidate, in turn."""
    made = []
    for number in range(first, first + AT_ONCE):
        candidate = GOOD.replace('port="7078"', 'port="0"') if number % 3 == 2 else GOOD
        payloads = [offer(f"f{number}", candidate)]
        if number % 3 == 1:
            payloads.append(offer(f"f{number}", "", "session-terminate"))
        for part, payload in enumerate(payloads):
            made.append(f'<iq type="set" to="{to}" id="f{number}-{part}">{payload}</iq>')
    return "".join(made)


def lines_by_second(at: Stage) -> Counter[str]:
    """How many lines both processes have logged in each second."""
    return Counter(line[:19] for line in at.relay.log_text().splitlines())


async def flood(at: Stage, mallory: Caller, to: str) -> int:
    """As many offers a second as are answered, and no more than a thousand; returns how many."""
    started, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < FLOOD_S:
        mallory.events.clear()
        mallory.tell("send", xml=offers(sent, to))
        await heard_out(at, mallory, COMPONENT)
        sent += AT_ONCE
        await asyncio.sleep(max(0.0, sent / PER_S - elapsed))
    return sent


async def test_f24_floods_fill_no_log(record_property: Measured) -> None:
    async with stage(("alice", "bob", "carol", "mallory")) as at:
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        carol = await at.phone("carol", NatKind.NONE)
        carol.tell("answer", how="ring")
        mallory = await at.phone("mallory", NatKind.NONE)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        (call,) = await at.relay.calls()
        ports = {leg["advertised"].rpartition(":")[2] for leg in legs(call).values()}
        before = lines_by_second(at)
        at.lab.public("stranger", STRANGER)
        words = ["--address", RELAY, "--ports", ",".join(sorted(ports)), "--pps", str(PPS)]
        words += ["--shapes", "rtp,rtcp,stun,junk", "--seconds", str(FLOOD_S)]
        attack = [sys.executable, "-m", "tests.threats.attacker", *words]
        spraying = await asyncio.create_subprocess_exec(
            *at.lab.command("stranger", attack), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        sent = await flood(at, mallory, carol.jid)
        output, _ = await spraying.communicate()
        await hang_up(alice, bob)
        said, since = at.relay.log_text(), lines_by_second(at) - before
    per_s, most = since.total() / FLOOD_S, max(since.values())
    record_property("seconds", FLOOD_S)
    record_property("offers", sent)
    record_property("packets", json.loads(output)["sent"])
    record_property("lines_per_s", round(per_s, 2))
    record_property("most_in_a_second", most)
    record_property("kilobytes", round(len(said) / 1000, 1))
    assert "call ended unanswered" in said
    assert per_s <= LINES_PER_S
    assert most <= AT_FIRST
    assert len(said) <= MOST_BYTES
