"""Many calls at once through a real server; only the relay's ports tell them apart."""

import asyncio
import json
import sys

import pytest

from tests.lab.play import DOMAIN, ROOT, stage
from tests.lab.world import SERVER
from tests.threats.doses import Measured

pytestmark = [pytest.mark.integration, pytest.mark.busy]

PAIRS = 1000
CROWD = "198.51.100.50"


@pytest.mark.timeout(300)
@pytest.mark.rule("J5", "L7")
async def test_a_thousand_pairs_with_one_sid_hear_their_own_peers_and_nobody_else(
    record_property: Measured,
) -> None:
    users = tuple(f"u{number}" for number in range(2 * PAIRS))
    async with stage(users, ports="20000-29999", timeout_s=60) as at:
        at.lab.public("crowd", CROWD)
        command = [sys.executable, "-m", "tests.lab.crowd", "--server", f"{SERVER}:5222"]
        command += ["--domain", DOMAIN, "--address", CROWD, "--pairs", str(PAIRS)]
        process = await asyncio.create_subprocess_exec(
            *at.lab.command("crowd", command), stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        came = json.loads(output)
        assert came["heard"] == came["ears"] == 4 * PAIRS
        assert came["foreign"] == 0
        record_property("ears", came["ears"])
        record_property("heard", came["heard"])
        record_property("crossed_packets", came["foreign"])
        status = await at.relay.until(lambda s: s["ports"]["leased"] == 0)
        assert status["calls"] == 0
