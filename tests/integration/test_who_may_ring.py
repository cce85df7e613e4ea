"""Rules, blocks, limits and a drain speak before a phone rings; what they refused is told of."""

import asyncio

import pytest

from tests.lab.play import Caller, Stage, stage
from tests.lab.world import NatKind

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_server")]

MESSAGE = "urn:xmpp:jingle-message:0"
INVITES = "urn:xmpp:call-invites:0"
STRICT = '[calls]\nstrangers = "refuse"\n'


def bare(caller: Caller) -> str:
    return caller.jid.partition("/")[0]


def ring(caller: Caller, to: str, sid: str, kind: str = "propose") -> None:
    element = f'<{kind} xmlns="{MESSAGE if kind == "propose" else INVITES}" id="{sid}"/>'
    xml = f'<message to="{to}" id="m-{sid}" type="chat">{element}</message>'
    caller.tell("send", xml=xml)


async def answered(caller: Caller, sid: str) -> str:
    """The error that comes back for a ring."""
    said = await caller.expect(
        "stanza", lambda e: f'id="m-{sid}"' in e["xml"] and "error" in e["xml"]
    )
    return str(said["xml"])


async def rings(callee: Caller, sid: str) -> None:
    await callee.expect("stanza", lambda e: f'id="{sid}"' in e["xml"] and "message" in e["xml"])


async def outcome(caller: Caller, callee: Caller, sid: str) -> str:
    """What became of a ring: it rings, or the condition of the error that its caller got."""
    tasks = [asyncio.create_task(t) for t in (rings(callee, sid), answered(caller, sid))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    (first,) = done
    error = first.result()
    if error is None:
        return "rings"
    return "resource-constraint" if "resource-constraint" in error else error


def heard_of(callee: Caller, name: str) -> list[str]:
    return [xml for xml in callee.stanzas if name in xml]


async def dealt_with(caller: Caller, name: str) -> None:
    """Wait for the answer of this name: what was sent before it has been dealt with, too."""
    await caller.expect("stanza", lambda e: f'id="{name}"' in e["xml"])


async def says(caller: Caller, xml: str, name: str) -> None:
    """Send a stanza, and wait until the server has dealt with it."""
    server = bare(caller).partition("@")[2]
    caller.tell("send", xml=xml)
    ping = '<ping xmlns="urn:xmpp:ping"/>'
    caller.tell("send", xml=f'<iq type="get" id="{name}" to="{server}">{ping}</iq>')
    await dealt_with(caller, name)


async def befriend(asks: Caller, grants: Caller) -> None:
    for who, word, other in ((asks, "subscribe", grants), (grants, "subscribed", asks)):
        await says(who, f'<presence type="{word}" to="{bare(other)}"/>', f"after-{word}")


async def explained(at: Stage, sid: str) -> str:
    return str(await at.relay.ask("explain", call=sid))


async def test_a_stranger_neither_rings_nor_calls_and_a_contact_does() -> None:
    async with stage(("alice", "bob", "mallory"), extra=STRICT) as at:
        alice, bob, mallory = [
            await at.phone(user, NatKind.NONE) for user in ("alice", "bob", "mallory")
        ]
        for each in (alice, bob, mallory):
            await says(each, "<presence/>", "online")
        await befriend(alice, bob)

        ring(alice, bare(bob), "from-alice")
        await rings(bob, "from-alice")
        for sid, kind in (("by-propose", "propose"), ("by-invite", "invite")):
            ring(mallory, bare(bob), sid, kind)
            assert "service-unavailable" in await answered(mallory, sid)
        mallory.tell("call", to=bob.jid, sid="by-offer")
        await mallory.expect("stanza", lambda e: "service-unavailable" in e["xml"])
        ring(alice, bare(bob), "after-all")
        await rings(bob, "after-all")
        assert not heard_of(bob, "mallory")
        for sid in ("by-propose", "by-invite", "by-offer"):
            said = await explained(at, sid)
            assert "calls.strangers" in said
            assert bare(mallory) in said

        # An administrator's word, a limit and a drain, in turn.
        await at.relay.ask("block", who=bare(alice))
        ring(alice, bare(bob), "blocked")
        assert "forbidden" in await answered(alice, "blocked")
        await at.relay.ask("unblock", who=bare(alice))

        await at.relay.ask("set", option="calls.rings", value="true")
        await at.relay.ask("set", option="calls.strangers", value="allow")
        await at.relay.ask("set", option="limits.per_minute", value="2")
        for number in range(30):
            ring(mallory, bare(bob), f"flood-{number}")
        outcomes = [await outcome(mallory, bob, f"flood-{number}") for number in range(30)]
        # On a busy machine a minute may be over in between.
        assert 2 <= outcomes.count("rings") <= 4
        assert outcomes.count("resource-constraint") >= 26
        refused = max(n for n, what in enumerate(outcomes) if what == "resource-constraint")
        assert "limits.per_minute" in await explained(at, f"flood-{refused}")

        await at.relay.ask("set", option="relay.draining", value="refuse")
        await at.relay.ask("drain")
        ring(alice, bare(bob), "drained")
        assert "resource-constraint" in await answered(alice, "drained")
        for silent in ("blocked", "drained"):
            assert not heard_of(bob, silent)

        # Without us everything rings.
        await at.relay.end("signalling")
        for number in range(5):
            ring(alice, bare(bob), f"alone-{number}")
        for number in range(5):
            await rings(bob, f"alone-{number}")
