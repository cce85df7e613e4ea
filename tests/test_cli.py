"""The commands as a user runs them."""

import asyncio
import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jingle_hnt.cli import main
from jingle_hnt.commands import processes
from jingle_hnt.commands.plane import until_told
from jingle_hnt.process.lock import alone
from jingle_hnt.settings.file import load
from jingle_hnt.settings.model import Settings
from tests.settings.test_config import NEEDED
from tests.threats.doses import Measured


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jingle_hnt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_init_writes_what_check_can_use(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "jingle-hnt.toml"
    options = ("--config", file, "--domain", "example.org", "--relay-address", "127.0.0.1")
    before = os.umask(
        0o077
    )  # of a careful administrator; the service's own user must read it still
    try:
        done = run("init", *options, "--yes")
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stderr
    assert "kick_old" in done.stdout
    assert "ejabberdctl module_install mod_jingle_hnt" in done.stdout
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.parent.stat().st_mode & 0o777 == 0o755
    assert file.with_name("secret").stat().st_mode & 0o777 == 0o600
    assert file.with_name("secret").read_text().strip() not in done.stdout
    again = run("init", *options, "--yes")
    assert again.returncode == 1
    assert "--force" in again.stderr
    findings = json.loads(run("check", "--offline", "--json", "--config", file).stdout)
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert verdicts["configuration"] == "ok"
    assert verdicts["relay address 127.0.0.1"] == "ok"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--domain", "alice@example.org"), "write the name alone"),
        (("--domain", "https://example.org"), "write the name alone"),
        (("--domain", "example..org"), "is no domain"),
        (("--domain", ""), "is no domain"),
        (("--domain", "exa mple.org"), "is no domain"),
        (("--domain", "a-.example"), "is no domain"),
        (("--domain", f"{'a' * 64}.example"), "is no domain"),
        (("--component", "example.org"), "name the component as hnt"),
        (("--component", "hnt@example.org"), "is no component"),
        (("--relay-address", "relay"), "is no IP address"),
        (("--relay-address", "0.0.0.0"), "no party can send to it"),
        (("--relay-address", "::ffff:192.0.2.1"), "write 192.0.2.1"),
        (("--advertise", "2001:db8::1"), "same IP version"),
        (("--advertise", "224.0.0.1"), "no party can send to it"),
    ],
)
def test_init_writes_nothing_that_cannot_work(
    tmp_path: Path, options: tuple[str, str], part: str
) -> None:
    """Sample O35."""
    given = {"--domain": "example.org", "--relay-address": "203.0.113.9"} | dict([options])
    words = [word for pair in given.items() for word in pair]
    done = run("init", "--config", tmp_path / "c.toml", *words, "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_takes_domains_of_all_languages(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    words = ("--domain", "Bücher.Example.", "--relay-address", "203.0.113.9", "--yes")
    assert run("init", "--config", file, *words).returncode == 0
    assert load(file).xmpp.domains == ("bücher.example",)


def test_init_keeps_what_it_writes_over(tmp_path: Path) -> None:
    file, secret = tmp_path / "c.toml", tmp_path / "secret"
    words = ("--config", file, "--domain", "example.org", "--relay-address", "203.0.113.9")
    file.write_text("mine")
    secret.write_text("hush")
    kept = run("init", *words, "--yes")
    assert (kept.returncode, file.read_text()) == (1, "mine")
    done = run("init", *words, "--yes", "--force")
    assert done.returncode == 0
    assert f"{file} is there already; it is kept as c.toml.old" in done.stdout
    assert (tmp_path / "c.toml.old").read_text() == "mine"
    assert (tmp_path / "secret.old").read_text() == "hush"
    assert load(file).secret == secret.read_text().strip() != "hush"


def test_init_proposes_this_hosts_addresses_public_ones_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ["10.0.0.9", "2001:db8::9", "127.0.0.1", "203.0.113.9", "fe80::1", "169.254.1.1"]
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: found)
    file = tmp_path / "c.toml"
    assert main(["init", "--config", str(file), "--domain", "example.org", "--yes"]) == 0
    assert "addresses of this host: 203.0.113.9, 2001:db8::9, 10.0.0.9" in capsys.readouterr().out
    assert str(load(file).relay.interfaces[0].address) == "203.0.113.9"
    found[:] = ["10.0.0.9"]
    words = ["init", "--config", str(file), "--domain", "example.org", "--yes", "--force"]
    assert main(words) == 0
    assert "10.0.0.9 is private" in capsys.readouterr().err
    load(file)
    assert main([*words, "--advertise", "203.0.113.200"]) == 0
    (interface,) = load(file).relay.interfaces
    assert (str(interface.address), str(interface.advertise)) == ("10.0.0.9", "203.0.113.200")


def test_init_asks_for_a_real_address(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    done = run("init", "--config", file, "--domain", "x.y", "--relay-address", "relay", "--yes")
    assert done.returncode == 2
    assert "IP address" in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("command", ["check", "run", "plane", "signalling"])
def test_a_configuration_that_cannot_be_used_is_status_78(tmp_path: Path, command: str) -> None:
    file = tmp_path / "c.toml"
    missing = run(command, "--config", file)
    assert missing.returncode == 78
    assert "jingle-hnt init" in missing.stderr
    file.write_text("[xmpp]\n")
    broken = run(command, "--config", file)
    assert broken.returncode == 78
    assert "Traceback" not in broken.stderr


def test_check_says_what_is_wrong_with_an_address_of_another_host(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(NEEDED)
    done = run("check", "--offline", "--config", file)
    assert done.returncode == 1
    assert "FAIL  relay address 203.0.113.9: is on no interface" in done.stdout
    assert "advertise" in done.stdout


def test_check_says_when_nobody_answers(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(NEEDED.replace("[relay]", 'server = "127.0.0.1:9"\n[relay]'))
    done = run("check", "--config", file)
    assert done.returncode == 1
    assert "FAIL  handshake: 127.0.0.1:9" in done.stdout


def test_status_without_a_process_says_so(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(NEEDED + f'[state]\nruntime_directory = "{tmp_path}"\n')
    done = run("status", "--config", file)
    assert done.returncode == 1
    assert "does not answer" in done.stderr


STATUS = {"ready": True, "version": "1"}
LIMITS = {"users": {"wörld-\N{GREEK SMALL LETTER OMEGA}@example.org": 1}, "budgets": []}


@contextlib.contextmanager
def answering(directory: Path, answer: object) -> Iterator[None]:
    """A process that answers one question at the socket in this directory."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "admin.sock"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as lines:
                lines.readline()
                lines.write(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize("more", ["", "nonsense = 1\n", "[relay]\ninterfaces = 5\n"])
def test_status_is_told_although_the_file_cannot_be_used_any_more(
    tmp_path: Path, more: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'{more}[state]\nruntime_directory = "{tmp_path}"\n')
    with answering(tmp_path, STATUS):
        done = run("status", "--config", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ready              yes" in done.stdout


def test_status_of_a_file_that_is_no_toml_is_that_of_the_environments_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("[[[")
    for name, value in (
        ("STATE__RUNTIME_DIRECTORY", str(tmp_path)),
        ("STATE", json.dumps({"runtime_directory": str(tmp_path)})),
    ):
        with monkeypatch.context() as patched, answering(tmp_path, STATUS):
            patched.setenv(f"JINGLE_HNT_{name}", value)
            assert run("status", "--config", tmp_path / "c.toml").returncode == 0
        (tmp_path / "admin.sock").unlink()


def test_status_loads_nothing_that_costs_the_health_check(tmp_path: Path) -> None:
    """Time depends on the machine; what is loaded does not."""
    code = (
        "import sys; from jingle_hnt.cli import main; status = main(sys.argv[1:]);"
        " print(*{name.partition('.')[0] for name in sys.modules}); sys.exit(status)"
    )
    file = tmp_path / "c.toml"
    file.write_text(f'[state]\nruntime_directory = "{tmp_path}"\n')
    with answering(tmp_path, STATUS):
        command = [sys.executable, "-c", code, "status", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = {"asyncio", "pydantic", "structlog", "rich", "slixmpp", "prometheus_client", "aioice"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_a_users_letters_shows_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[state]\nruntime_directory = "{tmp_path}"\n')
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with answering(tmp_path, LIMITS):
        command = [sys.executable, "-m", "jingle_hnt", "limits", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u03c9@example.org 1" in done.stdout


def test_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explode"])
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_the_secret_is_never_on_a_command_line() -> None:
    assert "secret" not in run("run", "--help").stdout
    assert os.environ.get("JINGLE_HNT_XMPP__SECRET") is None


def _settings(drain_s: float) -> Settings:
    return Settings(**tomllib.loads(f"{NEEDED}\n[stop]\ndrain_s = {drain_s}"))


async def test_a_drain_waits_until_no_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    left = [2, 1, 0]

    def ask(path: Path, request: Mapping[str, object]) -> dict[str, object] | None:
        asked.append(request["command"])
        return {"calls": left.pop(0)}

    monkeypatch.setattr(processes, "ask_at", ask)
    monkeypatch.setattr(processes, "DRAIN_POLL_S", 0.001)
    await processes._drain(_settings(10))
    assert asked == ["drain", "status", "status"]
    left[:] = [1] * 1_000_000
    await processes._drain(_settings(0.05))  # and no longer


@pytest.mark.parametrize("command", ["run", "signalling"])
def test_a_second_instance_with_the_same_state_refuses_to_start(
    tmp_path: Path, command: str, record_property: Measured
) -> None:
    """Row F22: else both would give the same ports to different calls."""
    file = configuration(tmp_path)
    lock = tmp_path / ("lock" if command == "run" else "journal.lock")
    with alone(lock):
        done = run(command, "--config", file)
    record_property("exit_status", done.returncode)
    assert done.returncode == 78
    assert f"process {os.getpid()}" in done.stderr
    assert "state.directory" in done.stderr


def test_too_few_open_files_are_no_start(tmp_path: Path) -> None:
    """Row F8: calls would fail one by one later."""
    file = configuration(tmp_path)
    script = f"ulimit -n 256; exec {sys.executable} -m jingle_hnt run --config {file}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 78
    assert "open files" in done.stderr
    assert "LimitNOFILE=" in done.stderr


def configuration(directory: Path) -> Path:
    """One with which processes could start."""
    file = directory / "c.toml"
    places = f'directory = "{directory}"\nruntime_directory = "{directory}"\n'
    file.write_text(f"{NEEDED}\n[state]\n{places}")
    return file


def test_what_is_loaded_is_none_of_the_garbage_collectors_business() -> None:
    async def work() -> None:
        assert gc.get_freeze_count() > len(gc.get_objects())

    try:
        asyncio.run(until_told(work()))
    finally:
        gc.unfreeze()
