"""Two hosts of one server that name two components: both sides of a call are shown, or none."""

from contextlib import AsyncExitStack

import pytest

from tests.integration.server_module.stage import KINDS, USERS, Stage
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import unique

pytestmark = pytest.mark.integration

ONE, TWO = "one.example.org", "two.example.org"


async def new_stage(kind: type[LocalServer], actors: AsyncExitStack) -> Stage:
    """As the file that comes with ejabberd's module has it: ``hnt.@HOST@``."""
    hosts = [VirtualHost(d, USERS, component=f"hnt.{d}", timeout_s=20) for d in (ONE, TWO)]
    server = kind(hosts, {f"hnt.{d}": "secret" for d in (ONE, TWO)})
    await actors.enter_async_context(server)
    return Stage(server, actors)


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("caller", [ONE, TWO])
async def test_the_only_component_that_is_there_sees_both_sides(
    name: str, caller: str, actors: AsyncExitStack
) -> None:
    stage = await new_stage(KINDS[name], actors)
    callee = TWO if caller == ONE else ONE
    alice, bob = await stage.client(f"alice@{caller}"), await stage.client(f"bob@{callee}")
    hnt = await stage.component(f"hnt.{ONE}")
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    await bob.next_request(sid)
    bob.request(alice.jid, "session-accept", sid)
    hnt.answer(await hnt.question(sid), "pass")
    await alice.next_request(sid)


@pytest.mark.parametrize("name", list(KINDS))
async def test_two_components_are_asked_in_turn_the_senders_first(
    name: str, actors: AsyncExitStack
) -> None:
    stage = await new_stage(KINDS[name], actors)
    alice, bob = await stage.client(f"alice@{ONE}"), await stage.client(f"bob@{TWO}")
    one, two = await stage.component(f"hnt.{ONE}"), await stage.component(f"hnt.{TWO}")
    for sender, recipient, first, second in ((alice, bob, one, two), (bob, alice, two, one)):
        sender.request(recipient.jid, "session-info", sid := unique("sid"))
        question = await first.question(sid)
        assert second.inbox == []
        first.answer(question, "pass")
        second.answer(await second.question(sid), "pass")
        await recipient.next_request(sid)
        assert one.inbox == two.inbox == []
