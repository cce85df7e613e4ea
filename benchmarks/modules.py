"""What the server modules cost a stanza: with and without, their tables empty and full.

Two real servers of each kind run side by side, one with the module on its host. Between two clients
go messages, and IQ pairs (a get and its result), which are not ours; what is told is the server's
CPU time for each, the median of alternating rounds. Full means as many parties of calls and
unanswered requests as the module remembers; Jingle requests are asked about, and passed at once.
"""

import argparse
import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

from benchmarks.figures import cpu_s, machine, median, table
from tests.lab.ejabberd import Ejabberd
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import JINGLE, Client, Component, Disconnected

DOMAIN, HNT = "example.org", "hnt.example.org"
KINDS: dict[str, type[LocalServer]] = {"prosody": Prosody, "ejabberd": Ejabberd}
FULL = 9900
"""Rows of each table when it is full: nearly what the module keeps at most."""
OF_ONE = 25
BATCH = 200

Figures = dict[str, Any]


FILL_EJABBERD = """
Until = erlang:system_time(second) + 86400,
[ets:insert(mod_jingle_hnt_parties,
    {{<<"DOMAIN">>, integer_to_binary(N), <<"r">>}, Until, unknown, [N]})
 || N <- lists:seq(1, ROWS)],
[ets:insert(mod_jingle_hnt_watched,
    {{<<"DOMAIN">>, {<<"DOMAIN">>, integer_to_binary(N), <<"r">>},
      {<<"DOMAIN">>, <<"bob">>, <<"desk">>}, integer_to_binary(N)},
     Until, <<"sid">>, <<"session-initiate">>})
 || N <- lists:seq(1, ROWS)], ok.
"""
FILL_PROSODY = (
    "> local s = prosody.hosts['{domain}'].modules.jingle_hnt.module"
    ":shared('/*/jingle_hnt/{hnt}'); local n = 0;"
    " for i = 1, {rows} do local u = 'user'..i..'@{domain}';"
    " if not s.parties[u..'/r'] then s.parties[u..'/r'] = ('%d '):format(os.time() + 86400)"
    "..('x'):rep(16); s.parties_of[u] = 1; s.parties_number = s.parties_number + 1; n = n + 1; end;"
    " if i <= {rows} / 2 then s.watched.set(u, u..'/r\\\\0bob@{domain}/desk\\\\0id'..i,"
    " 'sid\\\\0session-initiate'); end; end; return n"
)


class Bench:
    """Two clients of one server, with the module or without."""

    def __init__(self, server: LocalServer, alice: Client, bob: Client) -> None:
        self.server, self.alice, self.bob = server, alice, bob

    async def messages(self, number: int) -> None:
        """So many, from one to the other."""
        for _ in range(0, number, BATCH):
            for _ in range(BATCH):
                self.alice.send(
                    f"<message type='chat' to='{self.bob.jid}'><body>What is for dinner?</body>"
                    "</message>"
                )
            await self._heard(self.bob, BATCH)

    async def pairs(self, number: int) -> None:
        """So many gets, each with its result."""
        for _ in range(0, number, BATCH):
            for at in range(BATCH):
                self.alice.send(
                    f"<iq type='get' to='{self.bob.jid}' id='v{at}'>"
                    "<query xmlns='jabber:iq:version'/></iq>"
                )
            for _ in range(BATCH):
                self.bob.acknowledge(await self.bob.next())
            await self._heard(self.alice, BATCH)

    async def requests(self, number: int) -> None:
        """So many Jingle requests, each acknowledged."""
        for _ in range(0, number, OF_ONE):
            for at in range(OF_ONE):
                self.alice.send(
                    f"<iq type='set' to='{self.bob.jid}' id='j{at}'>"
                    f"<jingle xmlns='{JINGLE}' action='session-info' sid='s'/></iq>"
                )
            for _ in range(OF_ONE):
                self.bob.acknowledge(await self.bob.next())
            await self._heard(self.alice, OF_ONE)

    async def cost(self, play: str, number: int) -> float:
        """Microseconds of the server's CPU time for each."""
        before = cpu_s(self.server.pid)
        await getattr(self, play)(number)
        return (cpu_s(self.server.pid) - before) * 1e6 / number

    @staticmethod
    async def _heard(client: Client, number: int) -> None:
        for _ in range(number):
            await client.next()


async def _answer(hnt: Component) -> None:
    with suppress(Disconnected):
        while True:
            hnt.answer(await hnt.question(), "pass")


async def fill(server: LocalServer, rows: int) -> None:
    """As after a busy day."""
    if isinstance(server, Ejabberd):
        text = FILL_EJABBERD.replace("DOMAIN", DOMAIN).replace("ROWS", str(rows))
        await server.evaluate(" ".join(text.split()))
    elif isinstance(server, Prosody):
        await server.shell(FILL_PROSODY.format(domain=DOMAIN, hnt=HNT, rows=rows))


async def measure(kind: str, stanzas: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of one kind of server."""
    users = {"alice": "secret", "bob": "secret"}
    secrets = {HNT: "secret"}
    made = {
        "without": KINDS[kind]([VirtualHost(DOMAIN, users)], secrets),
        "with": KINDS[kind]([VirtualHost(DOMAIN, users, component=HNT)], secrets),
    }
    plays = {"messages": stanzas, "pairs": stanzas, "requests": stanzas // 4}
    kept: dict[tuple[str, str], list[float]] = {}
    async with AsyncExitStack() as actors:
        benches = {}
        for name, server in made.items():
            await actors.enter_async_context(server)
            alice = await actors.enter_async_context(
                await Client.login(server, f"alice@{DOMAIN}/phone")
            )
            bob = await actors.enter_async_context(await Client.login(server, f"bob@{DOMAIN}/desk"))
            benches[name] = Bench(server, alice, bob)
        hnt = await actors.enter_async_context(await Component.connect(made["with"], HNT))
        answering = asyncio.create_task(_answer(hnt))
        for name in ("with, empty", "with, full"):
            if name == "with, full":
                await fill(made["with"], FULL)
            for play, number in plays.items():
                for each in benches.values():
                    await each.cost(play, BATCH)  # warm
                for _ in range(rounds):
                    for label, bench in (("without", benches["without"]), (name, benches["with"])):
                        kept.setdefault((play, label), []).append(await bench.cost(play, number))
        answering.cancel()
    return [
        {
            "server": kind,
            "stanza": play,
            **{
                label: round(median(kept[play, label]), 1)
                for label in ("without", "with, empty", "with, full")
            },
            **{
                f"least {label}": round(min(kept[play, label]), 1)
                for label in ("without", "with, empty", "with, full")
            },
        }
        for play in plays
    ]


def rows(figures: Figures) -> str:
    """The table of both servers: medians, and the least in brackets."""
    names = {"messages": "message", "pairs": "IQ get and result", "requests": "Jingle request"}
    labels = ("without", "with, empty", "with, full")
    return table(
        ["server", "µs of CPU a", *labels],
        [
            [
                row["server"],
                names[row["stanza"]],
                *(f"{row[label]} ({row['least ' + label]})" for label in labels),
            ]
            for row in figures["rows"]
        ],
    )


def main(arguments: list[str]) -> Figures:
    """Measure as told."""
    parser = argparse.ArgumentParser(prog="scripts/bench modules", description=__doc__)
    parser.add_argument("--server", choices=list(KINDS), help="both unless told")
    parser.add_argument("--stanzas", type=int, default=4000, help="a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="alternating (%(default)s)")
    options = parser.parse_args(arguments)
    kinds = [options.server] if options.server else list(KINDS)
    found = [
        row for kind in kinds for row in asyncio.run(measure(kind, options.stanzas, options.rounds))
    ]
    return {"machine": machine(), "stanzas": options.stanzas, "rows": found}
