"""Either process may go away in mid-call, and the server may be without us: what users notice."""

import asyncio
import contextlib
import signal
import sqlite3

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up, legs, with_action
from tests.lab.play import Stage, in_a_call, stage
from tests.lab.world import NatKind
from tests.xmpp.recorder import until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("each_server")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_media_goes_on_without_the_signalling_process(how: signal.Signals) -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        await at.relay.end("signalling", how)
        await asyncio.sleep(2)
        await at.relay.start("signalling")
        await at.relay.until(
            lambda a: all(x["latch"] == "latched" for c in a["calls"] for x in legs(c).values()),
            command="calls",
        )
        assert len(await at.relay.calls()) == 1
        await hang_up(alice, bob)
        await assert_heard(alice, bob)
        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["calls"] == status["plane"]["bindings"] == status["ports"]["leased"] == 0


async def test_a_call_that_ended_meanwhile_is_not_kept_for_ever() -> None:
    """The terminate went past us: silence ends the call, and its ports are free again."""
    async with stage(extra="[times]\nsilence_s = 3\n") as at:
        alice, bob = await in_a_call(at)
        await at.relay.end("signalling")
        await hang_up(alice, bob)
        await at.relay.start("signalling")
        status = await at.relay.until(
            lambda s: s["calls"] == 0 and s["ports"]["quarantined"] == 0, patience_s=25
        )
        assert status["plane"]["bindings"] == status["ports"]["leased"] == 0


async def test_bindings_that_nobody_remembers_are_released() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        await at.relay.end("signalling")
        for journal in at.relay.directory.glob("journal.sqlite*"):
            journal.unlink()
        await at.relay.start("signalling")
        status = await at.relay.until(lambda s: s["plane"]["bindings"] == 0)
        assert status["calls"] == 0
        alice.tell("quiet")
        bob.tell("quiet")
        status = await at.relay.until(lambda s: s["ports"]["quarantined"] == 0)
        assert status["ports"]["leased"] == 0


async def test_a_new_plane_takes_the_calls_up_on_the_same_ports() -> None:
    async with stage() as at:
        alice, bob = await in_a_call(at)
        (before,) = await at.relay.calls()
        await at.relay.end("plane")
        await at.relay.start("plane")
        await alice.hears(1)
        resumed = (await bob.stats())["rtp"]["sent"]
        await alice.hears(75)
        (after,) = await at.relay.calls()
        for key, leg in legs(after).items():
            assert leg["advertised"] == legs(before)[key]["advertised"]
            assert leg["learned"] == legs(before)[key]["learned"]
        await hang_up(alice, bob)
        numbers = set((await alice.stats())["rtp"]["numbers"])
        assert numbers.issuperset(range(resumed, (await bob.stats())["rtp"]["sent"]))


async def test_a_call_that_ended_before_a_crash_has_its_row_in_the_history_once() -> None:
    """Its report waits for what the plane has counted, and the process dies meanwhile."""
    async with stage() as at:
        alice, bob = await in_a_call(at)
        plane = at.relay.processes["plane"]
        plane.send_signal(signal.SIGSTOP)
        await hang_up(alice, bob)
        await until(lambda: '"state":"ended"' in written(at))
        await at.relay.end("signalling")
        plane.send_signal(signal.SIGCONT)
        await at.relay.start("signalling")
        for _ in range(2):
            history = await at.relay.until(lambda a: bool(a["calls"]), command="history")
            (report,) = history["calls"]
            assert (report["why"], report["counted"]) == ("terminated", True)
            await at.relay.end("signalling")
            assert written(at) == ""
            await at.relay.start("signalling")


def written(at: Stage) -> str:
    """What is in the journal."""
    with contextlib.closing(sqlite3.connect(at.relay.directory / "journal.sqlite")) as db:
        return "".join(text for (text,) in db.execute("SELECT record FROM session"))


async def test_without_us_calls_go_on_unmodified_at_once() -> None:
    async with stage(fail="open") as at:
        await at.relay.end("signalling")
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        loop = asyncio.get_running_loop()
        started = loop.time()
        alice.tell("call", to=bob.jid)
        await bob.expect("ringing")
        assert loop.time() - started < 1.0
        assert "192.0.2." in with_action(bob, "session-initiate")


async def test_without_us_calls_are_refused_at_once_where_the_operator_wants_it() -> None:
    async with stage(fail="closed") as at:
        await at.relay.end("signalling")
        alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
        bob = await at.phone("bob", NatKind.SYMMETRIC)
        loop = asyncio.get_running_loop()
        started = loop.time()
        alice.tell("call", to=bob.jid)
        await alice.expect("stanza", lambda e: "remote-server-timeout" in e["xml"])
        assert loop.time() - started < 1.0
        assert not any("session-initiate" in s for s in bob.stanzas)


@pytest.mark.rule("J4", "G3")
async def test_without_ports_the_caller_is_told_and_nothing_is_left() -> None:
    async with stage(("alice", "bob", "carol"), ports="30000-30003") as at:
        alice, bob = await in_a_call(at)
        carol = await at.phone("carol", NatKind.NONE)
        carol.tell("call", to=bob.jid)
        await carol.expect("stanza", lambda e: "resource-constraint" in e["xml"])
        await hang_up(alice, bob)
        await assert_heard(alice, bob)
        await at.relay.until(lambda s: s["ports"]["free"] == 4)
