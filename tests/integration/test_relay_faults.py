"""Rows F20 and F23 of docs/threats.md, on both servers: the relay stops, or loses its address.

As in `test_server_faults` a hundred calls (a tenth of them in CI) are going on meanwhile.
"""

import asyncio
import signal
import time

import pytest

from tests.integration.test_nat_calls import with_action
from tests.integration.test_server_faults import (
    CALLS,
    PATIENCE_S,
    comes_back,
    in_calls,
    nothing_left,
)
from tests.lab.world import RELAY, NatKind
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("each_server"),
]

ELSEWHERE = "203.0.113.77"
EXIT_S = 15.0
"""From the last call's end to the process's, however busy the machine is."""
RESUMED_S = 10.0
"""From the address's return until everybody is heard again; RTCP is sent once a second."""


async def test_f20_who_is_told_to_stop_waits_for_the_calls_and_takes_no_more(
    record_property: Measured,
) -> None:
    async with in_calls("[stop]\ndrain_s = 600\n", "run") as crowd:
        at = crowd.at
        running = at.relay.processes["run"]
        running.send_signal(signal.SIGTERM)
        await at.relay.until(lambda status: bool(status["draining"]))
        # A new call goes without us.
        caller = await at.phone("late", NatKind.NONE)
        callee = await at.phone("later", NatKind.NONE)
        caller.tell("call", to=callee.jid)
        await callee.expect("ringing")
        offer = with_action(callee, "session-initiate")
        assert caller.public in offer
        assert RELAY not in offer
        assert (await at.relay.status())["calls"] == CALLS
        await asyncio.sleep(doses.seconds(10, least=1))
        await crowd.do("heard")
        await crowd.lost_nothing(record_property)
        assert running.returncode is None
        await crowd.do("hangup", sid="first")
        began_at = time.monotonic()
        async with asyncio.timeout(EXIT_S):
            assert await running.wait() == 0
        record_property("exit_s", round(time.monotonic() - began_at, 2))
        del at.relay.processes["run"]


async def test_f23_calls_go_on_when_the_address_is_back_and_new_ones_are_told_another(
    record_property: Measured,
) -> None:
    async with in_calls() as crowd:
        at = crowd.at
        away_s = doses.seconds(10, least=2)
        at.lab.unplug("relay", RELAY)
        await asyncio.sleep(away_s)
        at.lab.plug("relay", RELAY)
        back_at = time.monotonic()
        await crowd.do("heard")
        resumed_s = round(time.monotonic() - back_at, 2)
        record_property("away_s", away_s)
        record_property("resumed_s", resumed_s)
        assert resumed_s <= RESUMED_S
        await comes_back(at, record_property)
        assert (await at.relay.status())["calls"] == CALLS
        # Another address, without a restart and without a lost packet.
        await crowd.do("mark")
        file = at.relay.directory / "jingle-hnt.toml"
        told = f'address = "{RELAY}", advertise = "{ELSEWHERE}"'
        file.write_text(file.read_text().replace(f'address = "{RELAY}"', told))
        assert (await at.relay.ask("reload"))["needs_restart"] == []
        caller = await at.phone("late", NatKind.NONE)
        callee = await at.phone("later", NatKind.NONE)
        caller.tell("call", to=callee.jid)
        await callee.expect("ringing", patience_s=PATIENCE_S)
        offer = with_action(callee, "session-initiate")
        assert f'ip="{ELSEWHERE}"' in offer
        assert f'ip="{RELAY}"' not in offer
        await crowd.do("heard")
        await crowd.lost_nothing(record_property)
        caller.tell("hangup")
        await at.relay.until(lambda status: status["calls"] == CALLS)
        await crowd.hang_up("first")
        await nothing_left(at)
