"""Nobody can stall others, and what the module holds or lets through is neither lost nor unseen."""

import asyncio

import pytest

from tests.integration.server_module.stage import HNT, OPEN, Stage, jingle_of, order_of
from tests.lab.ejabberd import Ejabberd
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import (
    CLIENT,
    FORWARD,
    INTERCEPT,
    Client,
    Component,
    bare_name,
    condition_of,
    unique,
)

pytestmark = pytest.mark.integration


async def test_what_went_on_unasked_is_told_in_order_once_the_component_is_back(
    stage: Stage,
) -> None:
    await stage.component()
    async with await Component.connect(stage.server, HNT):
        pass
    alice, bob = await stage.pair()
    name = unique("sid")
    for number in range(3):
        alice.request(bob.jid, "session-info", f"{name}#{number}")
    assert order_of([await bob.next_request() for _ in range(3)]) == [0, 1, 2]
    async with await Component.connect(stage.server, HNT) as back:
        told = [await back.event("passed") for _ in range(3)]
    path = f"{{{FORWARD}}}forwarded/{{{CLIENT}}}iq"
    stanzas = [stanza for event in told if (stanza := event.find(path)) is not None]
    assert order_of(stanzas) == [0, 1, 2]
    assert {event.get("missed") for event in told} == {"0"}


async def test_an_offer_of_a_blocked_stranger_is_not_asked_about(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    bare = alice.jid.partition("/")[0]
    bob.send(
        f"<iq type='set' id='block'><block xmlns='urn:xmpp:blocking'><item jid='{bare}'/>"
        "</block></iq>"
    )
    assert (await bob.reply_to("block")).get("type") == "result"
    stanza_id = alice.request(bob.jid, "session-initiate", unique("sid"))
    assert condition_of(await alice.reply_to(stanza_id)) == "service-unavailable"
    await hnt.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert [bare_name(e) for e in hnt.inbox] == []


FIREWALLS = {
    "prosody": f"> prosody.hosts['{OPEN}'].events.add_handler('iq/full', function (event)"
    " return event.stanza.attr.type == 'set' or nil; end, 0.1)",
    "ejabberd": "ejabberd_hooks:add(filter_packet, fun(P) -> case element(1, P) == iq andalso"
    ' element(3, P) == set andalso element(2, element(6, P)) == <<"bob">> of'
    " true -> drop; false -> P end end, 100).",
}
"""Drop every request: as mod_firewall's deliver chain does, and another module's filter."""


async def test_what_a_firewall_drops_is_not_asked_about(own_stage: Stage) -> None:
    alice, bob = await own_stage.pair()
    hnt = await own_stage.component()
    server = own_stage.server
    if isinstance(server, Prosody):
        await server.shell(FIREWALLS["prosody"])
    elif isinstance(server, Ejabberd):
        await server.evaluate(FIREWALLS["ejabberd"])
    alice.request(bob.jid, "session-initiate", unique("sid"))
    await alice.caught_up()
    await hnt.request(OPEN, "get", f"<module xmlns='{INTERCEPT}'/>")
    assert [bare_name(e) for e in hnt.inbox] == []
    assert await bob.caught_up() == []


async def test_a_killed_process_of_a_host_loses_nothing_that_it_held() -> None:
    users = {"alice": "secret", "bob": "secret"}
    host = VirtualHost(OPEN, users, component=HNT, timeout_s=20)
    async with (
        Ejabberd([host], {HNT: "secret"}) as server,
        await Component.connect(server, HNT) as hnt,
        await Client.login(server, f"alice@{OPEN}/a") as alice,
        await Client.login(server, f"bob@{OPEN}/b") as bob,
    ):
        name = unique("sid")
        for number in range(5):
            alice.request(bob.jid, "session-info", f"{name}#{number}")
        questions = [await hnt.question() for _ in range(5)]
        process = f'whereis(gen_mod:get_module_proc(<<"{OPEN}">>, mod_jingle_hnt))'
        await server.evaluate(f"exit({process}, kill).")
        for question in reversed(questions):
            hnt.answer(question, "pass")
        async with asyncio.timeout(20):
            arrived = [await bob.next_request() for _ in range(5)]
        assert [jingle_of(e).get("sid") for e in arrived] == [f"{name}#{n}" for n in range(5)]
