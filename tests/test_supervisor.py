"""One command, two processes: restarts, ends, and a configuration that cannot be used."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from jingle_hnt.supervisor import Child, Supervisor, notify

APPEND = "import sys; open(sys.argv[1], 'a').write('x'); "


def child(name: str, program: str, *arguments: object) -> Child:
    return Child(name, [sys.executable, "-c", program, *map(str, arguments)])


async def test_a_child_that_dies_is_started_again_and_its_sibling_is_left_alone(
    tmp_path: Path,
) -> None:
    steady, shaky = tmp_path / "steady", tmp_path / "shaky"
    supervisor = Supervisor(
        [
            child("steady", APPEND + "import time; time.sleep(60)", steady),
            child("shaky", APPEND + "sys.exit(1)", shaky),
        ]
    )
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(20):
        while not shaky.exists() or shaky.stat().st_size < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert steady.stat().st_size == 1


async def test_sighup_goes_to_the_children_and_ends_none(tmp_path: Path) -> None:
    heard, deaf = tmp_path / "heard", tmp_path / "deaf"
    listen = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGHUP, lambda *_: open(sys.argv[1], 'a').write('h')); "
        "open(sys.argv[1], 'a').write('x'); [time.sleep(0.1) for _ in range(600)]"
    )
    supervisor = Supervisor(
        [
            child("deaf", APPEND + "import time; time.sleep(60)", deaf),
            child("listening", listen, heard),
        ]
    )
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(20):
        while not (heard.exists() and deaf.exists()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGHUP)
        while heard.read_text() != "xh":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert deaf.read_text() == "x"


async def test_status_78_of_a_child_ends_the_whole(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [
            child("other", APPEND + "import time; time.sleep(60)", tmp_path / "other"),
            child("misconfigured", "import sys; sys.exit(78)"),
        ]
    )
    async with asyncio.timeout(20):
        assert await supervisor.run() == 78


def test_without_systemd_notify_says_nothing() -> None:
    assert "NOTIFY_SOCKET" not in os.environ
    notify("READY=1")
