"""Reading the configuration again: what changes, what waits for a restart, what changes nothing."""

from pathlib import Path

import pytest

from jingle_hnt.config import load
from jingle_hnt.errors import ConfigurationError
from jingle_hnt.reload import Reloader, leaves, shown
from jingle_hnt.wiring import session_policy
from tests.test_config import NEEDED


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "jingle-hnt.toml"
    file.write_text(NEEDED)
    return file


@pytest.fixture
def reloader(file: Path) -> Reloader:
    return Reloader(load(file), lambda: load(file))


def test_what_new_calls_can_follow_is_in_force(file: Path, reloader: Reloader) -> None:
    file.write_text(
        NEEDED + 'exhausted = "pass"\n[gate]\npolicy = "open"\n[times]\nsetup_s = 7\n'
        '[log]\nlevel = "debug"\n[limits]\nper_user = 2\n'
    )
    changed, waiting = reloader.reload()
    assert changed == (
        "gate.policy",
        "limits.per_user",
        "log.level",
        "relay.exhausted",
        "times.setup_s",
    )
    assert waiting == ()
    policy = session_policy(reloader.settings)
    assert policy.gate == "open"
    assert policy.exhausted == "pass"
    assert policy.times.setup_s == 7
    assert policy.limits.per_user == 2
    assert reloader.reload() == ((), ())


def test_what_needs_a_restart_is_named_and_stays_as_it_was(file: Path, reloader: Reloader) -> None:
    before = reloader.settings
    changes = NEEDED.replace("203.0.113.9", "203.0.113.10").replace("hnt.ex", "relay.ex")
    file.write_text(
        changes + 'ports = "40000-40999"\nwiden_v4 = 24\n[relay_nodes]\nenabled = true\n'
    )
    changed, waiting = reloader.reload()
    assert changed == ("relay.widen_v4",)
    assert waiting == ("relay.interfaces", "relay.ports", "relay_nodes.enabled", "xmpp.component")
    assert reloader.settings.relay.widen_v4 == 24
    assert reloader.settings.relay.ports == before.relay.ports
    assert reloader.settings.xmpp == before.xmpp
    assert session_policy(reloader.settings).channels is None
    assert reloader.reload() == ((), waiting)


@pytest.mark.parametrize("text", ["not toml", NEEDED + "[gate]\npolicy = 'ajar'\n", ""])
def test_a_bad_file_changes_nothing(file: Path, reloader: Reloader, text: str) -> None:
    before = reloader.settings
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=str(file)):
        reloader.reload()
    assert reloader.settings is before


def test_secrets_are_not_shown(file: Path) -> None:
    told = shown(load(file))
    assert told["xmpp.secret"] == "***"
    assert "hush" not in str(told)
    assert told["relay.ports"] == "30000-32767"
    assert set(told) == {key for key, _ in leaves(load(file))}
