"""What each alert says to look at names the fault, and is quiet when the fault is mended.

When an alert fires is tried by promtool, with alerts_test.yml beside the rules.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jingle_hnt.admin.service import AdminService
from jingle_hnt.cli import main
from jingle_hnt.model.jingle import Action
from jingle_hnt.model.servers import ModuleState
from tests.admin.backend import Backend, ask, hang_up
from tests.jingle.stage import MALLORY, Stage, content

ROOT = Path(__file__).parent.parent.parent
RULES = (ROOT / "config" / "prometheus" / "alerts.yml").read_text()
DESCRIPTIONS = re.findall(r'description: "(.*)"', RULES)
Change = Callable[[Backend, bool], None]


def says(part: str) -> str:
    """The description that has these words."""
    (found,) = [text for text in DESCRIPTIONS if part in text]
    return str(found)


def commands(text: str) -> list[str]:
    return re.findall(r"`jingle-hnt ([a-z]+)[^`]*`", text)


def link(backend: Backend, broken: bool) -> None:
    backend.links = {"hnt.example.org": "the secret is not the one" if broken else ""}


def module(backend: Backend, broken: bool) -> None:
    backend.faults = {"example.org": ModuleState("not loaded: write x" if broken else "")}


def rival(backend: Backend, broken: bool) -> None:
    backend.rivalries = {"hnt.example.org": "another on host b" if broken else ""}


def state(backend: Backend, broken: bool) -> None:
    backend.journal_healthy = not broken


def plane(backend: Backend, broken: bool) -> None:
    backend.engine = None if broken else "native"
    backend.plane_fault = "its log says why" if broken else ""


@pytest.mark.parametrize(
    ("part", "change", "names"),
    [
        ("New calls are not relayed. `jingle-hnt check` tells why", link, "the secret is not"),
        ("or asks another component. `jingle-hnt check` tells what", module, "write x"),
        ("names the other host; end one of the two", rival, "another on host b"),
    ],
)
async def test_check_names_what_an_alert_is_of(
    backend: Backend, service: AdminService, part: str, change: Change, names: str
) -> None:
    assert commands(says(part)) == ["check"]
    for broken in (True, False):
        change(backend, broken)
        found = (await ask(service, "check")).findings
        wrong = [f.text for f in found if f.verdict == "FAIL" and names in f.text]
        assert bool(wrong) is broken


@pytest.mark.parametrize(
    ("part", "change", "names"),
    [
        ("`jingle-hnt status` says why, under not_ready", link, "the secret is not the one"),
        ("starts it again; look at its log for why it ends", plane, "its log says why"),
        ("See whether the disk of state.directory is full", state, "state.directory"),
    ],
)
async def test_status_says_why_calls_would_not_be_relayed(
    backend: Backend, service: AdminService, part: str, change: Change, names: str
) -> None:
    assert says(part)
    for broken in (True, False):
        change(backend, broken)
        status = await ask(service, "status")
        assert any(names in why for why in status.not_ready) is broken
        assert status.ready is not broken


async def test_limits_and_status_say_who_has_what_is_gone(
    backend: Backend, service: AdminService
) -> None:
    text = says("Ports are gone, or somebody is over a limit")
    assert commands(text) == ["limits", "status"]
    backend.stage.call(sid="x")
    assert (await ask(service, "limits")).users == {"alice@example.org": 1}
    ports = (await ask(service, "status")).ports
    assert (ports.leased, ports.free > 0) == (4, True)
    few, wide = (Stage(ports=(2000, last)) for last in (2003, 2999))
    assert "Widen relay.ports before calls are refused" in says("Widen relay.ports before calls")
    for stage, is_scarce in ((few, True), (wide, False)):
        stage.says(MALLORY, Action.SESSION_INITIATE, content(), sid="y")
        assert stage.pool.is_scarce(10) is is_scarce


async def test_history_names_the_calls_that_explain_explains(
    backend: Backend, service: AdminService
) -> None:
    assert commands(says("`jingle-hnt history` names the calls")) == ["history", "explain"]
    for heard, cause in (((500, 0), ["one-way"]), ((500, 500), [])):
        backend.heard = heard
        backend.stage.call(sid="x")
        await hang_up(backend, service)
        backend.stage.ended.clear()
        latest = (await ask(service, "history")).calls[0].call.call
        found = (await ask(service, "explain", call=latest)).diagnosis
        assert [finding.cause for finding in found] == cause


async def test_nobody_is_heard_until_somebody_is(backend: Backend, service: AdminService) -> None:
    """`check --media` finds which of the two it is: integration/test_media_check.py."""
    assert commands(says("is wrong, or a firewall stops UDP to relay.ports")) == ["check"]
    for heard in ((0, 0), (500, 500)):
        backend.heard = heard
        for _ in range(3):
            backend.stage.call(sid="x")
            await hang_up(backend, service)
            backend.stage.ended.clear()
        found = {f.subject: f.verdict for f in (await ask(service, "check")).findings}
        assert found["media"] == ("ok" if any(heard) else "FAIL")


@pytest.mark.parametrize(
    ("part", "command"),
    [
        ("new calls are not relayed. Look at the service's log", "run"),
        ("Each start interrupts the media of all calls. Look at the log of the plane", "plane"),
    ],
)
def test_the_log_says_why_a_process_is_not_there(
    part: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says(part)
    file = tmp_path / "c.toml"
    assert main([command, "--config", str(file)]) == 78
    assert "`jingle-hnt init` writes a configuration" in capsys.readouterr().err
