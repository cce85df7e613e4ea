"""What the server's own administrator is shown, and how much is written into the server's log."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import COMPONENTS, HNT, OPEN, Stage, hosts
from tests.lab.ejabberd import Ejabberd
from tests.lab.prosody import Prosody
from tests.lab.server import LocalServer
from tests.lab.xmpp_actors import Client, Component, unique

pytestmark = pytest.mark.integration


async def status(stage: Stage) -> str:
    """What the server's command says of the module."""
    server = stage.server
    if isinstance(server, Prosody):
        return await server.shell(f"module:info('jingle_hnt', '{OPEN}')")
    assert isinstance(server, Ejabberd)
    command = "ejabberd_commands:execute_command2(jingle_hnt_status, [], "
    lines = await server.evaluate(f"{command} #{{caller_module => ejabberd_ctl}}).")
    return next(line for line in lines.split("},{") if OPEN in line)


async def until_it_is_gone(stage: Stage) -> None:
    """The server has noticed that the component is not connected any more, and says so."""
    async with asyncio.timeout(10):
        while "not connected: fail open" not in (shown := await status(stage)):
            assert "connected" in shown


async def pass_one(alice: Client, bob: Client, hnt: Component) -> None:
    """A request that is asked about and goes on."""
    alice.request(bob.jid, "session-info", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)


async def test_the_servers_own_command_shows_whether_the_component_answers(
    own_stage: Stage,
) -> None:
    alice, bob = await own_stage.pair()
    async with await Component.connect(own_stage.server, HNT) as hnt:
        await pass_one(alice, bob, hnt)
        assert "not connected" not in (shown := await status(own_stage))
        assert "connected" in shown
    await until_it_is_gone(own_stage)


async def test_what_became_of_requests_is_counted(
    kind: type[LocalServer], actors: AsyncExitStack
) -> None:
    """For whoever reads Prosody's statistics, as mod_http_openmetrics; as ejabberd's hook, which
    mod_prometheus counts, and in its command."""
    settings = {"statistics": "internal"} if kind is Prosody else {}
    server = kind(hosts(hold_s=20), COMPONENTS, settings=settings)
    stage = Stage(await actors.enter_async_context(server), actors)
    alice, bob = await stage.pair()
    hnt = await stage.component()
    if isinstance(server, Ejabberd):
        await server.evaluate(
            "ets:new(seen, [named_table, public, {heir, whereis(init), none}]),"
            f' ejabberd_hooks:add(jingle_hnt_request, <<"{OPEN}">>,'
            " fun(What) -> ets:update_counter(seen, What, 1, {What, 0}) end, 50)."
        )
    for _ in range(3):
        await pass_one(alice, bob, hnt)
    await hnt.abort()
    await until_it_is_gone(stage)
    alice.request(bob.jid, "session-info", sid := unique("sid"))
    await bob.next_request(sid)
    if isinstance(server, Ejabberd):
        seen = await server.evaluate("lists:sort(ets:tab2list(seen)).")
        assert seen == "[{answered,3},{asked,3},{failed,1}]"
        assert ",3,3,1,0," in await status(stage)
    elif isinstance(server, Prosody):
        shown = await server.shell("stats:show('jingle_hnt')")
        for name in ("asked", "answered", "failed"):
            assert f"mod_jingle_hnt/{name}" in shown


async def test_a_flood_writes_few_lines_of_log(own_stage: Stage) -> None:
    """Answers that cannot be used: one line a minute, not one each."""
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    before = own_stage.server.log_text()
    for _ in range(200):
        alice.request(bob.jid, "session-info", sid := unique("sid"))
        hnt.answer(await hnt.question(sid), "pass-the-salt")
        await bob.next_request(sid)
    new = own_stage.server.log_text()[len(before) :].splitlines()
    lines = [line for line in new if "cannot be used" in line]
    assert 1 <= len(lines) <= 4  # ejabberd's lab writes a line to two places
