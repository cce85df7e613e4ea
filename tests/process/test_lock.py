"""Two processes never work on one state directory (rows F12 and F22)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.process.lock import alone
from tests.threats import doses
from tests.threats.doses import Measured

HOLD = """
import pathlib, sys
from jingle_hnt.process.lock import alone
with alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as first:
        told = rf"process {first.pid}\).*state\.directory"
        with pytest.raises(ConfigurationError, match=told), alone(path):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    with alone(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_of_many_at_once_one_works(tmp_path: Path, record_property: Measured) -> None:
    many = doses.count(100)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(many)
    ]
    # Who is refused ends by itself; whoever has begun waits until all have been heard.
    first = [process.stdout.readline() for process in started if process.stdout is not None]
    told = [process.communicate()[1] for process in started]
    refused = sum("another jingle-hnt works on" in each for each in told)
    record_property("started", many)
    record_property("refused", refused)
    assert first.count("held\n") == 1
    assert refused == many - 1


def test_it_can_be_taken_again_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lock"
    for _ in range(2):
        with alone(path):
            assert path.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"cannot be written.*state\.directory"),
        alone(tmp_path / "file" / "lock"),
    ):
        pass
