"""The middle of calls, played over a real Prosody, real NATs and the real plane."""

import asyncio
from functools import partial
from xml.etree import ElementTree as ET

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up
from tests.lab.play import Caller, Event, Stage, in_a_call, phones, stage
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration

RATE = 50
"""RTP packets per second of a phone."""


async def heard_in(seconds: float, party: Caller, content: str = "voice") -> dict[str, int]:
    """How many packets of each component a party hears in this time."""
    before = await party.stats(content)
    await asyncio.sleep(seconds)
    after = await party.stats(content)
    return {name: len(after[name]["numbers"]) - len(before[name]["numbers"]) for name in after}


def flows(answer: Event) -> dict[str, str]:
    """What may flow of each leg of the only call, in the answer to `calls`."""
    (call,) = answer["calls"]
    components = call["contents"][0]["components"]
    return {leg["leg"]: leg["flow"] for component in components for leg in component["legs"]}


def said(name: str, event: Event) -> bool:
    """Whether a stanza that a party received holds an element of this name."""
    return any(e.tag.endswith(f"}}{name}") for e in ET.fromstring(event["xml"]).iter())


async def nothing_left(at: Stage) -> Event:
    """The status when every port is free again."""
    status = await at.relay.until(lambda s: s["ports"]["quarantined"] == s["ports"]["leased"] == 0)
    assert status["calls"] == status["plane"]["bindings"] == 0
    return status


@pytest.mark.rule("G4", "J15")
async def test_on_hold_the_holder_hears_reports_and_no_media() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        alice.tell("info", what="hold")
        await bob.expect("informed", lambda e: e["of"] == ["hold"])
        await at.relay.until(lambda a: flows(a)["responder"] == "held", command="calls")
        await asyncio.sleep(0.3)  # what was on its way
        heard = await heard_in(1.5, alice)
        assert heard["rtp"] == 0
        assert heard["rtcp"] >= 4
        await bob.hears(RATE // 2)
        alice.tell("info", what="active")
        for party in (alice, bob):
            await party.hears(RATE // 2)
        await hang_up(alice, bob)
        await nothing_left(at)


@pytest.mark.rule("G7", "J8")
async def test_video_is_added_to_a_call_and_taken_away_while_the_voice_goes_on() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        bob.tell("add", content="camera")
        await bob.expect("accepted", lambda e: e["contents"] == ["camera"])
        for party in (alice, bob):
            await party.hears(RATE // 2, "camera")
        assert (await at.relay.status())["ports"]["leased"] == 8
        bob.tell("remove", content="camera")
        await alice.expect("removed")
        status = await at.relay.until(lambda s: s["ports"]["leased"] == 4)
        assert status["calls"] == 1
        await hang_up(alice, bob)
        await assert_heard(alice, bob)
        await nothing_left(at)


async def test_both_hang_up_at_once() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        alice.tell("hangup")
        bob.tell("hangup")
        for party in (alice, bob):
            await party.expect("ended")
            assert not any("unknown-session" in stanza for stanza in party.stanzas)
        await nothing_left(at)


@pytest.mark.rule("G1", "G5")
@pytest.mark.parametrize(
    ("policy", "early", "caller_hears", "callee_hears"),
    [
        ("one-stage", "drop", False, False),
        ("two-stage", "responder", True, False),
        ("one-stage", "both", True, True),
        ("open", "drop", True, True),
    ],
)
async def test_early_media_is_a_matter_of_policy(
    policy: str, early: str, caller_hears: bool, callee_hears: bool
) -> None:
    """The callee sends from the offer on, as libpurple does, and learns the caller's address so.

    The caller knows no address of the callee before the accept; what it sends meanwhile has no
    destination, so only the callee's direction can be heard at the phones. What the caller's gate
    would let through is read off the relay.
    """
    async with stage(extra=f'[gate]\npolicy = "{policy}"\nearly_media = "{early}"') as at:
        alice, bob = await phones(at)
        bob.tell("answer", how="early")
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing")
        await asyncio.sleep(1)
        early_flows = flows(await at.relay.ask("calls"))
        assert early_flows["initiator"] == ("open" if callee_hears else "nominal")
        assert early_flows["responder"] == ("open" if caller_hears else "nominal")
        bob.tell("accept")
        await alice.expect("accepted")
        for party in (alice, bob):
            await party.hears(RATE // 2)
        await hang_up(alice, bob)
        await nothing_left(at)


@pytest.mark.rule("G3", "J4")
async def test_two_stages_refuse_before_the_callee_rings() -> None:
    async with stage(
        ("alice", "bob", "carol"),
        ports="30000-30003",
        relay_extra='exhausted = "pass"',
        extra='[gate]\npolicy = "two-stage"',
    ) as at:
        alice, bob = await in_a_call(at)
        carol = await at.phone("carol", NatKind.NONE)
        rung = len(bob.stanzas)
        carol.tell("call", to=bob.jid)
        await carol.expect("stanza", lambda e: "resource-constraint" in e["xml"])
        assert not any("session-initiate" in stanza for stanza in bob.stanzas[rung:])
        await hang_up(alice, bob)
        await assert_heard(alice, bob)
        await nothing_left(at)


@pytest.mark.rule("J10", "J14")
async def test_a_caller_that_vanishes_is_not_waited_for() -> None:
    async with stage(extra="[times]\nsilence_s = 2") as at:
        alice, bob = await in_a_call(at)
        await alice.vanish()
        await asyncio.sleep(3)
        assert (await at.relay.status())["calls"] == 1, "Bob's media still flows"
        bob.tell("quiet")
        ended = await bob.expect("ended")
        assert "timeout" in ended["xml"]
        await nothing_left(at)


@pytest.mark.rule("J17")
async def test_a_call_that_messages_announce_and_end() -> None:
    """XEP-0353: propose, ringing, proceed, the session of the same id, and a finish at the end."""

    sid = "ca3cf894-5325-482f-a412-a6e9f832298d"
    async with stage() as at:
        alice, bob = await phones(at)
        alice.tell("propose", to=bob.jid, sid=sid)
        assert (await bob.expect("proposed"))["sid"] == sid
        for name in ("ringing", "proceed"):
            await alice.expect("stanza", partial(said, name))
        assert (await bob.expect("ringing"))["sid"] == sid
        await alice.expect("accepted")
        for party in (alice, bob):
            await party.hears(RATE // 2)
        for party in (alice, bob):
            party.tell("quiet")
        finish = f'<finish xmlns="urn:xmpp:jingle-message:0" id="{sid}"/>'
        alice.tell("send", xml=f'<message type="chat" to="{bob.jid}">{finish}</message>')
        await bob.expect("stanza", partial(said, "finish"))
        await nothing_left(at)
        assert not any("session-terminate" in stanza for stanza in alice.stanzas + bob.stanzas)
