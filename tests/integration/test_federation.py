"""Calls between the users of two servers, each with a relay of its own."""

import asyncio
import signal
from itertools import product

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up, legs
from tests.lab.ejabberd import Ejabberd
from tests.lab.federation import ONE, OTHER_SECRET, TWO, Kinds, federation
from tests.lab.play import Event, Stage
from tests.lab.prosody import Prosody
from tests.lab.world import NatKind

pytestmark = pytest.mark.integration

ALWAYS = 'already_relayed = "relay"'


def _names(kinds: Kinds) -> str:
    return "-".join(kind.kind for kind in kinds)


@pytest.mark.rule("J16")
@pytest.mark.parametrize("kinds", list(product((Prosody, Ejabberd), repeat=2)), ids=_names)
async def test_one_relay_serves_a_call_between_two_servers(kinds: Kinds) -> None:
    async with federation(kinds=kinds) as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3)
        assert (await one.relay.status())["ports"]["leased"] == 4
        assert (await two.relay.status())["ports"]["leased"] == 0
        await hang_up(alice, bob)
        await assert_heard(alice, bob)


@pytest.mark.rule("L8")
async def test_two_relays_that_face_each_other_do_not_wait_for_ever() -> None:
    async with federation(f"{ALWAYS}\nearly_stream = true") as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3)
        for at in (one, two):
            assert (await at.relay.status())["ports"]["leased"] == 4
        await hang_up(alice, bob)
        await assert_heard(alice, bob)


async def test_without_an_early_stream_they_would() -> None:
    async with federation(ALWAYS) as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(1)
        for party in (alice, bob):
            assert (await party.stats())["rtp"]["numbers"] == []


async def test_one_process_serves_two_servers_and_relays_their_calls_once() -> None:
    async with federation(kinds=(Prosody, Ejabberd), shared=True) as (one, two):
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await two.phone("bob", NatKind.SYMMETRIC)
        alice.tell("call", to=bob.jid)
        await alice.expect("accepted")
        await asyncio.sleep(3)
        (call,) = await one.relay.calls()
        assert (await one.relay.status())["ports"]["leased"] == 4
        # Each server has said where its own user is.
        assert {leg["source_auth"] for leg in legs(call).values()} == {"signalling-address"}
        await hang_up(alice, bob)
        await assert_heard(alice, bob)

        # A call that we end is ended on both servers.
        bob.tell("call", to=alice.jid)
        await bob.expect("accepted")
        (call,) = await one.relay.calls()
        await one.relay.ask("terminate", call=call["call"])
        for party in (alice, bob):
            await party.expect("ended", lambda e: "gone" in e["xml"])

        # Each door of each server is told, and what to write where it is shut.
        found = await checked(one)
        for at, domain in ((one, ONE), (two, TWO)):
            assert found[f"XMPP connection of {domain.component}"]["verdict"] == "ok"
            module = found[f"server module of {domain.name}"]
            assert module["verdict"] == "ok"
            assert f"{at.server.kind} lets go of our old connection" in module["text"]
            assert "[addresses]" in found[f"addresses at {domain.component}"]["text"]
            assert "[relay_nodes]" in found[f"relay channels of {domain.component}"]["text"]
        await two.server.reload_module(on=False)
        found = await checked(one)
        assert found[f"server module of {ONE.name}"]["verdict"] == "ok"
        shut = found[f"server module of {TWO.name}"]
        assert shut["verdict"] == "FAIL"
        assert "module_install mod_jingle_hnt" in shut["text"]

        # The one server's end is nothing to the other.
        await asyncio.to_thread(two.server.stop)
        found = await checked(one)
        assert found[f"XMPP connection of {ONE.component}"]["verdict"] == "ok"
        assert found[f"XMPP connection of {TWO.component}"]["verdict"] == "FAIL"
        await asyncio.to_thread(two.server.start)
        await one.relay.until(lambda status: bool(status["ready"]))


@pytest.mark.parametrize("kinds", [(Prosody, Ejabberd), (Ejabberd, Prosody)], ids=_names)
async def test_a_server_that_refuses_our_secret_stops_no_call_of_another(kinds: Kinds) -> None:
    async with federation(kinds=kinds, shared=True) as (one, _):
        await one.relay.end("signalling", signal.SIGTERM)
        (one.relay.directory / OTHER_SECRET).write_text("not what the server has")
        await one.relay.start("signalling", until=lambda s: {TWO.component} == refused(s))
        status = await one.relay.status()
        alice = await one.phone("alice", NatKind.PORT_RESTRICTED)
        carol = await one.phone("carol", NatKind.SYMMETRIC)
        alice.tell("call", to=carol.jid)
        await alice.expect("accepted")
        await asyncio.sleep(1)
        assert (await one.relay.status())["ports"]["leased"] == 4
        await hang_up(alice, carol)
        await assert_heard(alice, carol)

        # It is told what to write, and for which server.
        assert "xmpp.secret" in status["disconnected"][TWO.component]
        found = await checked(one)
        assert found[f"XMPP connection of {ONE.component}"]["verdict"] == "ok"
        assert found[f"XMPP connection of {TWO.component}"]["verdict"] == "FAIL"
        assert "xmpp.secret" in found[f"XMPP connection of {TWO.component}"]["text"]
        assert "an XMPP server refuses the secret" in one.relay.log_text()


async def checked(at: Stage) -> dict[str, Event]:
    """What `jingle-hnt check` says, by its subject."""
    return {found["subject"]: found for found in (await at.relay.ask("check"))["findings"]}


def refused(status: Event) -> set[str]:
    """The components whose server does not know their secret."""
    return {jid for jid, why in status["disconnected"].items() if "secret" in why}
