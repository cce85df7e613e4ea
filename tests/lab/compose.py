"""The compose files brought up by a container engine on a host of the lab, and a call through them.

    python -m tests.lab.compose prosody [bridge]

Prints what was typed and what came of it; the exit status is 1 where the call was not heard.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.lab.play import COMPONENTS, DOMAIN, ROOT, Caller, Relay, Stage, delivered
from tests.lab.terminal import Terminal
from tests.lab.world import SERVER, Lab, NatKind

ENOUGH = 0.995
READY_S = 600.0
"""However busy the machine is."""
REGISTER = {
    "prosody": "prosodyctl register {user} {domain} secret",
    "ejabberd": "ejabberdctl register {user} {domain} secret",
}


class Host(Terminal):
    """The host on which the containers run; its lines are `docker compose` commands."""

    async def typed(self, service: str, words: str) -> str:
        """The output of a command inside a service's container, which is printed too."""
        said = await self.ask(f"exec -T {service} {words}")
        print(f"$ docker compose exec {service} {words}\n{said}", end="", flush=True)
        return said


@asynccontextmanager
async def brought_up(lab: Lab, server: str, tree: Path, network: str) -> AsyncIterator[Host]:
    """A host on which the page was followed."""
    lab.public("server", SERVER)
    shutil.copytree(ROOT / "config", tree / "config")
    script = str(ROOT / "tests" / "lab" / "compose.sh")
    process = await asyncio.create_subprocess_exec(
        *lab.command("server", ["unshare", "--mount", "bash", script, server, str(tree), network]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=1 << 22,
    )
    try:
        host = Host(process)
        print(await host.until(b"READY\n"), end="")
        yield host
    finally:
        await process.communicate(b"")


async def ready(host: Host) -> None:
    """Wait until a call would be relayed. Raises TimeoutError, with why it would not."""
    deadline = time.monotonic() + READY_S
    while "exit status" in (said := await host.ask("exec -T jingle-hnt jingle-hnt status")):
        if time.monotonic() > deadline:
            raise TimeoutError(said + await host.ask("logs --tail=40"))
        await asyncio.sleep(0.5)


async def call(at: Stage, host: Host) -> bool:
    """A call of three seconds; whether both heard what the other sent."""
    alice = await at.phone("alice", NatKind.PORT_RESTRICTED)
    bob = await at.phone("bob", NatKind.SYMMETRIC)
    alice.tell("call", to=bob.jid)
    await alice.expect("accepted")
    await asyncio.sleep(3)
    (found,) = json.loads(await host.ask("exec -T jingle-hnt jingle-hnt calls --json"))["calls"]
    await host.typed("jingle-hnt", "jingle-hnt top --once")
    well = await heard(alice, bob)
    alice.tell("hangup")
    await bob.expect("ended")
    await host.typed("jingle-hnt", f"jingle-hnt explain {found['sid']}")
    return well


async def heard(alice: Caller, bob: Caller, enough: float = ENOUGH) -> bool:
    """Whether both heard this part of what the other has sent; both are quiet afterwards."""
    for party in (alice, bob):
        party.tell("quiet")
        await party.stats()
    await asyncio.sleep(0.2)
    stats = {party: await party.stats() for party in (alice, bob)}
    parts = [
        _part(one, other, component, stats)
        for one, other in ((alice, bob), (bob, alice))
        for component in COMPONENTS
    ]
    return all(part >= enough for part in parts)


def _part(
    sender: Caller, receiver: Caller, component: str, stats: dict[Caller, dict[str, Any]]
) -> float:
    part = delivered(stats[sender][component], stats[receiver][component])
    print(f"{component} of {sender.jid}: {part:.1%} heard by {receiver.jid}")
    return part


async def play(server: str, network: str = "host") -> bool:
    """The whole of it for one server, on the host's network or on a bridge."""
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="hnt-compose-") as name:
        async with brought_up(lab, server, Path(name), network) as host:
            await ready(host)
            for user in ("alice", "bob"):
                await host.typed(server, REGISTER[server].format(user=user, domain=DOMAIN))
            await host.typed("jingle-hnt", "jingle-hnt check")
            await host.typed("jingle-hnt", "grep -E '^(Uid|CapB|NoNew|Secc)' /proc/1/status")
            there: Any = SimpleNamespace(c2s=(SERVER, 5222))
            at = Stage(lab, there, cast(Relay, None), DOMAIN)
            try:
                return await call(at, host)
            finally:
                for phone in at.callers:
                    await phone.quit()


if __name__ == "__main__":
    sys.exit(not asyncio.run(play(*sys.argv[1:])))
