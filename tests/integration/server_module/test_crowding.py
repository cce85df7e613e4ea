"""What one user does, or is, is no matter of the others'; what is kept of users is bounded."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.server_module.stage import HNT, OPEN, USERS, Stage
from tests.lab.ejabberd import Ejabberd
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import Client, Component, as_text, condition_of, unique

pytestmark = [pytest.mark.integration, pytest.mark.busy]

SOON_S = 1.5
"""What nobody else may delay: held up, it took more than three seconds, or for ever."""


async def pass_one(alice: Client, bob: Client, hnt: Component) -> float:
    """One request, asked about and passed on: seconds."""
    started = time.monotonic()
    alice.request(bob.jid, "session-info", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    return time.monotonic() - started


async def answer_all(hnt: Component) -> None:
    """Pass whatever is asked from now on."""
    while True:
        hnt.answer(await hnt.question(), "pass")


async def test_a_client_that_does_not_read_delays_nobody_else(own_stage: Stage) -> None:
    """Its server process is blocked in writing, and answers nobody."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    mallory, deaf = [await own_stage.client(f"carol@{OPEN}") for _ in range(2)]
    await deaf.turn_deaf()
    filler = "x" * 60_000
    for _ in range(200):
        mallory.send(f"<message to='{deaf.jid}'><body>{filler}</body></message>")
    await mallory.flushed()
    with_stuck = asyncio.create_task(answer_all(hnt))
    for _ in range(10):
        mallory.request(deaf.jid, "session-info", unique("stuck"))
    await asyncio.sleep(0.5)
    with_stuck.cancel()
    assert min([await pass_one(alice, bob, hnt) for _ in range(5)]) < SOON_S


async def test_a_session_that_hibernates_with_much_to_say_delays_nobody(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    sleeper = await own_stage.client(f"carol@{OPEN}")
    await sleeper.enable_acknowledgements(resume=True)
    await sleeper.abort()
    for number in range(4000):
        alice.send(f"<message to='{sleeper.jid}' type='chat'><body>{number}</body></message>")
    await alice.caught_up()
    hnt = await own_stage.component()
    name = unique("sleeper")
    for _ in range(60):
        alice.request(sleeper.jid, "session-info", name)
    carol = await own_stage.client(f"carol@{OPEN}")
    answering = asyncio.create_task(answer_all(hnt))
    started = time.monotonic()
    carol.request(bob.jid, "session-info", sid := unique("sid"))
    await bob.next_request(sid)
    took = time.monotonic() - started
    answering.cancel()
    assert took < SOON_S


class Local(Client):
    """A client on a Unix socket."""

    path = Path()

    async def open(self, endpoint: tuple[str, int], local: str | None = None) -> None:
        _, self._writer = await asyncio.open_unix_connection(self.path)
        self._begin_to_read()


async def test_a_user_on_a_unix_socket_calls_as_everybody_does(
    actors: AsyncExitStack, tmp_path: Path
) -> None:
    """It has no address: none is told, and nobody is harmed (Prosody has no such port)."""
    Local.path = tmp_path / "c2s"
    server = Ejabberd([VirtualHost(OPEN, USERS, component=HNT)], {HNT: "secret"})
    server.listeners.append(
        {"port": f"unix:{Local.path}", "module": "ejabberd_c2s", "starttls": False}
    )
    await actors.enter_async_context(server)
    stage = Stage(server, actors)
    hnt = await stage.component()
    bob = await stage.client(f"bob@{OPEN}")
    alice = await actors.enter_async_context(await Local.login(server, f"alice@{OPEN}/unix"))
    for sender, recipient, attribute in ((alice, bob, "from-ip"), (bob, alice, "to-ip")):
        for _ in range(20):
            sender.request(recipient.jid, "session-initiate", sid := unique("sid"))
            question = await hnt.question(sid)
            assert attribute not in question.intercept.attrib
            hnt.answer(question, "pass")
            await recipient.next_request(sid)
    assert "terminating" not in server.log_text()


async def test_one_user_cannot_take_the_room_of_the_others(own_stage: Stage) -> None:
    """Of one user 64 requests are held; another's are, all the same."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    ids = [alice.request(bob.jid, "session-info", unique("many")) for _ in range(65)]
    assert condition_of(await alice.reply_to(ids[-1])) == "resource-constraint"
    carol = await own_stage.client(f"carol@{OPEN}")
    carol.request(bob.jid, "session-info", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await hnt.abort()
    for _ in range(64):
        await bob.next_request()


async def test_what_is_remembered_of_parties_ends_with_the_call(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    for action in ("session-initiate", "session-terminate"):
        alice.request(bob.jid, action, "s1")
        hnt.answer(await hnt.question("s1"), "pass")
        bob.acknowledge(await bob.next_request("s1"))
    await alice.close()
    other = await own_stage.client(f"alice@{OPEN}")
    await pass_one(other, bob, hnt)
    assert list(map(as_text, hnt.inbox)) == []


async def test_a_running_call_is_not_forgotten_for_those_of_others(own_stage: Stage) -> None:
    """One user who remembers as much as may be; then the party of another's call goes."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    bob.acknowledge(await bob.next_request(sid))
    carol = await own_stage.client(f"carol@{OPEN}")
    answering = asyncio.create_task(answer_all(hnt))
    name = unique("nobody")
    for number in range(2000):
        carol.request(carol.jid, "session-initiate", f"{name}#{number}")
        if number % 200 == 199:
            await carol.caught_up()
    await carol.caught_up()
    answering.cancel()
    await alice.close()
    assert (await hnt.event("gone")).get("jid") == alice.jid
