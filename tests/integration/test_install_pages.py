"""The installation pages, as an operator follows them with pip: every command, then a call.

`scripts/machines` follows them on untouched machines, and with the Debian package as well.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.integration.test_nat_calls import assert_heard, hang_up
from tests.lab import outside
from tests.lab.pages import PACKAGE, commands
from tests.lab.play import DOMAIN, ROOT, Relay, Stage
from tests.lab.world import SERVER, Lab, NatKind

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ALLOWED = '["198.51.100.0/24", "203.0.113.0/24"]'
"""The lab's internet, which is made of documentation addresses."""


@asynccontextmanager
async def replayed(
    lab: Lab, server: str, tree: Path, wheel: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A host on which the page of a server was followed to its end, where the wheel is."""
    lab.public("server", SERVER)
    script = Path(ROOT) / "tests" / "integration" / "replay.sh"
    typed = tree / "commands"
    typed.write_text(commands(f"install-{server}", [PACKAGE]))
    words = ["unshare", "--mount", "bash", str(script), str(typed), str(tree), server]
    with (tree / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *lab.command("server", words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=wheel.parent,
            env={
                **os.environ,
                "JINGLE_HNT_RELAY__ALLOW_NETWORKS": ALLOWED,
                "OUTSIDE": outside.NAMESPACE,
            },
        )
    assert process.stdout is not None
    try:
        said = b""
        while not said.endswith(b"READY\n"):
            line = await process.stdout.readline()
            assert line, f"{said.decode()}\n{(tree / 'log').read_text()[-4000:]}"
            said += line
        (tree / "said").write_bytes(said)
        yield process
    finally:
        await process.communicate(b"")


async def typed(host: asyncio.subprocess.Process, words: str) -> str:
    """The output of a jingle-hnt command on that host."""
    assert host.stdin is not None
    assert host.stdout is not None
    host.stdin.write(f"/opt/jingle-hnt/bin/jingle-hnt {words}\n".encode())
    said = b""
    async with asyncio.timeout(20):
        while not said.endswith(b"DONE\n"):
            said += await host.stdout.readline()
    assert b"exit status" not in said, said.decode()
    return said.decode().removesuffix("DONE\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release would have to download. It is built of a copy: others build beside us."""
    out, source = tmp_path_factory.mktemp("downloads"), tmp_path_factory.mktemp("source")
    for part in ("jingle_hnt", "config", "docs/man"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    words = ["-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(source)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


@pytest.mark.parametrize("server", ["prosody", "ejabberd"])
async def test_who_follows_the_page_has_a_first_call(
    server: str, wheel: Path, tmp_path: Path
) -> None:
    with Lab() as lab:
        async with replayed(lab, server, tmp_path, wheel) as host:
            said = (tmp_path / "said").read_text()
            assert "FAIL" not in said
            assert f"server module of {DOMAIN}: answers" in said
            there: Any = SimpleNamespace(c2s=(SERVER, 5222))
            at = Stage(lab, there, cast(Relay, None), DOMAIN)
            try:
                alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
                bob = await at.phone("bob", NatKind.SYMMETRIC)
                alice.tell("call", to=bob.jid)
                await alice.expect("accepted")
                await asyncio.sleep(1.5)
                live = await typed(host, "top --once")
                assert "alice" in live
                assert "bob" in live
                (call,) = json.loads(await typed(host, "calls --json"))["calls"]
                shown = await typed(host, f"call {call['call']}")
                assert f"alice@{DOMAIN}/phone" in shown
                assert shown.count("signalling-address") >= 2
                await hang_up(alice, bob)
                explained = await typed(host, f"explain {call['sid']}")
                assert "ended" in explained
                assert "Nothing is wrong" in explained
                await assert_heard(alice, bob)
            finally:
                for phone in at.callers:
                    await phone.quit()
