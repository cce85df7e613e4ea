"""Two servers that talk to each other, each with a jingle-hnt of its own beside it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.play import CONFIGURATION, SECRET, Relay, Stage
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.world import Lab

S2S = 5269
OTHER_SECRET = "other-secret"
"""The file of what a shared jingle-hnt is to tell the second server."""
Kinds = tuple[type[LocalServer], type[LocalServer]]


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain with a user, and where its server and its relay are.

    Each has a carol and a mallory as well, and a component that is not ours.
    """

    name: str
    user: str
    server: str
    relay: str

    @property
    def component(self) -> str:
        return f"hnt.{self.name}"

    @property
    def label(self) -> str:
        """Begins the names of its nodes; short, for `ip netns`."""
        return self.name.partition(".")[0]


ONE = Domain("one.example", "alice", "203.0.113.2", "203.0.113.9")
TWO = Domain("two.example", "bob", "203.0.113.3", "203.0.113.10")


@contextlib.asynccontextmanager
async def federation(
    relay_extra: str = "", kinds: Kinds = (Prosody, Prosody), shared: bool = False
) -> AsyncIterator[tuple[Stage, Stage]]:
    """The stages of both domains in one lab; everything is ended and removed afterwards.

    With `shared` one jingle-hnt serves both servers, and only the first stage's relay runs.
    """
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="hnt-federation-") as name:
        stages: list[Stage] = []
        try:
            for domain, kind in zip((ONE, TWO), kinds, strict=True):
                directory = Path(tempfile.mkdtemp(dir=name))
                stages.append(await _begin(lab, directory, domain, relay_extra, kind, shared))
            for stage in stages[:1] if shared else stages:
                await stage.relay.start()
            yield stages[0], stages[1]
        finally:
            for stage in stages:
                for caller in stage.callers:
                    await caller.quit()
                await stage.relay.stop()
                await asyncio.to_thread(stage.server.close)


async def _begin(
    lab: Lab,
    directory: Path,
    domain: Domain,
    relay_extra: str,
    kind: type[LocalServer],
    shared: bool,
) -> Stage:
    server_node, relay_node = f"{domain.label}-server", f"{domain.label}-relay"
    lab.public(server_node, domain.server)
    lab.public(relay_node, domain.relay)
    (directory / "secret").write_text(SECRET)
    (directory / OTHER_SECRET).write_text(SECRET)
    configuration = CONFIGURATION.format(
        component=domain.component,
        domain=domain.name,
        server=domain.server,
        interfaces=f'{{ address = "{domain.relay}" }}',
        directory=directory,
        state=directory,
        engine="auto",
        ports="30000-30999",
        quarantine_s=1.0,
        relay_extra=relay_extra,
        extra=_also(TWO, directory) if shared else "",
    )
    (directory / "jingle-hnt.toml").write_text(configuration)
    other = TWO if domain is ONE else ONE
    users = {user: "secret" for user in (domain.user, "carol", "mallory")}
    server = kind(
        [VirtualHost(domain.name, users, component=domain.component)],
        {domain.component: SECRET, f"other.{domain.name}": SECRET},
        listen=[domain.server],
        namespace=lab.namespace(server_node),
        routes={other.name: (other.server, S2S)},
    )
    await asyncio.to_thread(server.start)
    return Stage(lab, server, Relay(lab, directory, relay_node), domain.name)


def _also(domain: Domain, directory: Path) -> str:
    """A further connection: to the server of this domain."""
    return f"""
[[xmpp.others]]
component = "{domain.component}"
domains = ["{domain.name}"]
server = "{domain.server}:5347"
secret_file = "{directory}/{OTHER_SECRET}"
allow_plaintext_to = ["203.0.113.0/24"]
"""
