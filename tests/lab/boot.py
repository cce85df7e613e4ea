"""The installation page followed on a machine with a real systemd; the upgrade page in mid-call.

    python -m tests.lab.boot TREE WHEELS OLD NEW

TREE is a Debian with the page's packages, which is copied; pip takes what it needs from WHEELS. The
wheel OLD is installed first; the wheel NEW is the upgrade.
Prints what was typed and what came of it; the exit status is 1 where anything was not as it should.
"""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.lab.compose import ENOUGH, heard
from tests.lab.pages import PACKAGE, commands
from tests.lab.play import DOMAIN, ROOT, Relay, Stage, in_a_call
from tests.lab.terminal import Terminal
from tests.lab.world import SERVER, Lab

DROP_IN = """\
[Service]
Environment='JINGLE_HNT_RELAY__ALLOW_NETWORKS=["198.51.100.0/24", "203.0.113.0/24"]'
"""
PLAIN = "c2s_require_encryption = false -- the lab\\nallow_unencrypted_plain_auth = true\\n"
"""The lab's phones speak no TLS."""
HNT = "/opt/jingle-hnt/bin/jingle-hnt"
UNTIL_READY = f"until {HNT} status 2>/dev/null; do sleep 0.2; done"


KEPT_S = 5.0
"""Audio that waits in the sockets; docs/upgrading.md promises as much."""


class Machine(Terminal):
    """What was booted."""

    async def typed(self, line: str, expected: str = "") -> str:
        """The output of a command, which is printed too. Raises ValueError where it fails."""
        said = await self.ask(line)
        print(f"$ {line}\n{said}", end="", flush=True)
        if "exit status" in said or not re.search(expected, said):
            raise ValueError(f"not as expected: {line}")
        return said


@asynccontextmanager
async def booted(lab: Lab, tree: Path) -> AsyncIterator[Machine]:
    """The tree, booted."""
    script = str(ROOT / "tests" / "lab" / "boot.sh")
    words = ["unshare", "--mount", "bash", script, str(tree), lab.namespace("server")]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22
    )
    try:
        machine = Machine(process)
        await machine.until(b"BOOTED\n")
        yield machine
    finally:
        await process.communicate(b"")


def prepare(base: Path, tree: Path, wheels: Path, old: Path, new: Path) -> None:
    """A tree with our wheels, old and new, those of others, and what the lab needs."""
    subprocess.run(["cp", "-a", str(base), str(tree)], check=True)
    for wheel, name in ((old, "old"), (new, "new")):
        place = tree / "root" / name
        place.mkdir()
        shutil.copy(wheel, place)
    subprocess.run(["cp", "-a", str(wheels), str(tree / "wheels")], check=True)
    drop_in = tree / "etc/systemd/system/jingle-hnt.service.d/lab.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(DROP_IN)
    (tree / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    configuration = tree / "etc/prosody/prosody.cfg.lua"
    text = configuration.read_text()
    configuration.write_text(re.sub(r"(?m)^VirtualHost", PLAIN + "VirtualHost", text, count=1))
    there = 'apt-get() { dpkg-query -W "${@:3}"; }\n'  # there is no network to fetch them from
    not_ours = [PACKAGE, "ejabberd"]
    for page, name in (("install-prosody", "install"), ("upgrading", "upgrade")):
        (tree / "root" / name).write_text(f"set -ex\n{there}{commands(page, not_ours)}")


async def upgraded(machine: Machine, at: Stage) -> bool:
    """The page's commands in mid-call, and whether both are heard from the start to the end, but
    for what the sockets that systemd keeps have no room for where the restart takes longer."""
    try:
        alice, bob = await in_a_call(at)
        began_at = time.monotonic()
        await machine.typed("cd new && PATH=/opt/jingle-hnt/bin:$PATH && . ../upgrade")
        restarted_at = time.monotonic()
        await machine.typed(
            "systemctl restart jingle-hnt && systemctl is-active jingle-hnt", "^active"
        )
        await machine.typed(f"{UNTIL_READY} >/dev/null; {HNT} calls", "calls: 1")
        away_s = time.monotonic() - restarted_at
        await asyncio.sleep(2)
        lost = max(0.0, away_s - KEPT_S) / (time.monotonic() - began_at)
        print(f"ready again after {away_s:.1f} s: {lost:.1%} may be lost")
        well = await heard(alice, bob, ENOUGH - lost)
        alice.tell("hangup")
        await bob.expect("ended")
    finally:
        for phone in at.callers:
            await phone.quit()
    return well


async def watched(machine: Machine) -> None:
    """Reload; a plane that stands still, which systemd is to notice; stop."""
    await machine.typed(
        "systemctl reload jingle-hnt; until journalctl --unit=jingle-hnt |"
        " grep -o 'configuration is reloaded'; do sleep 0.1; done",
        "reloaded",
    )
    await machine.typed("pkill --signal STOP --full 'jingle_hnt plane'")
    await machine.typed(
        "until [ $(systemctl show -P NRestarts jingle-hnt) = 1 ]; do sleep 1; done;"
        " systemctl show -p NRestarts jingle-hnt",
        "NRestarts=1",
    )
    await machine.typed(UNTIL_READY, "ready +yes")
    await machine.typed(
        "systemctl stop jingle-hnt; systemctl show -p Result -p ExecMainStatus jingle-hnt",
        "Result=success\nExecMainStatus=0",
    )


async def play(base: Path, wheels: Path, old: Path, new: Path) -> bool:
    """The whole of it."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="hnt-boot-") as name:
        tree = Path(name) / "tree"
        prepare(base, tree, wheels, old, new)
        lab.public("server", SERVER)
        async with booted(lab, tree) as machine:
            await machine.typed("cd old && bash ../install")
            await machine.typed("systemctl status --no-pager --lines=0 jingle-hnt")
            await machine.typed("systemd-analyze security --no-pager jingle-hnt | tail -1")
            pid = "$(systemctl show -P MainPID jingle-hnt)"
            await machine.typed(f"grep -E '^(Uid|CapB|NoNew|Secc)' /proc/{pid}/status")
            there: Any = SimpleNamespace(c2s=(SERVER, 5222))
            well = await upgraded(machine, Stage(lab, there, cast(Relay, None), DOMAIN))
            await watched(machine)
        return well


if __name__ == "__main__":
    sys.exit(not asyncio.run(play(*map(Path, sys.argv[1:5]))))
