"""Configurations without a file, as containers have them."""

import socket
from pathlib import Path

import pytest

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.settings import environment
from jingle_hnt.settings.file import load
from jingle_hnt.settings.in_force import KEPT, Kept, begin

NEEDED = {
    "XMPP__COMPONENT": "hnt.example.org",
    "XMPP__DOMAINS": "example.org",
    "XMPP__SECRET": "hush",
    "RELAY__INTERFACES": "203.0.113.9",
}
NOWHERE = Path("/nowhere/jingle-hnt.toml")


@pytest.fixture(autouse=True)
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"JINGLE_HNT_{name}", value)


@pytest.fixture
def also(monkeypatch: pytest.MonkeyPatch) -> "Also":
    return Also(monkeypatch)


class Also:
    """Sets further variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, **variables: object) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(f"JINGLE_HNT_{name}", str(value))

    def without(self, name: str) -> None:
        self._monkeypatch.delenv(f"JINGLE_HNT_{name}")


def test_no_file_is_needed() -> None:
    settings = load(NOWHERE)
    assert settings.xmpp.domains == ("example.org",)
    assert [str(i.address) for i in settings.relay.interfaces] == ["203.0.113.9"]
    assert settings.secret == "hush"


def test_without_what_is_needed_a_file_is(also: Also) -> None:
    also.without("RELAY__INTERFACES")
    with pytest.raises(ConfigurationError, match="jingle-hnt init"):
        load(NOWHERE)


def test_a_list_has_commas_or_is_json(also: Also) -> None:
    also(
        XMPP__DOMAINS="example.org, example.net",
        RELAY__ALLOW_NETWORKS='["192.168.0.0/16"]',
        ADMIN__JIDS="alice@example.org",
        RELAY__PROXIES="",
    )
    settings = load(NOWHERE)
    assert settings.xmpp.domains == ("example.org", "example.net")
    assert [str(network) for network in settings.relay.allow_networks] == ["192.168.0.0/16"]
    assert settings.admin.jids == ("alice@example.org",)
    assert settings.relay.proxies == ()


def test_json_that_is_none_is_named_and_not_shown(also: Also) -> None:
    also(RELAY__ALLOW_NETWORKS='["192.168.0.0/16"')
    with pytest.raises(ConfigurationError) as refused:
        load(NOWHERE)
    assert "JINGLE_HNT_RELAY__ALLOW_NETWORKS: not JSON" in str(refused.value)
    assert "192.168" not in str(refused.value)


def test_interfaces_may_be_tables_or_addresses_with_what_is_told(also: Also) -> None:
    also(RELAY__INTERFACES="10.0.0.9=203.0.113.9,2001:db8::9")
    first, second = load(NOWHERE).relay.interfaces
    assert (str(first.address), str(first.advertise)) == ("10.0.0.9", "203.0.113.9")
    assert (str(second.address), second.advertise) == ("2001:db8::9", None)
    also(RELAY__INTERFACES='[{"address": "10.0.0.9", "port_offset": 1000}]')
    assert load(NOWHERE).relay.interfaces[0].port_offset == 1000
    also(RELAY__INTERFACES="somewhere")
    with pytest.raises(ConfigurationError, match=r"relay\.interfaces.*is no IP address"):
        load(NOWHERE)


def test_auto_is_the_address_towards_the_internet(
    also: Also, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "own_addresses", lambda: ["10.0.0.9", "2001:db8::9"])
    also(RELAY__INTERFACES="auto")
    assert [str(i.address) for i in load(NOWHERE).relay.interfaces] == ["10.0.0.9", "2001:db8::9"]
    also(RELAY__INTERFACES="auto=203.0.113.9")
    (only,) = load(NOWHERE).relay.interfaces
    assert (str(only.address), str(only.advertise)) == ("10.0.0.9", "203.0.113.9")
    monkeypatch.setattr(environment, "own_addresses", list)
    with pytest.raises(ConfigurationError, match="no way to the internet") as refused:
        load(NOWHERE)
    says = "write the address that clients reach, such as "
    assert says in str(refused.value)
    also(RELAY__INTERFACES=str(refused.value).rpartition(says)[2])
    assert [str(i.address) for i in load(NOWHERE).relay.interfaces] == ["203.0.113.9"]


def test_own_addresses_are_this_hosts() -> None:
    for address in environment.own_addresses():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as bound:
            bound.bind((address, 0))


def test_a_value_may_be_in_a_file(also: Also, tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("example.org,example.net\n")
    also.without("XMPP__DOMAINS")
    also(XMPP__DOMAINS__FILE=tmp_path / "domains")
    assert load(NOWHERE).xmpp.domains == ("example.org", "example.net")
    also(XMPP__DOMAINS__FILE=tmp_path / "missing")
    with pytest.raises(
        ConfigurationError, match=r"XMPP__DOMAINS__FILE: .*missing: No such file"
    ) as no:
        load(NOWHERE)
    assert "write the path of a file that holds the value" in str(no.value)
    (tmp_path / "missing").write_text("example.org")
    assert load(NOWHERE).xmpp.domains == ("example.org",)


def test_the_file_of_a_secret_is_read_for_each_connection(also: Also, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    also.without("XMPP__SECRET")
    also(XMPP__SECRET__FILE=file)
    settings = load(NOWHERE)
    assert settings.secret == "first"
    file.write_text("second\n")
    assert settings.secret == "second"


def test_a_value_and_a_file_of_it_are_one_too_many(also: Also, tmp_path: Path) -> None:
    also(XMPP__SECRET__FILE=tmp_path / "secret")
    with pytest.raises(ConfigurationError, match="both are set; write one of them") as refused:
        load(NOWHERE)
    assert "hush" not in str(refused.value)
    also.without("XMPP__SECRET__FILE")
    assert load(NOWHERE).secret == "hush"


def test_what_is_in_force_is_kept_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in begin(tmp_path / "kept", NOWHERE).items():
        monkeypatch.setenv(name, value)
    assert Kept().settings(NOWHERE).xmpp.component == "hnt.example.org"
    assert Kept().reload(NOWHERE).xmpp.component == "hnt.example.org"
    monkeypatch.delenv(KEPT)
