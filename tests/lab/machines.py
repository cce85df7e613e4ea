"""An installation page followed on an untouched machine, from what was built, and then uninstalled.

    python -m tests.lab.machines TREE INDEX DIST deb|pip prosody|ejabberd

TREE is a Debian that boots and whose apt has all that it would fetch; INDEX has the wheels that pip
would fetch, and DIST our own packages and wheels. Prints what was typed and what came of it; the
exit status is 1 where the call was not heard, or where anything is left afterwards.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.lab.boot import DROP_IN, Machine, booted
from tests.lab.compose import heard
from tests.lab.pages import PACKAGE, PIP, commands
from tests.lab.play import DOMAIN, Relay, Stage, in_a_call
from tests.lab.world import SERVER, Lab

WITHOUT = {"deb": PIP, "pip": PACKAGE}
OTHER = {"prosody": "ejabberd", "ejabberd": "Prosody"}
KEPT = {
    "/root": "what was downloaded",
    "/etc/systemd/system/jingle-hnt.service.d": "the lab's",
    "/var/cache": "apt's",
    "/var/lib/apt": "apt's",
    "/var/lib/prosody": "accounts",
    "/var/lib/ejabberd": "accounts, and the modules' empty directories",
    "/var/log": "logs",
    "/etc/ejabberd": "the lab's",
    "/etc/prosody": "the lab's",
    "/lab": "the lab's",
}
"""Where files may be left that the server's package, apt, or the lab has made."""
PLAIN = "c2s_require_encryption = false -- the lab\\nallow_unencrypted_plain_auth = true\\n"
"""The lab's phones speak no TLS, which the distribution's configurations ask for."""
SERVER_STARTS = f"""\
prosody=/etc/prosody/prosody.cfg.lua ejabberd=/etc/ejabberd/ejabberd.yml
systemctl() {{
    case "$*" in
    "restart prosody") grep -q 'the lab' $prosody || sed -i 's/^VirtualHost "localhost"/{PLAIN}&/' $prosody ;;
    "restart ejabberd") sed -i 's/starttls_required: true/starttls_required: false/' $ejabberd ;;
    esac
    command systemctl "$@"
}}
"""  # noqa: E501


def prepare(base: Path, tree: Path, index: Path, dist: Path) -> None:
    """A copy of the machine, with what its operator has downloaded, and what the lab needs."""
    subprocess.run(["cp", "-a", str(base), str(tree)], check=True)
    for file in [*dist.glob("jingle-hnt_*.deb"), *dist.glob("jingle_hnt-*.whl")]:
        shutil.copy(file, tree / "root")
    drop_in = tree / "etc/systemd/system/jingle-hnt.service.d/lab.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(DROP_IN)
    (tree / "lab").mkdir()
    if index.exists():
        shutil.copytree(index, tree / "lab/index")
    (tree / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /lab/index\n")


def script(tree: Path, page: str, way: str, server: str) -> str:
    """A file with the commands of a page, as far as they are for this way and server."""
    text = commands(page, [WITHOUT[way], OTHER[server]])
    text = text.replace(" /etc/systemd/system/jingle-hnt.service.d\n", " /nothing\n")
    head = f"set -ex\nexport DEBIAN_FRONTEND=noninteractive\n{SERVER_STARTS}"
    (tree / "lab" / page).write_text(head + text)
    return f"bash /lab/{page}"


def files(tree: Path) -> set[str]:
    """What is there, by paths of the machine."""
    words = ["find", str(tree), "-xdev", "-printf", "/%P\n"]
    found = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return {line for line in found.splitlines() if not line.startswith(("/proc", "/sys", "/run"))}


def left(before: set[str], after: set[str]) -> list[str]:
    """What is there now and was not, but for what is said to be left."""
    return sorted(
        path
        for path in after - before
        if "jingle" in path and not any(path.startswith(kept) for kept in KEPT)
    )


async def play(base: Path, index: Path, dist: Path, way: str, server: str) -> bool:
    """Install, call, uninstall."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="hnt-machine-") as name:
        tree = Path(name) / "tree"
        prepare(base, tree, index, dist)
        before = files(tree)
        lab.public("server", SERVER)
        async with booted(lab, tree) as machine:
            await machine.typed(script(tree, f"install-{server}", way, server), "server module")
            await machine.typed("jingle-hnt --version; systemctl is-active jingle-hnt", "^jingle")
            await machine.typed(
                "test -e /usr/share/man/man1/jingle-hnt.1.gz || ! dpkg -s jingle-hnt"
            )
            well = await called(machine, Stage(lab, there(), cast(Relay, None), DOMAIN))
            await machine.typed(script(tree, "uninstall", way, server))
            await machine.typed("! command -v jingle-hnt && ! dpkg -s jingle-hnt 2>/dev/null")
            await machine.typed(f"systemctl is-active {server}", "^active")
        more = left(before, files(tree))
        print("left:", *more, sep="\n  ")
        return well and not more


def there() -> Any:
    """Where phones log in."""
    return SimpleNamespace(c2s=(SERVER, 5222))


async def called(machine: Machine, at: Stage) -> bool:
    """Whether both hear each other in a call."""
    try:
        alice, bob = await in_a_call(at)
        await machine.typed("jingle-hnt calls", "alice")
        await asyncio.sleep(2)
        well = await heard(alice, bob)
        alice.tell("hangup")
        await bob.expect("ended")
        await machine.typed("jingle-hnt history", "alice")
    finally:
        for phone in at.callers:
            await phone.quit()
    return well


if __name__ == "__main__":
    base, index, dist, way, server = sys.argv[1:]
    sys.exit(not asyncio.run(play(Path(base), Path(index), Path(dist), way, server)))
