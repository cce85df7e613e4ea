"""`check --media`: calls through a running relay by agents that share no code with it."""

import json
import subprocess
import sys

import pytest

from tests.integration.test_operators import told, typed
from tests.lab.play import ROOT, Stage, stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

KINDS = ("ICE, append", "ICE, terminate", "raw-udp")


def media(at: Stage) -> dict[str, tuple[str, str]]:
    """What `check --media` says of each kind of call, on the relay's host."""
    file = str(at.relay.directory / "jingle-hnt.toml")
    words = [sys.executable, "-m", "jingle_hnt", "check", "--media", "--json", "--config", file]
    command = at.lab.command("relay", words)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found = [f for f in json.loads(done.stdout) if f["subject"].startswith("media over ")]
    return {f["subject"].removeprefix("media over "): (f["verdict"], f["text"]) for f in found}


async def test_each_kind_of_call_is_made_and_leaves_nothing_behind() -> None:
    async with stage() as at:
        found = media(at)
        assert set(found) == {f"IPv4, {kind}" for kind in KINDS}
        for kind, (verdict, text) in found.items():
            assert verdict == "ok", (kind, text)
            assert "100 and 100 of 100 packets arrived (0.0% lost)" in text
        await at.relay.until(lambda status: status["plane"]["bindings"] == 0)
        assert (await told(at, "history"))["calls"] == []
        assert (await told(at, "stats"))["ended"] == {}
        assert (await told(at, "calls"))["calls"] == []


async def test_status_says_why_no_call_is_made_and_what_ends_it() -> None:
    async with stage() as at:
        await told(at, "set", "relay.draining", "refuse")
        for says in ("was refused (the relay has no room", "passed the relay by"):
            await told(at, "drain")
            found = media(at)
            assert any(says in text for _, text in found.values()), found
            for verdict, text in found.values():
                assert (verdict, text.endswith("`jingle-hnt status` says why")) == ("FAIL", True)
            (why,) = json.loads(await typed(at, "status", "--json", status=1))["not_ready"]
            assert why == "draining; `jingle-hnt undrain` ends it"
            await told(at, "undrain")
            await told(at, "set", "relay.draining", "pass")
        found = media(at)
        assert {verdict for verdict, _ in found.values()} == {"ok"}, found


async def test_what_keeps_media_from_the_relay_is_seen() -> None:
    async with stage() as at:
        closed(at)
        for kind, (verdict, text) in media(at).items():
            assert verdict == "FAIL", (kind, text)
            assert "takes UDP to relay.ports (`nft list ruleset`), or the log says why" in text
        opened(at)
        found = media(at)
        assert {verdict for verdict, _ in found.values()} == {"ok"}, found


async def test_it_is_made_over_each_ip_version() -> None:
    async with stage(six=True) as at:
        found = media(at)
        assert set(found) == {f"IPv{v}, {kind}" for v in (4, 6) for kind in KINDS}
        assert {verdict for verdict, _ in found.values()} == {"ok"}, found


def closed(at: Stage) -> None:
    """Let the relay's firewall take all media."""
    rule = "add table inet x; add chain inet x i { type filter hook input priority 0; }; "
    rule += "add rule inet x i udp dport 30000-30999 drop"
    subprocess.run(at.lab.command("relay", ["nft", rule]), check=True)


def opened(at: Stage) -> None:
    subprocess.run(at.lab.command("relay", ["nft", "delete", "table", "inet", "x"]), check=True)
