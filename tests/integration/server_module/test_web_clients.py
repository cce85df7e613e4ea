"""Where clients are that come by HTTP: told with the kind of their connection, or not at all."""

import socket
from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import COMPONENTS, OPEN, Stage, hosts, jingle_text
from tests.lab.server import LocalServer
from tests.lab.web_clients import Bosh, WebSocket
from tests.lab.xmpp_actors import CLIENT, unique
from tests.ports import free_port

pytestmark = pytest.mark.integration

HOME, TRAIN = "127.0.0.5", "127.0.0.6"


@pytest.fixture
async def web_stage(kind: type[LocalServer], actors: AsyncExitStack) -> Stage:
    """Actors on a server that listens for HTTP as well."""
    web = free_port("127.0.0.1", socket.SOCK_STREAM)
    server = await actors.enter_async_context(kind(hosts(hold_s=20), COMPONENTS, web=web))
    return Stage(server, actors)


def offer(to: str, sid: str) -> str:
    return f"<iq xmlns='{CLIENT}' type='set' to='{to}' id='{unique('web')}'>{jingle_text(sid)}</iq>"


async def test_of_bosh_its_kind_is_told_and_no_address_is_passed_off_as_fresh(
    web_stage: Stage, actors: AsyncExitStack
) -> None:
    """Prosody knows the last request, ejabberd the first; either says that it is BOSH."""
    bob = await web_stage.client(f"bob@{OPEN}")
    hnt = await web_stage.component()
    alice = await Bosh.login(web_stage.server, f"alice@{OPEN}/{unique('web')}", HOME)
    actors.push_async_callback(alice.close)
    for local in (HOME, TRAIN):
        alice.send(offer(bob.jid, sid := unique("sid")), local)
        question = await hnt.question(sid)
        told = question.intercept
        expected = local if web_stage.server.kind == "prosody" else HOME
        assert (told.get("from-ip"), told.get("from-via")) == (expected, "bosh")
        hnt.answer(question, "pass")
        await bob.next_request(sid)


async def test_of_a_websocket_its_address_and_kind_are_told(
    web_stage: Stage, actors: AsyncExitStack
) -> None:
    bob = await web_stage.client(f"bob@{OPEN}")
    hnt = await web_stage.component()
    alice = await WebSocket.login(web_stage.server, f"alice@{OPEN}/{unique('web')}", TRAIN)
    actors.push_async_callback(alice.close)
    alice.send(offer(bob.jid, sid := unique("sid")))
    question = await hnt.question(sid)
    told = question.intercept
    assert (told.get("from-ip"), told.get("from-via")) == (TRAIN, "websocket")
    hnt.answer(question, "pass")
    await bob.next_request(sid)
