"""Reading the configuration again: what changes, what waits for a restart, what changes nothing."""

from pathlib import Path

import pytest

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings.file import load
from jingle_hnt.settings.reload import Reloader, leaves, shown
from jingle_hnt.settings.wiring import interfaces, session_policy
from tests.settings.test_config import NEEDED


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
    assert policy.gate.policy == "open"
    assert policy.relay.exhausted == "pass"
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
    assert session_policy(reloader.settings).relay_nodes is None
    assert reloader.reload() == ((), waiting)


def test_what_parties_are_told_of_the_same_addresses_needs_no_restart(
    file: Path, reloader: Reloader
) -> None:
    told = '{ address = "203.0.113.9", advertise = "198.51.100.1", port_offset = 100 }'
    file.write_text(NEEDED.replace('{ address = "203.0.113.9" }', told))
    assert reloader.reload() == (("relay.interfaces",), ())
    (interface,) = interfaces(reloader.settings)
    assert str(interface.bound) == "203.0.113.9"
    assert str(interface.advertised) == "198.51.100.1"
    assert interface.port_offset == 100


@pytest.mark.parametrize("text", ["not toml", NEEDED + "[gate]\npolicy = 'ajar'\n", ""])
def test_a_bad_file_changes_nothing(file: Path, reloader: Reloader, text: str) -> None:
    before = reloader.settings
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=str(file)):
        reloader.reload()
    assert reloader.settings is before


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("gate.policy", "open", "open"),
        ("gate.policy", '"open"', "open"),
        ("times.setup_s", "7.5", 7.5),
        ("limits.per_user", "3", 3),
        ("relay.proxies", '["192.0.2.1"]', ["192.0.2.1/32"]),
    ],
)
def test_one_option_is_set_until_the_next_reload(
    file: Path, reloader: Reloader, option: str, text: str, value: object
) -> None:
    before = reloader.followed()
    reloader.alter(option, text)
    assert reloader.followed() == {**before, option: value}
    assert session_policy(reloader.settings) != session_policy(load(file))
    assert reloader.reload() == ((option,), ())
    assert reloader.followed() == before


def test_a_script_tells_the_address_of_today_without_editing_the_file(
    file: Path, reloader: Reloader
) -> None:
    """Sample O14."""
    reloader.alter("relay.advertise", "198.51.100.7")
    assert reloader.followed()["relay.advertise"] == "198.51.100.7"
    (told,) = interfaces(reloader.settings)
    assert (str(told.bound), str(told.advertised)) == ("203.0.113.9", "198.51.100.7")
    assert reloader.reload() == (("relay.interfaces",), ())
    (told,) = interfaces(reloader.settings)
    assert told.advertised == told.bound


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        ("gate.policy", "ajar", "gate.policy: Input should be"),
        ("times.setup_s", "-1", "greater than 0"),
        ("relay.ports", "40000-40999", "needs a restart: write it into the file"),
        ("xmpp.secret", "x", "needs a restart"),
        ("gate.polcy", "open", r"did you mean 'gate.policy'\?"),
        ("admin.jids", '["mallory@example.org"]', "only the file sets this"),
        ("log.redact", "false", "only the file sets this"),
        ("gate", "{}", "no such option"),
        ("nonsense", "1", "`jingle-hnt policy` lists"),
        ("relay.advertise", "elsewhere.example", "is no IP address"),
        ("relay.advertise", "0.0.0.0", "no party can send to it"),
        ("relay.advertise", "2001:db8::1", "0 of relay.interfaces are of IPv6"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    reloader: Reloader, option: str, text: str, why: str
) -> None:
    before = reloader.settings
    with pytest.raises(ConfigurationError, match=why):
        reloader.alter(option, text)
    assert reloader.settings is before


def test_secrets_are_not_shown(file: Path) -> None:
    told = shown(load(file))
    assert told["xmpp.secret"] == "***"
    assert "hush" not in str(told)
    assert told["relay.ports"] == "24000-26767"
    assert set(told) == {key for key, _ in leaves(load(file))}
