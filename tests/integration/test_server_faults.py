"""Rows F1, F2, F3 and F17 of docs/threats.md, on both servers: what goes wrong with the server.

A hundred calls (a tenth of them in CI) are going on whenever something does, and not one packet of
theirs may be lost.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.lab.play import Caller, Event, Stage, stage
from tests.lab.world import NatKind
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("each_server"),
]

COMPONENT_PORT = 5347
CALLS = max(10, doses.count(100))
BACK_S = 5.0
"""From the server's return to ours."""
CUT_S = 30.0
"""From a cut that nobody is told of to calls that can be made again."""
FREE_S = 120.0
"""Until nothing is left of calls whose parties are gone."""

PATIENCE_S = 60.0
"""For what takes a hundred calls a moment, and a busy machine longer."""


class Crowd:
    """All calls, their parties behind one NAT, and what becomes of them."""

    def __init__(self, at: Stage, board: Caller) -> None:
        self.at = at
        self._board = board

    async def do(self, what: str, **members: object) -> Event:
        """Have this done (see `tests.lab.switchboard`)."""
        after = len(self._board.events)
        self._board.tell(what, **members)
        return await self._board.expect(what, after=after, patience_s=PATIENCE_S)

    async def call(self, sid: str) -> None:
        """Make all calls; each is relayed, and everybody is heard."""
        await self.do("call", sid=sid)
        assert (await self.at.relay.status())["calls"] == CALLS

    async def hang_up(self, sid: str) -> None:
        """End half of the calls ourselves; of the others callers and callees hang up in turn."""
        names = {call["sid"]: call["call"] for call in await self.at.relay.calls()}
        assert len(names) == CALLS
        for number in range(CALLS // 2):
            await self.at.relay.ask("terminate", call=names[f"{sid}{number}"])
        await self.do("ended", last=CALLS // 2)
        await self.do("hangup", first=CALLS // 2, sid=sid)
        await nothing_left(self.at)

    async def lost_nothing(self, measured: Measured) -> None:
        """Each packet since the mark has reached who it was for."""
        account = await self.do("account")
        measured("calls", CALLS)
        measured("packets", account["sent"])
        measured("lost", account["lost"])
        assert account["least"] > 0
        assert (account["lost"], account["foreign"]) == (0, 0)

    async def vanish(self) -> None:
        """Everybody is gone without a word."""
        await self._board.vanish()


@contextlib.asynccontextmanager
async def in_calls(extra: str = "", *processes: str) -> AsyncIterator[Crowd]:
    users = ("late", "later", *(f"u{number}" for number in range(2 * CALLS)))
    async with stage(users, extra=extra, timeout_s=10, processes=processes) as at:
        address, public = at.lab.site("crowd", NatKind.SYMMETRIC)
        board = await at.phone_at(
            "crowd",
            "crowd",
            address,
            public,
            extra=("--pairs", str(CALLS)),
            program="tests.lab.switchboard",
            patience_s=PATIENCE_S,
        )
        crowd = Crowd(at, board)
        await crowd.call("first")
        await crowd.do("mark")
        yield crowd


async def goes_down(at: Stage) -> None:
    """Wait until the process knows that its stream is lost."""
    await at.relay.until(lambda status: not status["connected"], patience_s=CUT_S)


async def comes_back(at: Stage, record: Measured) -> None:
    """Calls would be relayed again soon enough from now."""
    began_at = time.monotonic()
    await at.relay.until(lambda status: bool(status["ready"]), patience_s=CUT_S)
    back_s = round(time.monotonic() - began_at, 2)
    record("back_s", back_s)
    assert back_s <= BACK_S


async def nothing_left(at: Stage, patience_s: float = PATIENCE_S) -> float:
    """Wait until all calls are over and their ports are free; returns for how long."""
    began_at = time.monotonic()
    status = await at.relay.until(
        lambda s: s["ports"]["leased"] == s["ports"]["quarantined"] == 0, patience_s=patience_s
    )
    assert status["calls"] == 0
    return round(time.monotonic() - began_at, 2)


async def test_f1_a_reset_stream_costs_no_media(
    monkeypatch: pytest.MonkeyPatch, record_property: Measured
) -> None:
    monkeypatch.setenv("JINGLE_HNT_XMPP__PING_S", str(doses.seconds(10, least=1)))
    async with in_calls() as crowd:
        at = crowd.at
        # Both ends are told that the stream is gone, and nobody connects for a while.
        at.lab.cut("server", COMPONENT_PORT, reset=True)
        await goes_down(at)
        await asyncio.sleep(doses.seconds(10, least=1))
        at.lab.mend("server")
        await comes_back(at, record_property)
        await crowd.lost_nothing(record_property)
        await crowd.hang_up("first")
        await crowd.call("second")


async def test_f2_after_a_half_open_connection_every_call_is_ours_again(
    monkeypatch: pytest.MonkeyPatch, record_property: Measured
) -> None:
    monkeypatch.setenv("JINGLE_HNT_XMPP__PING_S", str(doses.seconds(10, least=1)))
    async with in_calls() as crowd:
        at = crowd.at
        # Neither end is told anything: the server goes on to believe in the old connection.
        at.lab.bury("server", COMPONENT_PORT)
        cut_at = time.monotonic()
        await goes_down(at)
        await comes_back(at, record_property)
        record_property("after_cut_s", round(time.monotonic() - cut_at, 2))
        assert time.monotonic() - cut_at <= CUT_S
        await crowd.lost_nothing(record_property)
        # Were there two routes, about half of all that is said would not be seen.
        await crowd.hang_up("first")
        await crowd.call("second")
        await crowd.hang_up("second")


async def test_f3_a_restart_of_the_server_ends_no_call_and_loses_none(
    record_property: Measured,
) -> None:
    async with in_calls(f"[times]\nsilence_s = {doses.seconds(60, least=4)}") as crowd:
        at = crowd.at
        await asyncio.to_thread(at.server.restart)
        await at.phone("late", NatKind.NONE)  # it is back when it lets somebody in
        await comes_back(at, record_property)
        await crowd.lost_nothing(record_property)
        assert (await at.relay.status())["calls"] == CALLS
        # Who is back hangs up; who is not leaves nothing behind.
        await crowd.do("again", last=CALLS // 2, sid="first")
        await at.relay.until(lambda status: status["calls"] == CALLS - CALLS // 2)
        await crowd.vanish()
        free_s = await nothing_left(at, patience_s=FREE_S)
        record_property("free_s", free_s)


async def test_f17_a_server_that_does_not_read_costs_no_media(
    monkeypatch: pytest.MonkeyPatch, record_property: Measured
) -> None:
    monkeypatch.setenv("JINGLE_HNT_XMPP__PING_S", str(doses.seconds(10, least=1)))
    async with in_calls() as crowd:
        at = crowd.at
        os.kill(at.server.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(doses.seconds(60, least=4))
            assert (await at.relay.status())["calls"] == CALLS
        finally:
            os.kill(at.server.pid, signal.SIGCONT)
        await comes_back(at, record_property)
        await crowd.lost_nothing(record_property)
        await crowd.hang_up("first")
        await crowd.call("second")
