"""The options of SIP calls: who may order them, and what docs/sip.md types."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from jingle_hnt.call.policy import EarlyMedia, IceMode
from jingle_hnt.model.jid import JID
from jingle_hnt.settings.model import NgOptions, Settings
from jingle_hnt.settings.wiring import ng_settings, session_policy

PAGE = Path(__file__).parents[2] / "docs" / "sip.md"
XMPP = {"component": "hnt.example.org", "domains": ["example.org"], "secret": "x"}
REST = {
    "xmpp": XMPP,
    "relay": {"interfaces": [{"address": "203.0.113.9"}]},
}


def settings(**ng: object) -> Settings:
    return Settings(**REST, ng=ng)  # type: ignore[arg-type]


def test_it_is_off_by_default() -> None:
    assert ng_settings(settings()) is None


def test_its_calls_follow_a_policy_of_their_own() -> None:
    """A tag is no user: what is limited for each user and domain is not for SIP calls."""
    policy = session_policy(settings(enabled=True))
    apart = policy.of_party(JID("tag", "sip", ""))
    assert policy.domains == {"example.org"}
    assert apart.domains == {"sip"}
    assert (policy.limits.per_user, apart.limits.per_user) == (100, 0)
    assert policy.of_party(JID("alice", "example.org", "")) is policy
    assert not session_policy(settings()).apart


def test_users_of_a_domain_of_that_name_are_not_taken_for_sip_parties() -> None:
    with pytest.raises(ValidationError, match="stands for the parties of SIP calls"):
        Settings(**{**REST, "xmpp": XMPP | {"domains": ["SIP"]}}, ng={"enabled": True})  # type: ignore[arg-type]


def test_ice_is_taken_out_by_default_and_early_media_flows() -> None:
    made = ng_settings(settings(enabled=True))
    assert made is not None
    assert (made.policy.ice, made.policy.early_media) == (IceMode.PASS, EarlyMedia.BOTH)
    assert str(made.listening[0]) == "127.0.0.1:2223"


@pytest.mark.parametrize(
    ("ng", "why"),
    [
        ({"listen": ["203.0.113.9:2223"]}, "no authentication"),
        ({"listen": ["203.0.113.9:2223"], "networks": ["0.0.0.0/0"]}, "everybody"),
        ({"listen": []}, "at least 1"),
        ({"listen": ["2223"]}, "write an address and a port"),
        ({"calls": -1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_said(ng: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(enabled=True, **ng)


def test_every_block_of_the_page_is_a_configuration() -> None:
    blocks = re.findall(r"\n\n((?:    .*\n)+)", PAGE.read_text())
    ours = [block for block in blocks if "[ng]" in block]
    assert len(ours) == 2
    for block in ours:
        text = "\n".join(line[4:] for line in block.splitlines())
        assert NgOptions.model_validate(tomllib.loads(text)["ng"]).enabled
