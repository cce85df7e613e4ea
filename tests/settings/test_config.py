"""The configuration: what is needed, what is refused, and in which words."""

import re
import tomllib
from pathlib import Path

import pytest

from jingle_hnt.call.policy import IceMode
from jingle_hnt.errors import ConfigurationError
from jingle_hnt.jingle.rules import matches
from jingle_hnt.model.content import ICE, ICE_UDP
from jingle_hnt.model.jid import JID
from jingle_hnt.settings.file import load
from jingle_hnt.settings.model import Settings
from jingle_hnt.settings.wiring import administrators, session_policy

ROOT = Path(__file__).parents[2]
NEEDED = """
[xmpp]
component = "hnt.example.org"
domains = ["example.org"]
secret = "hush"
[relay]
interfaces = [{ address = "203.0.113.9" }]
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "jingle-hnt.toml"


def loaded(path: Path, text: str) -> Settings:
    path.write_text(text)
    return load(path)


def refused(path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(path, text)
    return str(caught.value)


def test_four_answers_are_enough(write: Path) -> None:
    settings = loaded(write, NEEDED)
    assert settings.secret == "hush"
    assert settings.relay.port_range == (24000, 26767)
    assert settings.xmpp.endpoint[1] == 5347


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "xmpp: missing; write a table [xmpp]"),
        (NEEDED + "adress = 1", "relay.adress: unknown key; known here: interfaces"),
        (NEEDED.replace("secret", "secrt"), "xmpp.secrt: unknown key; did you mean 'secret'?"),
        (NEEDED + "[gates]", "gates: unknown key; did you mean 'gate'?"),
        (NEEDED.replace("203.0.113.9", "relay.example"), "relay.interfaces.0.address"),
        (NEEDED + 'ports = "4-x"', 'such as "24000-26767"'),
        (NEEDED + 'ports = "24001-26767"', "even first"),
        (NEEDED + '[gate]\npolicy = "shut"', "'open', 'one-stage' or 'two-stage'"),
        (NEEDED.replace("[relay]", 'server = "xmpp example:5347"\n[relay]'), "127.0.0.1:5347"),
        (NEEDED.replace("[relay]", 'server = "127.0.0.256:5347"\n[relay]'), "127.0.0.1:5347"),
        (NEEDED.replace("[relay]", 'server = "xmpp.example:5347"\n[relay]'), "allow_plaintext_to"),
        (NEEDED.replace("[relay]", 'server = "203.0.113.2:5347"\n[relay]'), "allow_plaintext_to"),
        ("not toml", "not TOML"),
        (NEEDED + '[admin]\njids = ["a@example.org/x"]', "no bare JID"),
        (NEEDED + '[admin]\njids = ["a@b.example"]', "toml: admin.jids: a@b.example is of no"),
        (NEEDED + '[state]\ndirectory = "here"', "absolute path"),
        (NEEDED + '[ice]\nmode = "end"', "'append', 'terminate' or 'pass'"),
        (NEEDED + '[ice]\nraw_udp = ["a@example.org/x"]', "write a bare JID or a domain"),
        (NEEDED + '[ice]\nrules = [{ parties = ["*"] }]', "ice.rules.0.mode: missing"),
        (NEEDED.replace("203.0.113.9", "0.0.0.0"), "0.0.0.0 is the unspecified address"),
        (NEEDED.replace("203.0.113.9", "::"), ":: is the unspecified address"),
        (NEEDED.replace("203.0.113.9", "224.0.0.9"), "224.0.0.9 is a multicast"),
        (NEEDED.replace("203.0.113.9", "255.255.255.255"), "multicast or broadcast"),
        (NEEDED.replace("203.0.113.9", "::ffff:203.0.113.9"), "(write 203.0.113.9)"),
        (
            NEEDED.replace('"203.0.113.9"', '"203.0.113.9", advertise = "0.0.0.0"'),
            "advertise 0.0.0.0 is the unspecified address",
        ),
        (
            NEEDED.replace("}]", '}, { address = "203.0.113.9", advertise = "192.0.2.1" }]'),
            "203.0.113.9 is listed twice for the same parties",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(write: Path, text: str, part: str) -> None:
    assert part in refused(write, text)


def test_every_problem_is_named_and_no_secret(write: Path) -> None:
    text = NEEDED.replace('"hush"', '"hush-hush"').replace("203.0.113.9", "x") + "[gates]"
    said = refused(write, text)
    assert len(said.splitlines()) == 2
    assert "hush-hush" not in said


def test_one_address_may_be_told_differently_in_each_network(write: Path) -> None:
    """A home server: one network card, users of the LAN and of the internet, no hairpin."""
    two = (
        '[{ address = "192.168.1.5", advertise = "203.0.113.9" },'
        ' { address = "192.168.1.5", networks = ["192.168.1.0/24"] }]'
    )
    settings = loaded(write, NEEDED.replace('[{ address = "203.0.113.9" }]', two))
    assert [str(i.address) for i in settings.relay.interfaces] == ["192.168.1.5"] * 2


def test_marks_of_editors_are_not_part_of_what_they_mark(write: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xef\xbb\xbfhush\r\n")
    text = NEEDED.replace('secret = "hush"', f'secret_file = "{tmp_path / "secret"}"')
    write.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(write).secret == "hush"


def test_a_list_of_the_environment_may_be_json(
    write: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JINGLE_HNT_XMPP__DOMAINS", '["example.org"')
    said = refused(write, NEEDED)
    assert "JINGLE_HNT_XMPP__DOMAINS: not JSON" in said
    monkeypatch.setenv("JINGLE_HNT_XMPP__DOMAINS", '["example.net"]')
    assert loaded(write, NEEDED).xmpp.domains == ("example.net",)


@pytest.mark.rule("I6")
def test_a_server_in_a_trusted_network_is_allowed(write: Path) -> None:
    trusted = 'server = "203.0.113.2:5347"\nallow_plaintext_to = ["203.0.113.0/24"]\n[relay]'
    assert loaded(write, NEEDED.replace("[relay]", trusted)).xmpp.endpoint[0] == "203.0.113.2"


def test_the_environment_goes_over_the_file_and_a_file_over_both(
    write: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JINGLE_HNT_XMPP__SECRET", "from the environment")
    monkeypatch.setenv("JINGLE_HNT_LOG__LEVEL", "error")
    settings = loaded(write, NEEDED)
    assert settings.secret == "from the environment"
    assert settings.log.level == "error"
    (tmp_path / "secret").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert settings.secret == "from systemd"


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_a_secret_file_that_holds_none_is_an_error(
    write: Path, tmp_path: Path, content: str | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    settings = loaded(write, NEEDED.replace('secret = "hush"', f'secret_file = "{secret}"'))
    with pytest.raises(ConfigurationError, match="secret"):
        _ = settings.secret


def test_the_sample_shows_every_option_with_its_default(write: Path) -> None:
    sample = (ROOT / "config" / "jingle-hnt.toml").read_text()
    everything = re.sub(r"^#(\w+ = )", r"\1", sample, flags=re.MULTILINE)
    short = loaded(write, sample)
    assert loaded(write, everything) == short
    shown = tomllib.loads(everything)
    hidden = {"secret", "advertise"}
    for name, section in Settings.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {})
        assert set(fields) - hidden == set(shown[name]), name


def test_administrators_of_other_domains_are_trusted_in_so_many_words(write: Path) -> None:
    text = NEEDED + '[admin]\njids = ["a@b.example"]\nother_domains = true'
    assert loaded(write, text).admin.jids == ("a@b.example",)


@pytest.mark.rule("I2")
def test_rules_of_ice_reach_the_policy(write: Path) -> None:
    rule = '{ mode = "terminate", parties = ["*@Guests.example.org"], transports = ["ice"] }'
    text = NEEDED + f'[ice]\nmode = "pass"\nrules = [{rule}]\nraw_udp = ["gateway.example.org"]'
    policy = session_policy(loaded(write, text))
    guest, user = JID.of("g@guests.example.org/x"), JID.of("u@example.org/x")
    assert policy.ice_mode((user, guest), ICE) is IceMode.TERMINATE
    assert policy.ice_mode((user, guest), ICE_UDP) is IceMode.PASS
    assert policy.ice_mode((user, user), ICE) is IceMode.PASS
    assert policy.ice.raw_udp == ("gateway.example.org",)


OTHERS = """
[[xmpp.others]]
component = "hnt.example.net"
domains = ["example.net"]
server = "127.0.0.1:5348"
secret = "hush too"
"""


def test_further_servers_have_secrets_of_their_own(
    write: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded(write, NEEDED + OTHERS)
    one, two = settings.xmpp.servers
    assert settings.xmpp.all_domains == ("example.org", "example.net")
    assert [settings.secret_of(server) for server in (one, two)] == ["hush", "hush too"]
    (tmp_path / "secret.hnt.example.net").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert [settings.secret_of(server) for server in (one, two)] == ["hush", "from systemd"]
    without = loaded(write, NEEDED + OTHERS.replace('secret = "hush too"', ""))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigurationError, match=r"xmpp\.others.*hnt\.example\.net"):
        without.secret_of(without.xmpp.servers[1])


@pytest.mark.parametrize("twice", ["hnt.example.net", "example.net"])
def test_nothing_is_served_twice(write: Path, twice: str) -> None:
    again = OTHERS.replace(f'"{twice}"', f'"{twice.replace("net", "org")}"')
    with pytest.raises(ConfigurationError, match="served twice"):
        loaded(write, NEEDED + again)


TYPED = """
[xmpp]
component = "hnt.example.org"
domains = ["Example.ORG", "straße.example."]
secret = "hush"
[relay]
interfaces = [{ address = "203.0.113.9" }]
[ice]
raw_udp = ["*@STRASSE.example"]
[[ice.rules]]
mode = "terminate"
parties = ["Alice?@Example.org", "*.Guests.Example.org"]
[admin]
jids = ["Root@EXAMPLE.org"]
"""


def test_addresses_are_compared_as_servers_write_them(write: Path) -> None:
    settings = loaded(write, TYPED)
    policy = session_policy(settings)
    assert policy.domains == {"example.org", "strasse.example"}
    assert administrators(settings) == (JID.of("root@example.org"),)
    assert matches(policy.ice.raw_udp, JID.of("bob@strasse.example/x"))
    (rule,) = policy.ice.rules
    assert rule.fits([JID.of("alice?@example.org/x")], ICE)
    assert rule.fits([JID.of("x@a.guests.example.org/y")], ICE)
    assert not rule.fits([JID.of("alice1@example.org/x")], ICE), "only * is special"


def test_what_is_no_domain_is_refused_by_name(write: Path) -> None:
    settings = loaded(write, NEEDED.replace('domains = ["example.org"]', 'domains = ["a b"]'))
    with pytest.raises(ConfigurationError, match="'a b' is no XMPP address"):
        session_policy(settings)
