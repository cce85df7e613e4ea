"""What `check` finds of the host: rows F8 and F9."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from jingle_hnt.commands import check
from jingle_hnt.commands.advertised import advertised_findings
from jingle_hnt.commands.open_files import privacy, promises, writable_by_all
from jingle_hnt.settings.model import RelayOptions, Settings
from tests.settings.test_config import NEEDED
from tests.threats.doses import Measured

PORTS = 2000


@pytest.fixture
def settings() -> Settings:
    read = tomllib.loads(NEEDED)
    read["relay"]["ports"] = f"30000-{29999 + PORTS}"
    return Settings(**read)


def test_a_start_needs_two_files_for_each_port(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, record_property: Measured
) -> None:
    """Else calls would fail one by one later, or have no line of their own."""
    refused = []
    for limit in (256, PORTS, 2 * PORTS - 1, 2 * PORTS, 4 * PORTS):
        monkeypatch.setattr(check, "descriptor_limit", lambda most=limit: (64, most))
        if check._descriptors(settings).verdict == "FAIL":
            refused.append(limit)
    record_property("ports", PORTS)
    record_property("most_refused", max(refused))
    assert refused == [256, PORTS, 2 * PORTS - 1]


@pytest.mark.parametrize(
    ("ephemeral", "reserved", "verdict"),
    [
        ("32768\t60999", "", "ok"),
        ("1024\t29999", "", "ok"),
        ("31999\t60999", "", "warn"),
        ("1024\t60999", "", "warn"),
        ("1024\t60999", "30000-31999", "ok"),
        ("1024\t60999", "5347,20000-40000", "ok"),
        ("1024\t60999", "30000-30999,31000-31999", "ok"),
        ("1024\t60999", "30000-31998", "warn"),
        ("1024\t60999", "8080", "warn"),
    ],
)
def test_ports_that_programs_are_given_are_to_be_reserved(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ephemeral: str,
    reserved: str,
    verdict: str,
) -> None:
    for name, text in (("EPHEMERAL", ephemeral), ("RESERVED", reserved)):
        (tmp_path / name).write_text(text + "\n")
        monkeypatch.setattr(check, name, tmp_path / name)
    finding = check._port_range(settings)
    assert finding.verdict == verdict
    if verdict == "warn":
        assert "ip_local_reserved_ports = 30000-31999" in finding.text


@pytest.mark.parametrize("name", ["configuration", "secret file", "state directory"])
def test_what_everybody_may_write_fails(settings: Settings, tmp_path: Path, name: str) -> None:
    """Row P11."""
    places = {
        "configuration": tmp_path / "jingle-hnt.toml",
        "secret file": tmp_path / "secret",
        "state directory": tmp_path / "state",
    }
    for place in places.values():
        place.mkdir() if place.name == "state" else place.touch()
        place.chmod(0o750)
    xmpp = settings.xmpp.model_copy(update={"secret_file": places["secret file"]})
    state = settings.state.model_copy(update={"directory": places["state directory"]})
    settings = settings.model_copy(update={"xmpp": xmpp, "state": state})
    (well,) = writable_by_all(settings, places["configuration"])
    assert well.verdict == "ok"
    places[name].chmod(0o777)
    (finding,) = writable_by_all(settings, places["configuration"])
    assert (finding.verdict, finding.subject) == ("FAIL", f"{name} {places[name]}")


def test_a_promise_that_the_world_may_not_keep_is_warned_of(settings: Settings) -> None:
    assert list(promises(settings)) == []
    ice = settings.ice.model_copy(update={"mode": "terminate"})
    budgets = settings.budgets.model_copy(update={"ports_per_user": PORTS // 2})
    warned = promises(settings.model_copy(update={"ice": ice, "budgets": budgets}))
    assert [finding.subject for finding in warned] == ["budgets", "promise of hidden addresses"]
    warned = promises(settings.model_copy(update={"ice": ice}), alone=False)
    assert list(warned) == []  # the server module says how it decides


@pytest.mark.parametrize(("mode", "verdict"), [(0o644, "warn"), (0o640, "ok"), (0o666, "FAIL")])
def test_a_secret_that_everybody_may_read_is_warned_of(
    settings: Settings, tmp_path: Path, mode: int, verdict: str
) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    secret.chmod(mode)
    xmpp = settings.xmpp.model_copy(update={"secret_file": secret})
    found = writable_by_all(settings.model_copy(update={"xmpp": xmpp}), tmp_path / "none")
    told = [finding for finding in found if finding.verdict == verdict]
    assert told
    if verdict == "warn":
        assert told[0].text.endswith(f"run chmod o-r {secret}")
        secret.chmod(secret.stat().st_mode & ~0o004)
        again = writable_by_all(settings.model_copy(update={"xmpp": xmpp}), tmp_path / "none")
        assert {finding.verdict for finding in again} == {"ok"}


@pytest.mark.parametrize(
    ("relay", "verdict", "part"),
    [
        ({"interfaces": [{"address": "203.0.113.9"}]}, None, ""),
        ({"interfaces": [{"address": "127.0.0.1"}]}, "FAIL", "loopback"),
        ({"interfaces": [{"address": "::1"}]}, "FAIL", "loopback"),
        ({"interfaces": [{"address": "fe80::1"}]}, "FAIL", "link-local"),
        ({"interfaces": [{"address": "192.168.1.5"}]}, "warn", "advertise ="),
        ({"interfaces": [{"address": "100.64.1.5"}]}, "warn", "is private"),
        ({"interfaces": [{"address": "fd00::5"}]}, "warn", "is private"),
        (
            {"interfaces": [{"address": "127.0.0.1", "advertise": "192.168.1.5"}]},
            "warn",
            "is private",
        ),
        ({"interfaces": [{"address": "10.0.0.9", "advertise": "203.0.113.9"}]}, None, ""),
        (
            {
                "interfaces": [{"address": "192.168.1.5"}],
                "allow_networks": ["192.168.1.0/24"],
            },
            None,
            "",
        ),
        (
            {
                "interfaces": [
                    {"address": "192.168.1.5", "advertise": "203.0.113.9"},
                    {"address": "192.168.1.5", "networks": ["192.168.1.0/24"]},
                ]
            },
            None,
            "",
        ),
    ],
)
def test_what_parties_are_told_is_looked_at(
    relay: dict[str, Any], verdict: str | None, part: str
) -> None:
    """Samples O15 and O35."""
    found = list(advertised_findings(RelayOptions(**relay)))
    assert [f.verdict for f in found] == ([] if verdict is None else [verdict])
    assert all(part in f.text for f in found)


def test_a_narrow_network_of_ipv6_is_warned_of(settings: Settings) -> None:
    six = RelayOptions.model_validate({"interfaces": [{"address": "2001:db8::9"}], "widen_v6": 128})
    (warned,) = privacy(settings.model_copy(update={"relay": six}))
    assert "widen_v6 = 64" in warned.text
    wide = six.model_copy(update={"widen_v6": 64})
    assert list(privacy(settings.model_copy(update={"relay": wide}))) == []
    assert list(privacy(settings)) == []
