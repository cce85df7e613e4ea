"""Calls between two servers, each with a component of its own: every kind with every kind."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import product

import pytest

from tests.integration.server_module.stage import (
    KINDS,
    USERS,
    Stage,
    envelope,
    jingle_of,
    jingle_text,
)
from tests.lab.server import Endpoint, LocalServer, VirtualHost
from tests.lab.xmpp_actors import CLIENT, CONDITIONS, condition_of, unique

pytestmark = pytest.mark.integration

DOMAINS = ("one.example.org", "two.example.net")
DEAD = "dead.example.net"  # nobody serves it: routed first, to where nobody listens on any port
# How a server answers for a client whose connection was cut. A difference between the kinds.
LOST = {"prosody": "recipient-unavailable", "ejabberd": "service-unavailable"}
PAIRS = list(product(KINDS, KINDS))


@pytest.fixture(scope="module", params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def servers(request: pytest.FixtureRequest) -> Iterator[list[LocalServer]]:
    """Two servers that find each other."""
    routes: dict[str, Endpoint] = {DEAD: ("127.0.0.99", 1)}
    made = []
    for kind, domain in zip(request.param, DOMAINS, strict=True):
        component = f"hnt.{domain}"
        host = VirtualHost(domain, USERS, component=component, timeout_s=20)
        made.append(KINDS[kind]([host], {component: "secret"}, routes=routes))
        routes[domain] = made[-1].s2s
    with made[0], made[1]:
        yield made


@pytest.fixture
def federation(servers: list[LocalServer], actors: AsyncExitStack) -> tuple[Stage, Stage]:
    """Actors on both."""
    return Stage(servers[0], actors), Stage(servers[1], actors)


async def test_a_call_between_servers_is_shown_once_to_each_component(
    federation: tuple[Stage, Stage],
) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    bob = await two.client("bob@two.example.net", local="127.0.0.4")
    hnt_one = await one.component("hnt.one.example.org")
    hnt_two = await two.component("hnt.two.example.net")

    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    leaving = await hnt_one.question(sid)
    assert leaving.intercept.get("via") == "c2s"
    assert "to-ip" not in leaving.intercept.attrib
    hnt_one.replace(leaving, jingle_text(sid, "<one xmlns='x'/>"))
    arriving = await hnt_two.question(sid)
    assert arriving.intercept.get("via") == "s2s"
    assert arriving.intercept.get("to-ip") == "127.0.0.4"
    assert "from-ip" not in arriving.intercept.attrib
    assert arriving.jingle.find("{x}one") is not None
    hnt_two.replace(arriving, jingle_text(sid, "<two xmlns='x'/>"))

    request = await bob.next_request(sid)
    assert envelope(request) == {"type": "set", "from": alice.jid, "to": bob.jid, "id": stanza_id}
    assert jingle_of(request).find("{x}two") is not None
    bob.reject(request)
    assert (await alice.reply_to(stanza_id)).get("from") == bob.jid
    for hnt in (hnt_one, hnt_two):
        assert (await hnt.event("error")).get("sid") == sid
        assert hnt.inbox == []


async def test_a_bounce_crosses_to_the_other_server(federation: tuple[Stage, Stage]) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    hnt = await two.component("hnt.two.example.net")
    nowhere = "bob@two.example.net/nowhere"
    first = alice.request(nowhere, "session-initiate", sid := unique("sid"))
    error = f"<error xmlns='{CLIENT}' type='cancel'><conflict xmlns='{CONDITIONS}'/></error>"
    hnt.answer(await hnt.question(sid), "bounce", error)
    assert condition_of(await alice.reply_to(first)) == "conflict"
    second = alice.request(nowhere, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert condition_of(await alice.reply_to(second)) == "service-unavailable"
    assert (await hnt.event("error")).get("sid") == sid


async def test_an_unreachable_server_is_reported(federation: tuple[Stage, Stage]) -> None:
    one, _ = federation
    alice = await one.client("alice@one.example.org")
    hnt = await one.component("hnt.one.example.org")
    to = "bob@dead.example.net/x"
    stanza_id = alice.request(to, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert (await hnt.event("error")).get("sid") == sid
    assert (await alice.reply_to(stanza_id)).get("from") == to


async def test_a_request_lost_with_its_recipients_connection_is_reported(
    federation: tuple[Stage, Stage],
) -> None:
    one, two = federation
    alice = await one.client("alice@one.example.org")
    bob = await two.client("bob@two.example.net")
    hnt = await two.component("hnt.two.example.net")
    await bob.enable_acknowledgements(resume=False)
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await bob.abort()
    assert (await hnt.event("error")).get("sid") == sid
    assert condition_of(await alice.reply_to(stanza_id)) == LOST[two.server.kind]
