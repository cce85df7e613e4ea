"""What `jingle-hnt check` says of each door, by the word of real servers."""

from pathlib import Path
from typing import Any

import pytest

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.commands.check import online
from jingle_hnt.settings.model import Settings, XmppOptions
from tests.integration.server_module.stage import CLOSED, COMPONENTS, HNT, OPEN, PLAIN, USERS
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost

pytestmark = pytest.mark.integration

KICK_NEW = {"component_conflict_resolve": "kick_new"}


def settings(server: LocalServer, path: Path, *domains: str, others: bool = False) -> Settings:
    """Of a jingle-hnt for this server; with `others` the second and the third door are open."""
    host, port = server.component
    content: dict[str, Any] = {
        "xmpp": {
            "component": HNT,
            "domains": domains,
            "server": f"{host}:{port}",
            "secret": "secret",
        },
        "relay": {"interfaces": [{"address": "127.0.0.1"}]},
        "addresses": {"enabled": others},
        "relay_nodes": {"enabled": others},
        "state": {"directory": path, "runtime_directory": path},
    }
    return Settings(**content)


async def findings(settings: Settings) -> dict[str, CheckFinding]:
    return {finding.subject: finding for finding in (await online(settings)).findings}


async def test_each_door_says_whether_it_is_open_and_what_to_write(
    server: LocalServer, tmp_path: Path
) -> None:
    found = await findings(settings(server, tmp_path, OPEN, PLAIN))
    module = found[f"server module of {OPEN}"]
    assert module.verdict == "ok"
    assert f"{server.kind} lets go of our old connection" in module.text
    absent = found[f"server module of {PLAIN}"]
    assert absent.verdict == "FAIL"
    line = {"prosody": 'modules_enabled = { "jingle_hnt" }', "ejabberd": "module_install"}
    assert line[server.kind] in absent.text
    assert "write enabled = true in [addresses]" in found[f"addresses at {HNT}"].text
    assert "write enabled = true in [relay_nodes]" in found[f"relay channels of {HNT}"].text
    assert "coming back" not in found

    found = await findings(settings(server, tmp_path, PLAIN, others=True))
    assert found[f"server module of {PLAIN}"].verdict == "warn"
    assert rf"bob\40{PLAIN}@{HNT}" in found[f"addresses at {HNT}"].text
    assert found[f"relay channels of {HNT}"].text.startswith("open")


async def test_without_a_module_coming_back_is_tried_out(
    kind: type[LocalServer], tmp_path: Path
) -> None:
    async with kind([VirtualHost(PLAIN, USERS)], COMPONENTS) as server:
        found = await findings(settings(server, tmp_path, PLAIN))
    said = {"prosody": ("ok", "takes the place"), "ejabberd": ("warn", "beside a new one")}
    verdict, text = said[server.kind]
    assert found["coming back"].verdict == verdict
    assert text in found["coming back"].text


@pytest.mark.parametrize("component", [HNT, None], ids=["with a module", "without"])
async def test_a_prosody_that_would_lock_us_out_is_named(
    component: str | None, tmp_path: Path
) -> None:
    host = VirtualHost(PLAIN, USERS, component=component)
    async with Prosody([host], COMPONENTS, settings=KICK_NEW) as server:
        found = await findings(settings(server, tmp_path, PLAIN))
    warned = found[f"server module of {PLAIN}" if component else "coming back"]
    assert warned.verdict == "warn"
    assert 'component_conflict_resolve = "kick_old"' in warned.text


async def test_a_wrong_secret_is_told_and_nothing_else(server: LocalServer, tmp_path: Path) -> None:
    wrong = settings(server, tmp_path, OPEN)
    xmpp = XmppOptions(**{**wrong.xmpp.model_dump(), "secret": "wrong"})
    (finding,) = (await online(wrong.model_copy(update={"xmpp": xmpp}))).findings
    assert finding.verdict == "FAIL"
    assert "component_secret" in finding.text
    assert "is the server up" not in finding.text


STUN = {"type": "stun", "host": "192.0.2.7", "port": 3478, "transport": "udp"}
TURNS = {"type": "turns", "host": "turn.example.org", "port": 443, "transport": "tcp"}


async def test_the_servers_own_list_of_stun_and_turn_servers_is_read(
    kind: type[LocalServer], tmp_path: Path
) -> None:
    """And what the finding says to write lets us read it."""
    host = VirtualHost(OPEN, USERS, component=HNT)
    subject = f"users of {OPEN} without UDP"

    async def found_with(**given: Any) -> tuple[CheckFinding, tuple[str, ...]]:
        async with kind([host], COMPONENTS, settings=given) as server:
            found = await online(settings(server, tmp_path, OPEN))
        return next(f for f in found.findings if f.subject == subject), found.stun

    if kind is Prosody:
        listed: dict[str, Any] = {"external_services": [STUN, TURNS]}
        allowed: dict[str, Any] = {"external_service_access": [HNT]}
    else:
        services = [{**each, "restricted": False} for each in (STUN, TURNS)]
        listed = {"append_host_config": _stun_disco(services=services)}
        allowed = {"append_host_config": _stun_disco(services=services, access="hnt")}
        allowed |= {"acl": {"hnt": {"server": HNT}}, "access_rules": {"hnt": {"allow": "hnt"}}}
    absent, stun = await found_with()
    assert (absent.verdict, stun) == ("warn", ())
    assert "no list of STUN and TURN servers" in absent.text
    closed, stun = await found_with(**listed)
    assert (closed.verdict, stun) == ("warn", ())
    assert "does not show its list to components" in closed.text
    shown, stun = await found_with(**(listed | allowed))
    assert (shown.verdict, stun) == ("ok", ("192.0.2.7:3478",))
    assert "turn.example.org port 443" in shown.text


def _stun_disco(**options: Any) -> dict[str, Any]:
    return {OPEN: {"modules": {"mod_stun_disco": {"offer_local_services": False, **options}}}}


async def test_a_host_with_the_module_that_is_not_served_is_named(
    server: LocalServer, tmp_path: Path
) -> None:
    found = await findings(settings(server, tmp_path, OPEN))
    (warned,) = (f for subject, f in found.items() if subject == f"virtual host {CLOSED}")
    assert (warned.verdict, "xmpp.domains" in warned.text) == ("warn", True)
    found = await findings(settings(server, tmp_path, OPEN, CLOSED))
    assert f"virtual host {CLOSED}" not in found


async def test_the_promise_of_hidden_addresses_is_held_by_a_closed_module(
    server: LocalServer, tmp_path: Path
) -> None:
    given = settings(server, tmp_path, OPEN, CLOSED)
    hiding = given.model_copy(update={"ice": given.ice.model_copy(update={"mode": "terminate"})})
    found = await findings(hiding)
    promise = "promise of hidden addresses of "
    assert found[f"{promise}{CLOSED}"].verdict == "ok"
    assert found[f"{promise}{OPEN}"].verdict == "warn"
    assert 'jingle_hnt_fail = "closed"' in found[f"{promise}{OPEN}"].text
    assert not any(subject.startswith(promise) for subject in await findings(given))
