"""The commands as a user runs them."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from jingle_hnt.cli import main
from jingle_hnt.commands import processes
from jingle_hnt.config import Settings
from tests.test_config import NEEDED


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jingle_hnt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_init_writes_what_check_can_use(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "jingle-hnt.toml"
    options = ("--config", file, "--domain", "example.org", "--relay-address", "127.0.0.1")
    done = run("init", *options, "--yes")
    assert done.returncode == 0, done.stderr
    assert "kick_old" in done.stdout
    assert "ejabberdctl module_install mod_jingle_hnt" in done.stdout
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.with_name("secret").stat().st_mode & 0o777 == 0o600
    assert file.with_name("secret").read_text().strip() not in done.stdout
    again = run("init", *options, "--yes")
    assert again.returncode == 1
    assert "--force" in again.stderr
    findings = json.loads(run("check", "--offline", "--json", "--config", file).stdout)
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert verdicts["configuration"] == "ok"
    assert verdicts["relay address 127.0.0.1"] == "ok"


def test_init_asks_for_a_real_address(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    done = run("init", "--config", file, "--domain", "x.y", "--relay-address", "relay", "--yes")
    assert done.returncode == 2
    assert "IP address" in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("command", ["check", "run", "plane", "signalling", "status"])
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
