"""Whatever arrives without us arrives with us: exchanges played through a real server twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jingle_hnt.call.policy import IceMode
from tests.fronts.xmpp.exchanges import Exchange, alone, known, mutated
from tests.lab import play
from tests.lab.play import COMPONENT, DOMAIN, SECRET, Relay
from tests.lab.replay import (
    Outcome,
    Outcomes,
    Players,
    addresses_told,
    canonical,
    same_but_for_relay,
)
from tests.lab.server import LocalServer, VirtualHost

pytestmark = pytest.mark.integration

RELAY, HOMES = "127.0.0.9", ("127.0.0.21", "127.0.0.22")
SEED, GENERATED = 14, 300
CONFIGURATION = """\
[xmpp]
component = "{component}"
domains = ["{domain}"]
server = "127.0.0.1:{port}"
secret = "{secret}"
[relay]
interfaces = [{{ address = "{relay}" }}]
ports = "30000-32767"
quarantine_s = 1
[ice]
mode = "{mode}"
[limits]
per_user = 0
per_minute = 0
[budgets]
ports_per_user = 0
contents = 0
stanzas_per_s = 0
user_stanzas_per_s = 0
[state]
directory = "{directory}"
runtime_directory = "{directory}"
"""


class _Here:
    """Where the relay runs: beside us."""

    def command(self, node: str, arguments: Sequence[str]) -> list[str]:
        return list(arguments)


@asynccontextmanager
async def relay(
    server: LocalServer, directory: Path, mode: IceMode, extra: str = ""
) -> AsyncIterator[Relay]:
    values = {"component": COMPONENT, "domain": DOMAIN, "port": server.component[1]}
    values |= {"secret": SECRET, "relay": RELAY, "mode": str(mode), "directory": str(directory)}
    (directory / "jingle-hnt.toml").write_text(CONFIGURATION.format(**values) + extra)
    running = Relay(_Here(), directory)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


@pytest.fixture(scope="module", params=list(play.SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    users = {"alice": "secret", "bob": "secret"}
    host = VirtualHost(DOMAIN, users, component=COMPONENT, timeout_s=10)
    with play.SERVERS[request.param]([host], {COMPONENT: SECRET}) as running:
        yield running


def exchanges(kind: str) -> list[Exchange]:
    """All of them; ejabberd is given each kind once."""
    whole = known()
    if kind == "ejabberd":
        return whole
    return [*whole, *alone(whole), *mutated(whole, GENERATED, SEED)]


EXCEPTIONS = {
    "write one transport in each content, and each content once": "where several contents have one"
    " name, or one has several transports, nobody can say which of them is answered or moved",
    "write the one it was offered": "the relay speaks for an agent: what answers has to be one",
}
"""What is refused where ICE ends at the relay, by what its sender is told, and why: it cannot be
written anew, and as it is it would tell the addresses that this mode promises to hide."""


def is_excepted(after: Outcome, mode: IceMode) -> bool:
    told = canonical(after.answered)
    return mode is IceMode.TERMINATE and any(text in told for text in EXCEPTIONS)


def harm(before: Outcome, after: Outcome, mode: IceMode) -> str:
    """What is worse than without us; empty where nothing is."""
    if before.arrived is None:
        return ""
    if after.arrived is None and is_excepted(after, mode):
        return ""
    if after.arrived is None:
        return f"is refused: {canonical(after.answered) or 'without an answer'}"
    terminates = mode is IceMode.TERMINATE
    if not same_but_for_relay(before.arrived, after.arrived, RELAY, terminates):
        return f"is changed:\n{canonical(before.arrived)}\n{canonical(after.arrived)}"
    if terminates and (told := addresses_told(after.arrived, RELAY)):
        return f"tells of {told}"
    if canonical(before.answered) != canonical(after.answered):
        return f"is answered otherwise: {canonical(after.answered)}"
    return ""


def harms(before: Outcomes, after: Outcomes, mode: IceMode) -> list[str]:
    return [
        f"{name}, stanza {number}, {worse}"
        for name, outcomes in before.items()
        for number, (one, other) in enumerate(zip(outcomes, after[name], strict=True))
        if (worse := harm(one, other, mode))
    ]


@pytest.mark.timeout(400)
async def test_whatever_arrives_without_us_arrives_with_us(
    server: LocalServer, tmp_path: Path
) -> None:
    played = exchanges(server.kind)
    found: dict[IceMode, list[str]] = {}
    async with Players.online(server, HOMES) as players:
        await server.reload_module(False)
        before = await players.play(played)
        await server.reload_module(True)
        for mode in IceMode:
            await asyncio.to_thread((tmp_path / mode).mkdir)
            async with relay(server, tmp_path / mode, mode):
                found[mode] = harms(before, await players.play(played), mode)
    assert sum(map(len, before.values())) > 800
    lost = [n for n, all_ in before.items() if any(o.arrived is None for o in all_)]
    assert not lost, "without us"
    for mode, harmed in found.items():
        assert not harmed, f"{mode}: {len(harmed)}, such as\n" + "\n".join(harmed[:20])
    assert not players.strays, canonical(players.strays[0])
