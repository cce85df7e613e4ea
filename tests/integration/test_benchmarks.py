"""The benchmarks run, and count what they should; how fast is for nobody to assert here."""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.lab.play import ROOT

pytestmark = pytest.mark.integration


def bench(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=55)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_both_directions_of_every_call_are_relayed_and_measured() -> None:
    against = "rtpengine" if shutil.which("rtpengine") else "reference"
    once = ("--calls", "10", "--seconds", "1", "--rounds", "1", "--against", against)
    (row,) = bench("relay", *once)["compared"]
    assert [run["relay"] for run in row["runs"]] == [against, "jingle-hnt"]
    for run in row["runs"]:
        assert run["sent"] == 2 * 10 * (50 - 10)
        assert all(heard > 0.9 * run["sent"] / 2 for heard in run["heard"])
        assert run["silent_flows"] == run["foreign"] == 0
        assert run["cpu_us_per_packet"] > 0


def test_bindings_are_made_and_released() -> None:
    (row,) = bench("bindings", "--calls", "50")["measured"]
    assert row["calls"] == 50
    assert row["opened_bindings_per_s"] > 0
