"""One command, two processes: restarts, ends, and a configuration that cannot be used."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jingle_hnt.commands import processes
from jingle_hnt.process import supervisor
from jingle_hnt.process.supervisor import Child, Supervisor, notify, watchdog_s
from tests.fronts.xmpp.recorder import until

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


async def test_the_one_that_stands_by_takes_over_and_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row F5: most of a plane's start is loading, and no media flows meanwhile."""
    monkeypatch.setattr(supervisor, "SPARE_AFTER_S", 0.05)
    told = tmp_path / "told"
    say = (
        "import os, sys; say = lambda w:"
        f" open({str(told)!r}, 'a').write(f'{{w}} {{os.getpid()}}\\n'); "
    )
    wait = "import time; time.sleep(60)"
    ready = "say('ready'); sys.stdin.readline() or sys.exit(); "
    plane = Child(
        "plane",
        [sys.executable, "-c", f"{say}say('began'); {wait}"],
        [sys.executable, "-c", f"{say}{ready}say('began'); {wait}"],
    )

    def lines(word: str) -> list[int]:
        text = told.read_text() if told.exists() else ""
        return [int(line.split()[1]) for line in text.splitlines() if line.startswith(word)]

    running = asyncio.create_task(Supervisor([plane]).run())
    for number in range(1, 4):
        await until(lambda n=number: len(lines("ready")) == n)  # type: ignore[misc]
        os.kill(lines("began")[-1], signal.SIGKILL)
        await until(lambda n=number: len(lines("began")) == n + 1)  # type: ignore[misc]
        assert lines("began")[-1] == lines("ready")[number - 1]
    await until(lambda: len(lines("ready")) == 4)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    for pid in lines("ready"):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_status_78_of_a_child_ends_the_whole(tmp_path: Path) -> None:
    supervisor = Supervisor(
        [
            child("other", APPEND + "import time; time.sleep(60)", tmp_path / "other"),
            child("misconfigured", "import sys; sys.exit(78)"),
        ]
    )
    async with asyncio.timeout(20):
        assert await supervisor.run() == 78


async def test_status_78_of_a_child_that_is_started_again_ends_nothing(tmp_path: Path) -> None:
    """Row F31: the file is bad by now, and that is no reason to end what goes on."""
    other, shaky = tmp_path / "other", tmp_path / "shaky"
    once = APPEND + "import os; sys.exit(78 if os.path.getsize(sys.argv[1]) > 1 else 1)"
    supervisor = Supervisor(
        [child("other", APPEND + "import time; time.sleep(60)", other), child("b", once, shaky)]
    )
    running = asyncio.create_task(supervisor.run())
    await until(lambda: shaky.exists() and shaky.stat().st_size >= 4)
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert other.stat().st_size == 1


async def test_who_stands_by_is_replaced_when_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row F32: whoever is short of memory takes it first."""
    monkeypatch.setattr(supervisor, "SPARE_AFTER_S", 0.05)
    standing = tmp_path / "standing"
    wait = "import time; time.sleep(60)"
    say = f"import os; open({str(standing)!r}, 'a').write(f'{{os.getpid()}}\\n'); "
    plane = Child("plane", [sys.executable, "-c", wait], [sys.executable, "-c", say + wait])
    running = asyncio.create_task(Supervisor([plane]).run())

    def pids() -> list[int]:
        return [int(pid) for pid in standing.read_text().split()] if standing.exists() else []

    for number in range(1, 4):
        await until(lambda n=number: len(pids()) == n)  # type: ignore[misc]
        os.kill(pids()[-1], signal.SIGKILL)
    await until(lambda: len(pids()) == 4)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pids()[-1], 0)


KILLED = """
import asyncio, os, signal, sys
from jingle_hnt.process.supervisor import Child, Supervisor
say = f"import os, sys, time; open({sys.argv[1]!r}, 'w').write(str(os.getpid())); time.sleep(60)"
asyncio.run(Supervisor([Child("a", [sys.executable, "-c", say])]).run())
"""


async def test_a_child_that_stands_still_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    """Row F33: it would keep the next one out, and takes no signal but one."""
    told = tmp_path / "told"
    words = [sys.executable, "-c", KILLED, str(told)]
    process = await asyncio.create_subprocess_exec(*words)
    await until(lambda: told.exists() and told.read_text() != "")
    pid = int(told.read_text())
    os.kill(pid, signal.SIGSTOP)
    process.kill()
    await process.wait()
    await until(lambda: not Path(f"/proc/{pid}/cwd").is_dir())


def test_without_systemd_notify_says_nothing() -> None:
    assert "NOTIFY_SOCKET" not in os.environ
    notify("READY=1")


# systemd


SLEEP = APPEND + "import time; time.sleep(60)"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd would hear of us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


async def said(channel: socket.socket) -> str:
    async with asyncio.timeout(10):
        return (await asyncio.get_running_loop().sock_recv(channel, 4096)).decode()


async def test_the_watchdog_is_fed_while_the_children_do_their_work(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    well, probes = True, 0

    async def alive() -> None:
        nonlocal probes
        probes += 1
        if not well:
            raise OSError("nothing comes through")

    supervisor = Supervisor([child("a", SLEEP, tmp_path / "a")], alive=alive)
    running = asyncio.create_task(supervisor.run())
    assert await said(systemd) == "READY=1"
    assert await said(systemd) == "WATCHDOG=1"
    well = False
    seen = probes
    await until(lambda: probes > seen + 2)
    while True:
        try:
            systemd.recv(4096)
        except BlockingIOError:
            break
    seen = probes
    await until(lambda: probes > seen + 2)
    with pytest.raises(BlockingIOError):
        systemd.recv(4096)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await said(systemd) == "STOPPING=1"
    await running


@pytest.mark.parametrize(
    ("usec", "pid", "wanted"),
    [("30000000", "", 30.0), ("30000000", "1", None), ("", "", None), ("x", "", None)],
)
def test_the_watchdogs_period(
    usec: str, pid: str, wanted: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_s() == wanted


# Signals


async def test_hup_goes_to_the_child_that_reloads(tmp_path: Path) -> None:
    told = tmp_path / "told"
    listen = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGHUP, lambda *_: open(sys.argv[1], 'a').write('h'))\n"
        "open(sys.argv[1], 'a').write('x')\n"
        "while True: time.sleep(0.05)"
    )
    children = [child("other", SLEEP, tmp_path / "other"), child("reloads", listen, told)]
    running = asyncio.create_task(Supervisor(children, reloads="reloads").run())
    await until(lambda: told.exists() and told.read_text() == "x")
    await until((tmp_path / "other").exists)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: told.read_text() == "xh")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert (tmp_path / "other").read_text() == "x"


@pytest.mark.parametrize("again", [False, True])
async def test_term_waits_for_the_drain_and_a_second_one_for_nothing(
    tmp_path: Path, again: bool
) -> None:
    begun, drained = asyncio.Event(), asyncio.Event()
    finished = False

    async def drain() -> None:
        nonlocal finished
        begun.set()
        await drained.wait()
        finished = True

    supervisor = Supervisor([child("a", SLEEP, tmp_path / "a")], drain=drain)
    running = asyncio.create_task(supervisor.run())
    await until((tmp_path / "a").exists)
    os.kill(os.getpid(), signal.SIGTERM)
    await begun.wait()
    assert not running.done()
    if again:
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        drained.set()
    async with asyncio.timeout(10):
        assert await running == 0
    assert finished is not again


async def test_a_second_term_kills_what_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 600)
    stubborn = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1], 'a').write('t'))\n"
        "open(sys.argv[1], 'a').write('x')\n"
        "while True: time.sleep(0.05)"
    )
    path = tmp_path / "a"
    running = asyncio.create_task(Supervisor([child("a", stubborn, path)]).run())
    await until(lambda: path.exists() and path.read_text() == "x")
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: path.read_text() == "xt")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await running == 0


async def test_it_is_ready_when_calls_are_relayed(systemd: socket.socket, tmp_path: Path) -> None:
    relayed = asyncio.Event()
    supervisor = Supervisor([child("a", SLEEP, tmp_path / "a")], ready=relayed.wait)
    running = asyncio.create_task(supervisor.run())
    await until((tmp_path / "a").exists)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)
    relayed.set()
    assert await said(systemd) == "READY=1"
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_a_server_that_is_down_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_S", 0.05)
    monkeypatch.setattr(processes, "READY_POLL_S", 0.001)
    monkeypatch.setattr(processes, "exchange", lambda *_: {"ready": False})
    await processes._until_ready(tmp_path)
    answers = [False, False, True]
    monkeypatch.setattr(processes, "exchange", lambda *_: {"ready": answers.pop(0)})
    monkeypatch.setattr(processes, "READY_S", 600)
    await processes._until_ready(tmp_path)
    assert answers == []
