"""The systemd unit: read by systemd's own tools, and played without it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fronts.xmpp.recorder import until
from tests.threats import doses
from tests.threats.doses import Measured

UNIT = Path(__file__).parents[2] / "config" / "systemd" / "jingle-hnt.service"
EXPOSURE = 1.5
WATCHDOG_S = 10
NEWS_S = 0.5
"""What a word on its way to systemd may take on a busy machine."""
CONFIGURATION = """\
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
server = "127.0.0.1:{port}"
[relay]
interfaces = [{{ address = "127.0.0.1" }}]
ports = "42000-42099"
[state]
directory = "{directory}"
runtime_directory = "{directory}"
"""


def limit_s() -> float:
    """The watchdog's time, or less of it at less than the full dose."""
    return doses.seconds(WATCHDOG_S, least=1.5)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.M))
    return copy


def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_sandbox_is_tight(unit: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE


def test_the_unit_and_the_program_agree() -> None:
    lines = set(UNIT.read_text().splitlines())
    assert {
        "Type=notify",
        "NotifyAccess=main",
        "KillMode=mixed",  # TERM is for the main process: it has a drain to wait for
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"WatchdogSec={WATCHDOG_S}",
        "FileDescriptorStoreMax=12000",
        "RestartPreventExitStatus=78",
        "LoadCredential=secret:/etc/jingle-hnt/secret",
        "DynamicUser=yes",
    } <= lines


class Service:
    """jingle-hnt started as systemd would start it."""

    def __init__(self, process: asyncio.subprocess.Process, notify: socket.socket, log: Path):
        self.process, self._notify, self._log = process, notify, log

    async def says(self, what: str) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while (await loop.sock_recv(self._notify, 4096)).decode() != what:
                pass

    async def keeps_silent(self, seconds: float) -> None:
        """Wait as systemd's watchdog does: until nothing was said for so long."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(seconds):
                    await loop.sock_recv(self._notify, 4096)

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "jingle-hnt.toml").write_text(CONFIGURATION.format(port=port, directory=tmp_path))
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(round(1e6 * limit_s())),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    environment.pop("WATCHDOG_PID", None)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        (tmp_path / "log").open("wb") as log,
    ):
        notify.bind(str(tmp_path / "notify"))
        notify.setblocking(False)
        command = ["-m", "jingle_hnt", "run", "--config", str(tmp_path / "jingle-hnt.toml")]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=log, stderr=log, env=environment
        )
        yield Service(process, notify, tmp_path / "log")
        if process.returncode is None:
            process.kill()
        await process.wait()


def child_of(pid: int, name: str) -> int:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == pid and name.encode() in words and b"--standby" not in words:
            return int(path.parent.name)
    raise LookupError(f"{pid} has no child {name}")


@pytest.mark.integration
async def test_the_watchdog_hears_of_a_plane_that_stands_still(
    service: Service, record_property: Measured
) -> None:
    await service.says("READY=1")
    await service.says("WATCHDOG=1")
    assert service.process.pid is not None
    plane = child_of(service.process.pid, "plane")
    os.kill(plane, signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        await service.keeps_silent(limit_s())
        noticed_s = time.monotonic() - stopped_at
        assert "watchdog's probe failed" in service.log
    finally:
        os.kill(plane, signal.SIGCONT)
    await service.says("WATCHDOG=1")
    record_property("noticed_s", round(noticed_s, 2))
    assert noticed_s <= limit_s() + NEWS_S
    assert "probe." not in service.log


@pytest.mark.integration
async def test_hup_reloads_and_term_stops(service: Service, tmp_path: Path) -> None:
    await service.says("WATCHDOG=1")
    await until((tmp_path / "admin.sock").exists)
    path = tmp_path / "jingle-hnt.toml"
    whole = path.read_text()
    for text, told in (
        (whole + "[admin]\njids = 7", "the configuration is not reloaded"),
        (whole + "[admin]\njids = ['a@example.org']", "configuration is reloaded"),
    ):
        path.write_text(text)
        service.process.send_signal(signal.SIGHUP)
        await until(lambda told=told: told in service.log)  # type: ignore[misc]
    assert service.process.returncode is None
    service.process.send_signal(signal.SIGTERM)
    await service.says("STOPPING=1")
    async with asyncio.timeout(15):
        assert await service.process.wait() == 0
    assert json.dumps("hush") not in service.log
