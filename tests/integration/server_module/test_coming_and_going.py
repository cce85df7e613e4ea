"""Module and server come and go (each on a server of its own)."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import (
    CLOSED,
    COMPONENTS,
    HNT,
    OPEN,
    Stage,
    hosts,
    order_of,
)
from tests.lab.server import LocalServer
from tests.lab.xmpp_actors import INTERCEPT, Component, as_text, condition_of, unique

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_unloading_lets_go_what_is_held_and_loading_takes_over_again(
    own_stage: Stage, domain: str
) -> None:
    alice, bob = await own_stage.pair(domain)
    hnt = await own_stage.component()
    name = unique("sid")
    ids = [alice.request(bob.jid, "transport-info", f"{name}#{n}") for n in range(5)]
    for _ in range(5):
        await hnt.question()
    await own_stage.server.reload_module(False, domain)
    if domain == OPEN:
        assert order_of([await bob.next_request() for _ in range(5)]) == list(range(5))
    else:
        for stanza_id in ids:
            assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"

    hnt.inbox.clear()
    alice.request(bob.jid, "session-initiate", without := unique("sid"))
    await bob.next_request(without)
    absent = await hnt.request(domain, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert condition_of(absent) == "service-unavailable"
    assert hnt.inbox == []

    await own_stage.server.reload_module(True, domain)
    alice.request(bob.jid, "session-initiate", again := unique("sid"))
    hnt.answer(await hnt.question(again), "pass")
    await bob.next_request(again)
    assert await bob.caught_up() == []


async def test_a_reload_in_the_middle_of_a_call_forgets_nothing(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    request = await bob.next_request(sid)
    await own_stage.server.reload_module(True)
    bob.reject(request)
    assert (await hnt.event("error")).get("sid") == sid
    await alice.close()
    assert (await hnt.event("gone")).get("jid") == alice.jid
    await hnt.abort()
    async with asyncio.timeout(20):  # the new module follows the component's connection, too
        carol = await own_stage.client(f"carol@{OPEN}")
        carol.request(bob.jid, "session-initiate", other := unique("sid"))
        await bob.next_request(other)


async def test_what_a_reload_lets_go_is_told_at_once(own_stage: Stage) -> None:
    """Later it would be taken for what was said last: the beginning of a hold after its end."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-info", sid := unique("sid"))
    await hnt.question(sid)
    await own_stage.server.reload_module(True)
    await bob.next_request(sid)
    told = await hnt.event("passed")
    assert float(told.get("age", "9")) < 5
    assert f'sid="{sid}"' in as_text(told)


async def test_what_came_late_is_not_told_again_after_a_reload(
    kind: type[LocalServer], actors: AsyncExitStack
) -> None:
    """A content that was removed, and added again since, would be removed once more."""
    server = await actors.enter_async_context(kind(hosts(hold_s=1.0), COMPONENTS))
    stage = Stage(server, actors)
    alice, bob = await stage.pair()
    hnt = await stage.component()
    alice.request(bob.jid, "content-remove", sid := unique("sid"))
    late = await hnt.question(sid)
    await bob.next_request(sid)
    await hnt.event("expired")
    await server.reload_module(True)
    hnt.answer(late, "pass")
    alice.request(bob.jid, "content-add", sid)
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    await hnt.close()
    back = await actors.enter_async_context(await Component.connect(server, HNT))
    await back.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert list(map(as_text, back.inbox)) == []


async def test_after_a_restart_of_the_server_everything_works_again(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    await asyncio.to_thread(own_stage.server.restart)
    for actor in (alice, bob, hnt):
        await actor.ended()
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)


async def test_a_dead_connection_of_the_component_is_asked_nothing_more(own_stage: Stage) -> None:
    """It takes nothing any more, so that the server may not even get rid of its end."""
    alice, bob = await own_stage.pair(CLOSED)
    dead = await own_stage.component()
    await dead.turn_deaf()
    for _ in range(100):  # more than its buffers take
        alice.send(f"<message to='{HNT}'><body>{'x' * 150_000}</body></message>")
    lost = [alice.request(bob.jid, "session-info", unique("sid")) for _ in range(10)]
    await alice.caught_up()
    hnt = await own_stage.component()
    for stanza_id in lost:
        assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"
    for _ in range(10):
        alice.request(bob.jid, "session-initiate", sid := unique("sid"))
        hnt.answer(await hnt.question(sid), "pass")
        await bob.next_request(sid)


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_an_orderly_stop_of_the_server_decides_what_is_held(
    own_stage: Stage, domain: str
) -> None:
    """Delivered or refused, while there still are connections to do so by."""
    alice, bob = await own_stage.pair(domain)
    hnt = await own_stage.component()
    name = unique("sid")
    ids = [alice.request(bob.jid, "session-terminate", f"{name}#{n}") for n in range(5)]
    for _ in range(5):
        await hnt.question()
    await asyncio.to_thread(own_stage.server.stop)
    if domain == OPEN:
        assert order_of([await bob.next_request() for _ in range(5)]) == list(range(5))
    else:
        for stanza_id in ids:
            assert condition_of(await alice.reply_to(stanza_id)) == "remote-server-timeout"
