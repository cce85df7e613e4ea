"""Calls that are not ours to end: that ring for long, have no media of ours, or went on without us.

At the full dose (see `tests/threats/doses.py`) a phone rings for longer than the two minutes of the
default `times.setup_s`.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_call_plays import nothing_left
from tests.integration.test_do_no_harm import relay
from tests.integration.test_ice_calls import TAKING_PART, TRIES, past_us
from tests.integration.test_nat_calls import hang_up
from tests.lab import play
from tests.lab.play import COMPONENT, DOMAIN, ROOMS, SECRET, Caller, Stage, stage
from tests.lab.server import VirtualHost
from tests.lab.world import NatKind
from tests.lab.xmpp_actors import JINGLE, Client, Element
from tests.threats import doses

pytestmark = pytest.mark.integration

ROOM = f"lounge@{ROOMS}"
SETUP_S = doses.seconds(120, least=1) if doses.dose() == 1 else 1
IMPATIENT = f"[times]\nsetup_s = {SETUP_S}\nfirst_media_s = 1\nsilence_s = 1"
"""Every time by which a call of ours would end is over as soon as it can be."""
LONG_S = SETUP_S + 2.0
AGENTS_WAIT_S = 15.0
"""An agent that has no path gives up after half a minute, whatever is trickled later."""


def assert_not_ended(*parties: Caller) -> None:
    """Nobody was told that the call is over."""
    for party in parties:
        assert not any("session-terminate" in stanza for stanza in party.stanzas)


@asynccontextmanager
async def ringing(
    transport: str, extra: str, kind: NatKind = NatKind.SYMMETRIC, in_room: bool = False
) -> AsyncIterator[tuple[Stage, Caller, Caller]]:
    """Alice calls Bob, who takes his time."""
    mode = "" if transport == "raw-udp" else f'[ice]\nmode = "{transport}"\n'
    async with stage(rooms=True, extra=mode + extra) as at:
        make = at.phone if transport == "raw-udp" else at.ice_phone
        words = ("--room", ROOM)
        alice, bob = await make("alice", kind, *words), await make("bob", kind, *words)
        bob.tell("answer", how="ring")
        alice.tell("call", to=f"{ROOM}/bob" if in_room else bob.jid)
        await bob.expect("ringing")
        yield at, alice, bob


async def talk(alice: Caller, bob: Caller) -> None:
    """Bob answers, and both hear each other."""
    bob.tell("accept")
    await alice.expect("accepted")
    await hear(alice, bob)


async def hear(*parties: Caller) -> None:
    """Each hears the other."""
    for party in parties:
        await party.hears(20)


@pytest.mark.timeout(400)
@pytest.mark.rule("J14")
@pytest.mark.parametrize(
    ("transport", "in_room"),
    [("raw-udp", False), (IceMode.APPEND, True), (IceMode.TERMINATE, False)],
)
async def test_a_phone_rings_for_as_long_as_its_user_likes(transport: str, in_room: bool) -> None:
    """Neither is told anything at `times.setup_s`, and a late accept gets its media."""
    extra = f"[times]\nsetup_s = {SETUP_S}"
    async with ringing(transport, extra, in_room=in_room) as (at, alice, bob):
        await asyncio.sleep(LONG_S)
        assert_not_ended(alice, bob)
        await talk(alice, bob)
        await asyncio.sleep(LONG_S)
        assert_not_ended(alice, bob)
        await hang_up(alice, bob)
        await nothing_left(at)


@pytest.mark.timeout(400)
@pytest.mark.rule("I1")
async def test_no_call_is_ended_in_which_we_have_no_part() -> None:
    async with ringing("pass", IMPATIENT, NatKind.NONE) as (_, alice, bob):
        await asyncio.sleep(LONG_S)
        after = len(bob.events)
        bob.tell("accept")
        assert past_us((await bob.expect("connected", after=after))["paths"])
        await alice.expect("connected")
        for party in (alice, bob):
            party.tell("quiet")
        await asyncio.sleep(LONG_S)
        assert_not_ended(alice, bob)
        await hang_up(alice, bob)


@pytest.mark.timeout(600)
@pytest.mark.rule("J14")
@pytest.mark.parametrize("transport", ["raw-udp", *TAKING_PART])
async def test_an_accept_that_we_have_missed_ends_nothing(transport: str) -> None:
    """The signalling process is away while the callee answers, and the server fails open.

    The caller is told our candidates as soon as it is back. Where ICE ends at the relay it knows
    the callee's own credentials by then, and our agent goes on with those.
    """
    for _ in range(TRIES):
        async with ringing(transport, f"[times]\nsetup_s = {SETUP_S}") as (at, alice, bob):
            await at.relay.end("signalling")
            bob.tell("accept")
            went_at = time.monotonic()
            await alice.expect("accepted")
            await asyncio.sleep(0.5)
            await at.relay.start("signalling")
            if time.monotonic() - went_at > AGENTS_WAIT_S:
                continue  # too busy a machine for what is tried
            await hear(alice, bob)
            await asyncio.sleep(LONG_S)
            assert_not_ended(alice, bob)
            await hang_up(alice, bob)
            await nothing_left(at)
            return
    raise AssertionError(f"the process needs more than {AGENTS_WAIT_S} s to be back")


_IBB_DATA = "http://jabber.org/protocol/ibb"
FILE = bytes(range(256)) * 64
BLOCK = 4096
_FILE = (
    '<description xmlns="urn:xmpp:jingle:apps:file-transfer:5"><file>'
    f"<name>map.png</name><size>{len(FILE)}</size></file></description>"
)
_S5B = (
    '<transport xmlns="urn:xmpp:jingle:transports:s5b:1" sid="s5b" mode="tcp">'
    '<candidate cid="c1" host="192.0.2.33" jid="alice@example.org/phone" port="5086"'
    ' priority="8257636" type="direct"/></transport>'
)
_FAILED = (
    '<transport xmlns="urn:xmpp:jingle:transports:s5b:1" sid="s5b"><candidate-error/></transport>'
)
_IBB = f'<transport xmlns="urn:xmpp:jingle:transports:ibb:1" sid="ibb" block-size="{BLOCK}"/>'


@pytest.mark.parametrize("mode", IceMode)
async def test_a_file_transfer_lives_on(mode: IceMode, tmp_path: Path) -> None:
    """XEP-0234: no path by SOCKS5 is found, so the file goes in-band (XEP-0260 section 3)."""
    users = {"alice": "secret", "bob": "secret"}
    host = VirtualHost(DOMAIN, users, component=COMPONENT)
    async with (
        play.in_use([host], {COMPONENT: SECRET}) as server,
        relay(server, tmp_path, mode, IMPATIENT) as running,
        await Client.login(server, f"alice@{DOMAIN}/phone") as alice,
        await Client.login(server, f"bob@{DOMAIN}/phone") as bob,
    ):
        await says(alice, bob, "session-initiate", content(_FILE + _S5B))
        await says(bob, alice, "session-accept", content(_FILE + _S5B))
        for one, other in ((alice, bob), (bob, alice)):
            await says(one, other, "transport-info", content(_FAILED))
        await says(alice, bob, "transport-replace", content(_IBB))
        await says(bob, alice, "transport-accept", content(_IBB))
        await asyncio.sleep(LONG_S)
        assert await in_band(alice, bob) == FILE
        assert await running.calls() == []
        for client in (alice, bob):
            assert not [s for s in await client.caught_up() if s.find(f"{{{JINGLE}}}jingle")]
        await says(bob, alice, "session-terminate", "<reason><success/></reason>")


def content(inside: str) -> str:
    return f'<content creator="initiator" name="file">{inside}</content>'


async def says(one: Client, other: Client, action: str, payload: str) -> None:
    """A request arrives, is what was said, and its answer comes back."""
    id_ = one.request(other.jid, action, "transfer", payload)
    came = await other.next_request("transfer")
    (jingle,) = came
    assert jingle.get("action") == action
    other.acknowledge(came)
    assert (await one.reply_to(id_)).get("type") == "result"


async def in_band(one: Client, other: Client) -> bytes:
    """What the other gets of the file (XEP-0047)."""
    taken = b""
    for number, start in enumerate(range(0, len(FILE), BLOCK)):
        block = base64.b64encode(FILE[start : start + BLOCK]).decode()
        data = f'<data xmlns="{_IBB_DATA}" seq="{number}" sid="ibb">{block}</data>'
        one.send(f'<iq type="set" to="{other.jid}" id="block{number}">{data}</iq>')
        came = await other.next(_is_data)
        other.acknowledge(came)
        assert (await one.reply_to(f"block{number}")).get("type") == "result"
        taken += base64.b64decode(came.findtext(f"{{{_IBB_DATA}}}data", ""))
    return taken


def _is_data(stanza: Element) -> bool:
    return stanza.find(f"{{{_IBB_DATA}}}data") is not None
