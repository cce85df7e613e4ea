"""systemd's file descriptor store: the call of `test_fd_store`, with systemd itself.

It runs as a user's instance, which needs no boot and no control groups of its own, but a directory
in /run that says that systemd is there: so it has a mount namespace, and the test needs root.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jingle_hnt.plane.client import PlaneClient
from tests.fronts.xmpp.recorder import until
from tests.plane.bound import ALICE, BOB, RELAY, Party
from tests.plane.packets import rtp
from tests.process.test_fd_store import AWAY, SUPERVISED, Call, connected

pytestmark = [pytest.mark.integration, pytest.mark.native]

START = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec /lib/systemd/systemd --user
"""
UNIT = """\
[Service]
Type=notify
NotifyAccess=main
FileDescriptorStoreMax=64
ExecStart={python} {program} {configuration}
WorkingDirectory={directory}
Restart=always
RestartSec=0
KillMode=mixed
"""


class Systemd:
    """A user's systemd with one service."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment = os.environ | {
            "XDG_RUNTIME_DIR": str(path / "run"),
            "XDG_CONFIG_HOME": str(path / "config"),
            "SYSTEMD_LOG_TARGET": "console",
        }

    async def start(self, call: Call) -> None:
        """Have it start the service."""
        units = self._path / "config" / "systemd" / "user"
        units.mkdir(parents=True)
        (self._path / "run").mkdir(mode=0o700)
        (self._path / "supervised.py").write_text(SUPERVISED)
        words = {"python": sys.executable, "program": self._path / "supervised.py"}
        unit = UNIT.format(configuration=call.file, directory=os.getcwd(), **words)
        (units / "relay.service").write_text(unit)
        (units / "default.target").write_text("[Unit]\nWants=relay.service\n")
        with (self._path / "systemd.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("unshare", "-m", "sh", "-c", START),
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def told(self, *words: str) -> str:
        """What systemctl says."""
        command = ["systemctl", "--user", *words]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def value(self, name: str) -> int:
        """A property of the service."""
        return int(self.told("show", "relay.service", "--value", "-p", name))

    async def stop(self) -> None:
        """End it; it ends what it has started."""
        self._process.terminate()
        await self._process.wait()


@pytest.fixture
async def systemd(tmp_path: Path) -> AsyncIterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    await made.stop()


@pytest.mark.parametrize("how", ["killed", "restarted"])
async def test_no_packet_of_a_call_is_lost_when_systemd_starts_us_again(
    systemd: Systemd, tmp_path: Path, how: str
) -> None:
    call = Call(tmp_path)
    await systemd.start(call)
    client = await connected(call.socket)
    await call.bind(client, None, None)
    with Party(ALICE, (RELAY, call.ports[0])) as alice, Party(BOB, (RELAY, call.ports[1])) as bob:
        bob.say(rtp(1, ssrc=2))
        await until(lambda: systemd.value("NFileDescriptorStore") == 3)
        alice.say(rtp(1))
        assert await asyncio.to_thread(bob.hears, rtp(1))
        await until(lambda: systemd.value("NFileDescriptorStore") == 4)
        client = await another_life(systemd, client, call, how, alice)
        await call.bind(client, alice.name, bob.name)
        for number in AWAY:
            assert await asyncio.to_thread(bob.hears, rtp(number))
        await client.release([call.name], 0)
        await until(lambda: systemd.value("NFileDescriptorStore") == 0)
    await client.close()


async def another_life(
    systemd: Systemd, client: PlaneClient, call: Call, how: str, alice: Party
) -> PlaneClient:
    """The service is started again while Alice talks on; who is connected to its plane now."""
    before = systemd.value("MainPID")
    if how == "killed":
        os.kill(before, signal.SIGKILL)
    else:
        await asyncio.to_thread(systemd.told, "restart", "relay.service")
    for number in AWAY:
        alice.say(rtp(number))
    await client.close()
    await until(lambda: systemd.value("MainPID") not in (0, before))
    return await connected(call.socket)
