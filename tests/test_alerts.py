"""The alert rules name metrics that there are, and promtool finds no fault with them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from jingle_hnt.admin.metrics import Metrics

RULES = Path(__file__).resolve().parents[1] / "config" / "prometheus" / "alerts.yml"


def test_every_metric_in_a_rule_exists() -> None:
    exposed = generate_latest(Metrics("0").registry).decode()
    names = set(re.findall(r"\bjingle_hnt_\w+", RULES.read_text()))
    assert len(names) > 5
    for name in names:
        assert re.search(rf"\b{name}\b", exposed), name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's prometheus has promtool")
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
