"""A real client: libpurple, the library of Pidgin and Finch, unmodified, on both ends of a call."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jingle_hnt.call.policy import IceMode
from tests.integration.test_ice_calls import TAKING_PART
from tests.integration.test_nat_calls import legs
from tests.lab.play import DOMAIN, Event, Stage, stage
from tests.lab.world import SERVER, NatKind
from tests.threats.doses import Measured

SOURCE = Path(__file__).parent.parent / "lab" / "purple_phone.c"
PLUGINS = "purple-2"
PATIENCE_S = 60.0
TALK = 150
"""Packets of three seconds."""

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phone around libpurple, compiled."""
    built = tmp_path_factory.mktemp("purple") / "purple_phone"
    flags = _output("pkg-config", "--cflags", "--libs", "purple", "gstreamer-1.0").split()
    plugins = Path(_output("pkg-config", "--variable=libdir", "purple").strip()) / PLUGINS
    command = ["gcc", "-O1", "-Wall", "-o", str(built), str(SOURCE), *flags]
    command += [f"-L{plugins}", "-l:libjabber.so.0.0.0", f"-Wl,-rpath,{plugins}"]
    subprocess.run(command, check=True)
    return built


def _output(*command: str) -> str:
    assert shutil.which(command[0]), f"{command[0]} is missing; scripts/setup installs it"
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Purple:
    """Drives one of them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[Event] = []
        self._process = process
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")

    async def expect(self, event: str) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for said in self.events:
                    if said["event"] == event:
                        return said
                self._news.clear()
                await self._news.wait()

    async def quit(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.tell("quit")
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.events.append({"at": time.monotonic(), **json.loads(line)})
            self._news.set()


@contextlib.asynccontextmanager
async def phone(
    at: Stage, program: Path, user: str, resource: str, kind: NatKind, transport: str = "raw-udp"
) -> AsyncIterator[Purple]:
    at.lab.site(user, kind)
    home = at.relay.directory / user
    command = [str(program), f"{user}@{DOMAIN}/{resource}", "secret", SERVER, "5222", str(home)]
    command.append(transport)
    process = await asyncio.create_subprocess_exec(
        *at.lab.command(user, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    purple = Purple(process)
    try:
        await purple.expect("online")
        yield purple
    finally:
        await purple.quit()


async def talked(at: Stage) -> Event:
    """The only call, when the callee has been heard for some seconds and the caller at all."""

    def is_long(answer: Event) -> bool:
        (call,) = answer["calls"]
        caller, callee = (legs(call)[1, role] for role in ("initiator", "responder"))
        full = min(callee["received_packets"], caller["sent_packets"]) > TALK
        return bool(full and caller["received_packets"] and callee["sent_packets"])

    answer = await at.relay.until(is_long, command="calls")
    await asyncio.sleep(1)  # what was relayed last is played
    return dict(answer["calls"][0])


@pytest.mark.timeout(120)
async def test_libpurple_calls_libpurple_through_two_nats(program: Path) -> None:
    """The callee's media is a full stream; the caller's GStreamer source stalls after its first
    packets in a program without a window, relay or not, so of that direction only these count."""
    async with (
        stage() as at,
        phone(at, program, "alice", "desk", NatKind.PORT_RESTRICTED) as alice,
        phone(at, program, "bob", "laptop", NatKind.SYMMETRIC) as bob,
    ):
        alice.tell(f"add bob@{DOMAIN}")
        bob.tell(f"add alice@{DOMAIN}")
        await asyncio.sleep(3)  # presence and capabilities go back and forth
        alice.tell(f"call bob@{DOMAIN}/laptop")
        await bob.expect("ringing")
        await alice.expect("accepted")
        call = await talked(at)
        alice.tell("hangup")
        await bob.expect("ended")
    assert max(event["heard"] for event in alice.events) > 100
    caller, callee = (legs(call)[1, role] for role in ("initiator", "responder"))
    for leg in (caller, callee):
        assert leg["source_auth"] == "signalling-address"
        assert leg["latch"] == "latched"
    assert callee["received_packets"] > 100
    assert caller["sent_packets"] > 100
    assert caller["received_packets"] > 0
    assert callee["sent_packets"] > 0


@pytest.mark.timeout(120)
@pytest.mark.rule("I2", "I3")
@pytest.mark.parametrize("mode", TAKING_PART)
async def test_libpurple_reaches_libpurple_by_ice_through_us_alone(
    program: Path, mode: IceMode, record_property: Measured
) -> None:
    """libnice, between two symmetric NATs and without a STUN server, has no other candidate."""
    async with (
        stage(extra=f'[ice]\nmode = "{mode}"') as at,
        phone(at, program, "alice", "desk", NatKind.SYMMETRIC, "ice") as alice,
        phone(at, program, "bob", "laptop", NatKind.SYMMETRIC, "ice") as bob,
    ):
        alice.tell(f"add bob@{DOMAIN}")
        bob.tell(f"add alice@{DOMAIN}")
        await asyncio.sleep(3)  # presence and capabilities go back and forth
        alice.tell(f"call bob@{DOMAIN}/laptop")
        await bob.expect("ringing")
        accepted = await alice.expect("accepted")
        for name, party in (("caller", alice), ("callee", bob)):
            hears = await party.expect("hears")
            record_property(f"{mode} {name} hears after s", round(hears["at"] - accepted["at"], 2))
        call = await talked(at)
        alice.tell("hangup")
        await bob.expect("ended")
    assert max(event["heard"] for event in alice.events) > 100
    caller, callee = (legs(call)[1, role] for role in ("initiator", "responder"))
    for leg in (caller, callee):
        assert leg["source_auth"] == "ice-integrity"
        assert leg["latch"] == "latched"
    assert callee["received_packets"] > 100
    assert caller["sent_packets"] > 100
