"""A picture of an ad-hoc answer in a real client, Gajim or Psi, on a screen that nobody sees.

scripts/screenshot runs it. Two calls go on through a real Prosody and two NATs; what is pictured
is what the client draws of our answer to "Calls".
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from tests.lab.play import COMPONENT, DOMAIN, ROOT, Stage, stage
from tests.lab.world import SERVER, NatKind

NOBODY = "65534"
SCREEN = "1200x800x24"
PICTURED = {"gajim": "1200x440+0+0", "psi": "894x424+0+0"}
PATIENCE_S = 60.0
DRAWING_S = 1.5
ADMINISTRATOR = f'[admin]\njids = ["operator@{DOMAIN}"]\n'


@contextlib.asynccontextmanager
async def screen() -> AsyncIterator[str]:
    """An X server on a display that it chooses."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *("Xvfb", "-displayfd", str(writing), "-screen", "0", SCREEN, "-nolisten", "tcp"),
        pass_fds=(writing,),
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            yield f":{(await asyncio.to_thread(said.readline)).strip()}"
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def client(at: Stage, display: str, name: str, command: str) -> AsyncIterator[None]:
    """A client as an operator has it, until the answer to a command is shown.

    For Gajim the command is a node, for Psi its title.
    """
    with tempfile.TemporaryDirectory(prefix=f"hnt-{name}-") as home:
        driver = shutil.copy(Path(ROOT) / "tests" / "lab" / f"{name}_driver.py", home)
        os.chmod(home, 0o755)
        os.mkdir(f"{home}/{name}", 0o700)
        os.chown(f"{home}/{name}", int(NOBODY), int(NOBODY))
        words = [
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
            *("dbus-run-session", "--", "/usr/bin/python3", driver, f"{home}/{name}"),
            *(f"operator@{DOMAIN}", "secret", SERVER, COMPONENT, command),
        ]
        process = await asyncio.create_subprocess_exec(
            *at.lab.command("server", words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=home,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": f"{home}/{name}",
                "XDG_RUNTIME_DIR": f"{home}/{name}",
                "DISPLAY": display,
                "LANG": "C.UTF-8",
                "GTK_CSD": "0",
            },
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (line := await process.stdout.readline()) != b"shown\n":
                    assert line, f"{name} has ended"
            yield
        finally:
            process.stdin.close()
            await process.wait()


async def picture(name: str, path: Path, command: str) -> None:
    """Two calls, and the command's answer as a client shows it."""
    users = ("alice", "bob", "carol", "dave", "operator")
    async with screen() as display, stage(users, extra=ADMINISTRATOR) as at:
        for caller, callee in (("alice", "bob"), ("carol", "dave")):
            mute = ("--mute",) if callee == "dave" else ()
            calls = await at.phone(caller, NatKind.PORT_RESTRICTED)
            called = await at.phone(callee, NatKind.SYMMETRIC, *mute)
            calls.tell("call", to=called.jid)
            await calls.expect("accepted")
        async with client(at, display, name, command):
            await asyncio.sleep(DRAWING_S)
            process = await asyncio.create_subprocess_exec(
                *("import", "-display", display, "-window", "root"),
                *("-crop", PICTURED[name], "+repage", "-strip", str(path)),
            )
            assert await process.wait() == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=PICTURED)
    parser.add_argument("path", type=Path)
    parser.add_argument("--command", help="a node for Gajim, a title for Psi; Calls by default")
    options = parser.parse_args()
    command = options.command or {"gajim": "calls", "psi": "Calls"}[options.client]
    asyncio.run(picture(options.client, options.path, command))


if __name__ == "__main__":
    main()
