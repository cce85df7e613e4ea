"""Hostile and broken stanzas through a real server, and a stranger at the media ports."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up, legs, talk
from tests.lab.play import ROOT, Caller, Stage, stage
from tests.lab.world import RELAY, STRANGER, NatKind
from tests.threats.doses import Measured

RAW_UDP = "urn:xmpp:jingle:transports:raw-udp:1"
GOOD = '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="7078"/>'

PORTS_OF_A_CALL = 4
"""RTP and RTCP, towards either party."""

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("either_server")]


@pytest.fixture
async def at() -> AsyncIterator[Stage]:
    async with stage(("alice", "bob", "mallory")) as made:
        yield made


def offer(sid: str, candidates: str, action: str = "session-initiate", extra: str = "") -> str:
    """A <jingle/> with one audio content."""
    return (
        f'<jingle xmlns="urn:xmpp:jingle:1" action="{action}" sid="{sid}"{extra}>'
        '<content creator="initiator" name="voice">'
        '<description xmlns="urn:xmpp:jingle:apps:rtp:1" media="audio"/>'
        f'<transport xmlns="{RAW_UDP}">{candidates}</transport></content></jingle>'
    )


async def ask(sender: Caller, recipient: Caller, payload: str, name: str) -> str:
    """Send a request, and return the answer that comes back for it."""
    iq = f'<iq type="set" to="{recipient.jid}" id="{name}">{payload}</iq>'
    sender.tell("send", xml=iq)
    answer = await sender.expect("stanza", lambda e: f'id="{name}"' in e["xml"])
    return str(answer["xml"])


END = (
    '<jingle xmlns="urn:xmpp:jingle:1" action="session-terminate" sid="{}">'
    "<reason><success/></reason></jingle>"
)

BROKEN = {
    "port-0": '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="0"/>',
    "port-99999": '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="99999"/>',
    "port-words": '<candidate component="1" generation="0" id="a" ip="192.0.2.10" port="many"/>',
    "host-name": '<candidate component="1" generation="0" id="a" ip="evil.example" port="9"/>',
    "octal": '<candidate component="1" generation="0" id="a" ip="0177.0.0.1" port="9"/>',
    "no-ip": '<candidate component="1" generation="0" id="a" port="9"/>',
    "no-port": '<candidate component="1" generation="0" id="a" ip="192.0.2.10"/>',
    "component-300": '<candidate component="300" generation="0" id="a" ip="192.0.2.1" port="9"/>',
}


@pytest.mark.rule("J3")
async def test_broken_offers_arrive_without_what_is_broken_and_harm_nobody(at: Stage) -> None:
    """Every candidate is replaced by ours, whatever it was."""
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
    bob = await at.phone("bob", NatKind.SYMMETRIC)
    bob.tell("answer", how="ring")
    for name, candidates in {**BROKEN, "many": GOOD * 1000}.items():
        await ask(alice, bob, offer(name, candidates), f"broken-{name}")
        (came,) = [s for s in bob.stanzas if f'sid="{name}"' in s]
        assert came.count(":candidate ") == came.count(f'ip="{RELAY}"') == 2, name
        await ask(alice, bob, END.format(name), f"end-{name}")
    status = await at.relay.until(lambda s: s["calls"] == 0)
    assert status["ports"]["leased"] == 0
    bob.tell("answer", how="accept")
    status = await at.relay.status()
    assert status["calls"] == status["ports"]["leased"] == 0
    await talk(alice, bob, seconds=1)
    await assert_heard(alice, bob)
    assert "Traceback" not in at.relay.log_text()


@pytest.mark.rule("J1", "J2", "J5", "J6")
async def test_who_is_no_party_changes_nothing(at: Stage, record_property: Measured) -> None:
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
    bob = await at.phone("bob", NatKind.SYMMETRIC)
    mallory = await at.phone("mallory", NatKind.NONE)
    alice.tell("call", to=bob.jid, sid="secret")
    await alice.expect("accepted")
    await asyncio.sleep(0.5)
    (before,) = await at.relay.calls()
    for number, action in enumerate(("session-accept", "transport-info", "content-add")):
        payload = offer("secret", GOOD.replace('"0"', '"9"'), action)
        mallory.tell("send", xml=f'<iq type="set" to="{bob.jid}" id="m{number}">{payload}</iq>')
    await mallory.expect("stanza", lambda e: 'id="m2"' in e["xml"])
    refusals = [s for s in mallory.stanzas if 'type="error"' in s and 'id="m' in s]
    assert len(refusals) == 3
    assert all("item-not-found" in s and "unknown-session" in s for s in refusals)
    (after,) = await at.relay.calls()
    for key, leg in legs(after).items():
        assert leg["learned"] == legs(before)[key]["learned"]
    status = await at.relay.status()
    assert status["ports"]["leased"] == PORTS_OF_A_CALL
    record_property("refused", len(refusals))
    record_property("calls", status["calls"])
    record_property("ports", status["ports"]["leased"])
    await hang_up(alice, bob)
    await assert_heard(alice, bob)
    assert "Traceback" not in at.relay.log_text()


async def spray(at: Stage, ports: list[int], count: int) -> dict[str, float]:
    """What the stranger sent, and what came back."""
    command = [sys.executable, "-m", "tests.lab.sprayer", "--address", RELAY]
    command += ["--ports", ",".join(map(str, ports)), "--count", str(count)]
    process = await asyncio.create_subprocess_exec(
        *at.lab.command("stranger", command), stdout=asyncio.subprocess.PIPE, cwd=Path(ROOT)
    )
    output, _ = await process.communicate()
    found: dict[str, float] = json.loads(output)
    return found


@pytest.mark.timeout(180)
@pytest.mark.rule("L6", "L7", "L10")
async def test_a_stranger_at_the_live_ports_is_neither_forwarded_nor_answered(at: Stage) -> None:
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
    bob = await at.phone("bob", NatKind.SYMMETRIC)
    at.lab.public("stranger", STRANGER)
    bob.tell("answer", how="ring")
    alice.tell("call", to=bob.jid)
    await bob.expect("ringing")
    (call,) = await at.relay.calls()
    ports = sorted(int(leg["advertised"].rpartition(":")[2]) for leg in legs(call).values())
    before = await spray(at, ports, 34_000)
    alice.tell("hangup")
    await bob.expect("ended")

    bob.tell("answer", how="accept")
    after = len(alice.events)
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted", after=after)
    (call,) = await at.relay.calls()
    ports = sorted(int(leg["advertised"].rpartition(":")[2]) for leg in legs(call).values())
    during = await spray(at, ports, 33_000)
    later = await spray(at, ports, 33_000)
    (call,) = await at.relay.calls()
    await hang_up(alice, bob)
    await assert_heard(alice, bob)
    assert before["sent"] + during["sent"] + later["sent"] >= 100_000
    assert before["answers"] == during["answers"] == later["answers"] == 0
    for leg in legs(call).values():
        assert leg["learned"].rpartition(":")[0] != STRANGER
        assert leg["dropped"].get("stranger", 0) == 0  # none reached the process
        assert leg["dropped"]["kernel"] > 10_000
