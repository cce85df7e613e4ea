"""Two ejabberd nodes: everything is as on one, whichever node a party or the component is on.

Requests are held for longer than anybody waits here: what is not asked, or whose answer does not
find the node that holds it, fails its test.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import product
from pathlib import Path

import pytest

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.commands.check import online
from jingle_hnt.fronts.xmpp import modules
from jingle_hnt.fronts.xmpp.components import Components
from jingle_hnt.settings.wiring import component_settings
from tests.fronts.xmpp.recorder import Recorder, until
from tests.integration.server_module.stage import (
    CLOSED,
    COMPONENTS,
    HNT,
    OPEN,
    USERS,
    envelope,
    jingle_of,
    jingle_text,
    order_of,
    terminate,
)
from tests.integration.server_module.test_check import settings
from tests.lab.ejabberd_cluster import EjabberdCluster
from tests.lab.prosody import Prosody
from tests.lab.server import Endpoint, LocalServer, VirtualHost
from tests.lab.xmpp_actors import (
    INTERCEPT,
    Client,
    Component,
    Disconnected,
    as_text,
    bare_name,
    condition_of,
    unique,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SOON = "soon.example.org"
ELSEWHERE = "two.example.net"  # on another server, which knows of the second node only
HOLD_S = 60.0
WHERE = list(product((0, 1), repeat=3))
IDS = [f"component-{c}-caller-{a}-callee-{b}" for c, a, b in WHERE]
HOSTS = [
    VirtualHost(OPEN, USERS, component=HNT, fail="open", timeout_s=HOLD_S),
    VirtualHost(CLOSED, USERS, component=HNT, fail="closed", timeout_s=HOLD_S),
    VirtualHost(SOON, USERS, component=HNT, fail="open", timeout_s=0.5),
]


class Stage:
    """Logs actors in at either node."""

    def __init__(
        self, cluster: EjabberdCluster, other: LocalServer, actors: AsyncExitStack
    ) -> None:
        self.cluster, self.other = cluster, other
        self._actors = actors

    async def client(self, node: int, bare: str, local: str | None = None) -> Client:
        return await self.again(node, f"{bare}/{unique('r')}", local)

    async def again(self, node: int, jid: str, local: str | None = None) -> Client:
        """A client that binds this very resource."""
        login = Client.login(self.cluster.nodes[node], jid, local=local)
        client = await self._actors.enter_async_context(await login)
        await self.cluster.know_session(jid, at=self.cluster.nodes[node])
        return client

    async def elsewhere(self, bare: str) -> Client:
        """A client of the other server."""
        login = Client.login(self.other, f"{bare}/{unique('r')}")
        return await self._actors.enter_async_context(await login)

    async def resumed(self, node: int, lost: Client, local: str) -> Client:
        resume = Client.resume(self.cluster.nodes[node], lost, local=local)
        return await self._actors.enter_async_context(await resume)

    async def next_second(self) -> None:
        """Which of two sessions is the newer ejabberd knows to the second, where nodes differ."""
        await asyncio.sleep(1.05 - time.time() % 1)

    async def component(self, node: int = 0) -> Component:
        """Connected to this node, and told of what went on while nobody was."""
        connect = Component.connect(self.cluster.nodes[node], HNT)
        component = await self._actors.enter_async_context(await connect)
        await self.known(component)
        component.inbox.clear()
        return component

    async def known(self, component: Component) -> None:
        """Wait until both nodes know of the component, and no longer of the one before it."""
        await self.cluster.know_component(component.domain)
        await asyncio.sleep(0.05)  # what was left is told by processes of both nodes
        await component.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")

    async def call(self, hnt: Component, alice: Client, bob: Client) -> str:
        """A call that was offered; its sid."""
        alice.request(bob.jid, "session-initiate", sid := unique("sid"))
        hnt.answer(await hnt.question(sid), "pass")
        bob.acknowledge(await bob.next_request(sid))
        return sid


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[EjabberdCluster, LocalServer]]:
    """One for all tests that leave it as they found it; another server finds its second node."""
    routes: dict[str, Endpoint] = {}
    made = EjabberdCluster(HOSTS, COMPONENTS, routes=routes)
    back = dict.fromkeys((OPEN, CLOSED, SOON), made.nodes[1].s2s)
    idle = {f"hnt.{ELSEWHERE}": "secret"}
    other = Prosody([VirtualHost(ELSEWHERE, USERS)], idle, routes=back)
    routes[ELSEWHERE] = other.s2s
    with other, made as running:
        yield running, other


@pytest.fixture
async def stage(
    servers: tuple[EjabberdCluster, LocalServer], actors: AsyncExitStack
) -> AsyncIterator[Stage]:
    yield Stage(*servers, actors)
    await servers[0].forget_parties()


@pytest.mark.parametrize(("component", "caller", "callee"), WHERE, ids=IDS)
async def test_a_call_is_relayed_from_and_to_either_node(
    stage: Stage, component: int, caller: int, callee: int
) -> None:
    alice = await stage.client(caller, f"alice@{OPEN}", local="127.0.0.5")
    bob = await stage.client(callee, f"bob@{OPEN}", local="127.0.0.6")
    hnt = await stage.component(component)

    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    where = {k: v for k, v in question.intercept.attrib.items() if "-" in k}
    assert where == {"from-ip": "127.0.0.5", "to-ip": "127.0.0.6"}
    hnt.replace(question, jingle_text(sid, "<relayed xmlns='x'/>"))
    request = await bob.next_request(sid)
    assert envelope(request) == {"type": "set", "from": alice.jid, "to": bob.jid, "id": stanza_id}
    assert jingle_of(request).find("{x}relayed") is not None
    bob.acknowledge(request)
    assert (await alice.reply_to(stanza_id)).get("type") == "result"

    accepted = bob.request(alice.jid, "session-accept", sid)
    hnt.replace(await hnt.question(sid), jingle_text(sid, "<accepted xmlns='x'/>"))
    request = await alice.next_request(sid)
    assert jingle_of(request).find("{x}accepted") is not None
    alice.reject(request)
    assert (await bob.reply_to(accepted)).get("type") == "error"
    told = await hnt.event("error")
    assert (told.get("sid"), told.get("action")) == (sid, "session-accept")

    end = await hnt.inject(OPEN, terminate(alice.jid, bob.jid, sid))
    assert end.get("type") == "result"
    assert jingle_of(await bob.next_request(sid)).get("action") == "session-terminate"
    await stage.call(hnt, alice, bob)
    await bob.close()
    assert (await hnt.event("gone")).get("jid") == bob.jid
    end = await hnt.inject(OPEN, terminate(alice.jid, bob.jid, sid))
    assert condition_of(end) == "item-not-found"
    assert list(map(as_text, hnt.inbox)) == []


@pytest.mark.parametrize("node", [0, 1])
async def test_what_cannot_be_delivered_is_reported_from_either_node(
    stage: Stage, node: int
) -> None:
    alice = await stage.client(node, f"alice@{OPEN}")
    hnt = await stage.component()
    stanza_id = alice.request(f"bob@{OPEN}/none", "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    assert (await alice.reply_to(stanza_id)).get("type") == "error"
    assert (await hnt.event("error")).get("sid") == sid


async def test_an_error_that_overtakes_what_its_node_is_told_of_the_request_is_reported(
    stage: Stage,
) -> None:
    """The node of the recipient learns from that of the sender what an error would be about."""
    alice = await stage.client(0, f"alice@{OPEN}")
    bob = await stage.client(1, f"bob@{OPEN}")
    hnt = await stage.component()
    process = f'gen_mod:get_module_proc(<<"{OPEN}">>, mod_jingle_hnt_turns)'
    await stage.cluster.nodes[1].evaluate(f"sys:suspend({process}).")
    try:
        alice.request(bob.jid, "session-initiate", sid := unique("sid"))
        hnt.answer(await hnt.question(sid), "pass")
        bob.reject(await bob.next_request(sid))
        await bob.caught_up()
    finally:
        await stage.cluster.nodes[1].evaluate(f"sys:resume({process}).")
    told = await hnt.event("error")
    assert (told.get("sid"), told.get("action")) == (sid, "session-initiate")


@pytest.mark.parametrize("node", [0, 1])
async def test_a_silent_component_is_told_by_the_node_that_asked(stage: Stage, node: int) -> None:
    alice = await stage.client(node, f"alice@{SOON}")
    bob = await stage.client(1 - node, f"bob@{SOON}")
    hnt = await stage.component()
    alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    question = await hnt.question(sid)
    await bob.next_request(sid)
    assert (await hnt.event("expired")).get("id") == question.id
    hnt.answer(question, "pass")
    assert [e for e in await bob.caught_up() if e.get("type") == "set"] == []
    assert list(map(as_text, hnt.inbox)) == []


@pytest.mark.parametrize(("component", "node"), list(product((0, 1), repeat=2)))
async def test_a_party_anywhere_is_found_and_its_end_of_a_call_heard(
    stage: Stage, component: int, node: int
) -> None:
    alice = await stage.client(node, f"alice@{OPEN}", local="127.0.0.7")
    bob = await stage.client(1 - node, f"bob@{OPEN}")
    hnt = await stage.component(component)
    query = f"<address xmlns='{INTERCEPT}' jid='{alice.jid}'/>"
    found = (await hnt.request(OPEN, "get", query)).find(f"{{{INTERCEPT}}}address")
    assert found is not None
    assert found.get("ip") == "127.0.0.7"
    payload = "<finish xmlns='urn:xmpp:jingle-message:0' id='s1'/>"
    alice.send(f"<message to='{bob.jid}'>{payload}</message>")
    await bob.next(lambda e: bare_name(e) == "message")
    assert (await hnt.event("message")).get("jid") == alice.jid
    assert list(map(as_text, hnt.inbox)) == []


@pytest.mark.parametrize(("component", "node"), list(product((0, 1), repeat=2)))
async def test_an_answer_of_another_server_is_told_on_whichever_node_it_arrives(
    stage: Stage, component: int, node: int
) -> None:
    alice = await stage.client(node, f"alice@{OPEN}")
    bob = await stage.elsewhere(f"bob@{ELSEWHERE}")
    hnt = await stage.component(component)
    stanza_id = alice.request(bob.jid, "session-initiate", sid := unique("sid"))
    hnt.answer(await hnt.question(sid), "pass")
    bob.reject(await bob.next_request(sid))
    assert (await alice.reply_to(stanza_id)).get("type") == "error"
    assert (await hnt.event("error")).get("sid") == sid
    bob.request(alice.jid, "session-initiate", back := unique("sid"))
    question = await hnt.question(back)
    assert question.intercept.get("via") == "s2s"
    hnt.answer(question, "pass")
    await alice.next_request(back)
    assert list(map(as_text, hnt.inbox)) == []


# Who moves


@pytest.mark.parametrize("start", [0, 1])
async def test_a_user_who_moves_to_another_node_keeps_the_call(stage: Stage, start: int) -> None:
    alice = await stage.client(start, f"alice@{OPEN}", local="127.0.0.8")
    bob = await stage.client(1, f"bob@{OPEN}")
    hnt = await stage.component()
    sid = await stage.call(hnt, alice, bob)

    await stage.next_second()
    moved = await stage.again(1 - start, alice.jid, local="127.0.0.9")
    told = await hnt.event("address")
    assert told.attrib == {"event": "address", "jid": alice.jid, "ip": "127.0.0.9"}
    bob.request(alice.jid, "transport-info", sid)
    question = await hnt.question(sid)
    assert question.intercept.get("to-ip") == "127.0.0.9"
    hnt.answer(question, "pass")
    request = await moved.next_request(sid)
    moved.reject(request)
    assert (await hnt.event("error")).get("sid") == sid
    moved.request(bob.jid, "transport-info", sid)
    question = await hnt.question(sid)
    assert question.intercept.get("from-ip") == "127.0.0.9"
    hnt.answer(question, "pass")
    await bob.next_request(sid)
    assert "gone" not in "".join(map(as_text, hnt.inbox))


@pytest.mark.parametrize("start", [0, 1])
async def test_a_session_is_resumed_on_another_node(stage: Stage, start: int) -> None:
    alice = await stage.client(start, f"alice@{OPEN}", local="127.0.0.10")
    bob = await stage.client(0, f"bob@{OPEN}")
    hnt = await stage.component()
    await alice.enable_acknowledgements(resume=True)
    sid = await stage.call(hnt, alice, bob)
    await stage.next_second()
    await alice.abort()

    async def hibernates() -> bool:
        query = f"<address xmlns='{INTERCEPT}' jid='{alice.jid}'/>"
        return (await hnt.request(OPEN, "get", query)).get("type") == "error"

    async with asyncio.timeout(20):
        while not await hibernates():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    bob.request(alice.jid, "transport-info", sid)
    question = await hnt.question(sid)
    assert "to-ip" not in question.intercept.attrib
    assert question.intercept.get("to-ip4") == "127.0.0.10"
    hnt.answer(question, "pass")
    resumed = await stage.resumed(1 - start, alice, "127.0.0.11")
    told = await hnt.event("address")
    assert told.attrib == {"event": "address", "jid": alice.jid, "ip": "127.0.0.11"}
    await resumed.next_request(sid)
    resumed.request(bob.jid, "session-info", again := unique("sid"))
    assert (await hnt.question(again)).intercept.get("from-ip") == "127.0.0.11"
    assert list(map(as_text, hnt.inbox)) == []


# The component comes and goes


@pytest.mark.parametrize("domain", [OPEN, CLOSED])
async def test_what_both_nodes_hold_is_decided_when_the_component_goes(
    stage: Stage, domain: str
) -> None:
    callers = [await stage.client(node, f"alice@{domain}") for node in (0, 1)]
    bob = await stage.client(1, f"bob@{domain}")
    hnt = await stage.component()
    name = unique("sid")
    ids = [
        [caller.request(bob.jid, "session-info", f"{name}#{n}") for n in range(5)]
        for caller in callers
    ]
    for _ in range(10):
        await hnt.question()
    await hnt.abort()
    if domain == OPEN:
        arrived = [await bob.next_request() for _ in range(10)]
        for caller in callers:
            assert order_of([e for e in arrived if e.get("from") == caller.jid]) == [*range(5)]
    else:
        for caller, asked in zip(callers, ids, strict=True):
            for stanza_id in asked:
                reply = await caller.reply_to(stanza_id)
                assert condition_of(reply) == "remote-server-timeout"
    assert await bob.caught_up() == []


@pytest.mark.parametrize("back", [0, 1])
async def test_what_passed_on_both_nodes_is_told_wherever_it_comes_back(
    stage: Stage, back: int
) -> None:
    callers = [await stage.client(node, f"alice@{OPEN}") for node in (0, 1)]
    bob = await stage.client(0, f"bob@{OPEN}")
    sids = [unique("sid") for _ in callers]
    for caller, sid in zip(callers, sids, strict=True):
        caller.request(bob.jid, "session-terminate", sid)
        await bob.next_request(sid)
    hnt = await Component.connect(stage.cluster.nodes[back], HNT)
    async with hnt:
        told = [await hnt.event("passed") for _ in sids]
        seen = {e.attrib["sid"] for each in told for e in each.iter() if bare_name(e) == "jingle"}
        assert seen == set(sids)


@pytest.mark.parametrize("second", [0, 1])
async def test_a_second_connection_takes_the_place_of_the_first(stage: Stage, second: int) -> None:
    alice, bob = [await stage.client(n, f"{u}@{OPEN}") for n, u in ((0, "alice"), (1, "bob"))]
    old = await stage.component(1 - second)
    for caller, callee in ((alice, bob), (bob, alice)):
        caller.request(callee.jid, "session-initiate", held := unique("sid"))
        await old.question(held)
    new = await stage.component(second)
    for client in (alice, bob):
        await client.next_request()
    with pytest.raises(Disconnected):
        await old.next(lambda e: bare_name(e) == "never")
    for caller, callee in ((alice, bob), (bob, alice)):
        await stage.call(new, caller, callee)


# A node goes


@pytest.mark.parametrize("orderly", [False, True], ids=["cut", "stopped"])
async def test_the_end_of_a_node_ends_no_call_of_the_others(stage: Stage, orderly: bool) -> None:
    node = stage.cluster.others[0]
    alice, bob = [await stage.client(n, f"{u}@{OPEN}") for n, u in ((0, "alice"), (1, "bob"))]
    carol = await stage.client(0, f"carol@{OPEN}")
    hnt = await stage.component()
    sid = await stage.call(hnt, alice, bob)
    other = await stage.call(hnt, alice, carol)
    bob.request(alice.jid, "session-info", held := unique("sid"))
    question = await hnt.question(held)
    await asyncio.to_thread(node.stop if orderly else node.kill)
    if orderly:  # it decides about what it holds, and says so
        await alice.next_request(held)
        assert (await hnt.event("passed")).get("missed") == "0"
    gone = await hnt.event("gone")
    assert gone.attrib == {"event": "gone", "jid": bob.jid}
    hnt.answer(question, "pass")  # nobody holds it any more
    alice.request(carol.jid, "session-info", other)
    hnt.answer(await hnt.question(other), "pass")
    await carol.next_request(other)
    end = await hnt.inject(OPEN, terminate(bob.jid, alice.jid, sid))
    assert end.get("type") == "result"
    assert jingle_of(await alice.next_request(sid)).get("action") == "session-terminate"

    await asyncio.to_thread(node.start)  # and knows what it missed
    bob = await stage.client(1, f"bob@{OPEN}")
    await stage.call(hnt, alice, bob)
    await stage.call(hnt, bob, alice)
    await stage.next_second()
    carol = await stage.again(1, carol.jid, local="127.0.0.12")
    assert (await hnt.event("address")).get("jid") == carol.jid
    alice.request(carol.jid, "session-info", other)
    hnt.answer(await hnt.question(other), "pass")
    await carol.next_request(other)
    assert list(map(as_text, hnt.inbox)) == []


@pytest.mark.parametrize("orderly", [False, True], ids=["cut", "stopped"])
async def test_the_end_of_the_components_node_leaves_nothing_waiting(
    stage: Stage, orderly: bool
) -> None:
    node = stage.cluster.others[0]
    alice, bob = [await stage.client(0, f"{user}@{OPEN}") for user in ("alice", "bob")]
    hnt = await stage.component(1)
    name = unique("sid")
    for number in range(5):
        alice.request(bob.jid, "session-info", f"{name}#{number}")
        await hnt.question()
    await asyncio.to_thread(node.stop if orderly else node.kill)
    assert order_of([await bob.next_request() for _ in range(5)]) == list(range(5))
    alice.request(bob.jid, "session-info", f"{name}#5")
    assert order_of([await bob.next_request()]) == [5]

    async with await Component.connect(stage.cluster, HNT) as back:
        told = [await back.event("passed") for _ in range(6)]
        jingles = [e for each in told for e in each.iter() if bare_name(e) == "jingle"]
        assert [e.attrib["sid"] for e in jingles] == [f"{name}#{n}" for n in range(6)]
        await stage.call(back, alice, bob)
        await asyncio.to_thread(node.start)
        await stage.call(back, alice, bob)


# What the component is told of nodes


async def found(stage: Stage, path: Path) -> CheckFinding:
    """What `jingle-hnt check` says of the module."""
    told = (await online(settings(stage.cluster, path, OPEN))).findings
    return next(each for each in told if each.subject == f"server module of {OPEN}")


@pytest.mark.parametrize("node", [0, 1])
async def test_a_node_without_the_module_is_named(stage: Stage, node: int, tmp_path: Path) -> None:
    assert (await found(stage, tmp_path)).verdict == "ok"
    without = stage.cluster.nodes[node]
    await without.reload_module(False, OPEN)
    try:
        said = await found(stage, tmp_path)
        assert said.verdict == "FAIL"
        # Where the component is connected it is the module itself that is missing.
        assert ("not loaded" if node == 0 else f"does not answer on {without.name}") in said.text
        assert "run ejabberdctl module_install mod_jingle_hnt" in said.text
    finally:
        await without.reload_module(True, OPEN)
    assert (await found(stage, tmp_path)).verdict == "ok"


class Follower(Recorder):
    """Tells the components that a link is up, as the signalling process does."""

    components: Components

    def on_connected(self, component: str) -> None:
        super().on_connected(component)
        self.components.linked(component)


async def test_a_node_without_the_module_makes_it_not_ready(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ready`, /readyz and the alert go by."""
    monkeypatch.setattr(modules, "ASK_EVERY_S", 0.1)
    monkeypatch.setattr(modules, "ASK_AGAIN_S", 0.1)
    follower = Follower()
    components = Components(component_settings(settings(stage.cluster, tmp_path, OPEN)), follower)
    follower.components = components
    tasks = [asyncio.create_task(run()) for run in (components.run, components.watch_modules)]
    other = stage.cluster.nodes[1]
    try:
        await until(lambda: not any(components.links.values()) and not components.modules_down, 20)
        await other.reload_module(False, OPEN)
        await until(lambda: bool(components.modules_down), 20)
        assert f"does not answer on {other.name}" in components.modules_down[OPEN]
        await other.reload_module(True, OPEN)
        await until(lambda: not components.modules_down, 20)
    finally:
        await components.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_node_that_asks_another_component_is_named(stage: Stage, tmp_path: Path) -> None:
    other = stage.cluster.nodes[1]
    host = f'<<"{OPEN}">>'
    reload = 'mod_jingle_hnt:reload({host}, maps:put(component, <<"{name}">>, {given}), #{{}}).'
    given = f"gen_mod:get_module_opts({host}, mod_jingle_hnt)"
    await other.evaluate(reload.format(host=host, name="hnt.else.example", given=given))
    try:
        said = await found(stage, tmp_path)
        assert f"does not answer on {other.name}, or asks another component" in said.text
    finally:
        await other.evaluate(reload.format(host=host, name=HNT, given=given))
    assert (await found(stage, tmp_path)).verdict == "ok"
