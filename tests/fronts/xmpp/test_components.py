"""Several components in one process: each request is answered where it came in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.errors import ConfigurationError, SecretRefused
from jingle_hnt.fronts.xmpp import components as components_module
from jingle_hnt.fronts.xmpp.component import ComponentSettings
from jingle_hnt.fronts.xmpp.components import Components
from jingle_hnt.jingle.effects import Inject, Moved, Pass
from jingle_hnt.model.address import literal
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from tests.fronts.xmpp.fakeserver import SECRET, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until
from tests.fronts.xmpp.test_component import INTERCEPT

ALICE, BOB, CAROL = "alice@one.example/a", "bob@two.example/b", "carol@else.example/c"
END = Jingle(Action.SESSION_TERMINATE, "s1")


def settings(label: str, other: str, port: int) -> ComponentSettings:
    domain, elsewhere = f"{label}.example", frozenset({f"{other}.example"})
    return ComponentSettings(
        f"hnt.{domain}", SECRET, (domain,), port=port, ask_s=0.1, elsewhere=elsewhere
    )


@pytest.fixture
async def servers() -> AsyncIterator[tuple[FakeServer, FakeServer]]:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(FakeServer()) for _ in range(2)]
        yield one, two


@pytest.fixture
async def components(
    servers: tuple[FakeServer, FakeServer], recorder: Recorder
) -> AsyncIterator[Components]:
    one, two = servers
    made = Components(
        (settings("one", "two", one.port), settings("two", "one", two.port)), recorder
    )
    task = asyncio.create_task(made.run())
    await until(lambda: not any(made.links.values()))
    yield made
    await made.stop()
    await task


def question(host: str, sender: str, recipient: str, extra: str = "") -> str:
    jingle = "<jingle xmlns='urn:xmpp:jingle:1' action='session-info' sid='s1'/>"
    return (
        f"<iq type='set' from='{host}' to='hnt.{host}' id='q1'><intercept xmlns='{INTERCEPT}'"
        f" timeout='3' {extra}><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'"
        f" type='set' from='{sender}' to='{recipient}' id='i'>{jingle}</iq></forwarded>"
        "</intercept></iq>"
    )


async def test_each_is_answered_on_its_own_stream(
    servers: tuple[FakeServer, FakeServer], recorder: Recorder, components: Components
) -> None:
    for server, host in zip(servers, ("one.example", "two.example"), strict=True):
        server.last.send(question(host, CAROL, f"x@{host}/y"))
    await until(lambda: len(recorder.requests) == 2)
    assert len({request.token for request in recorder.requests}) == 2
    for request in reversed(recorder.requests):
        components.answer(Pass(request.token))
        components.answer(Pass(request.token))  # once is enough
    for server, host in zip(servers, ("one.example", "two.example"), strict=True):
        answer = await server.last.reply("q1")
        assert answer.get("to") == host
        assert len(server.last.iqs("result")) == 1


async def test_who_is_called_from_another_server_of_ours_is_asked_about_once(
    servers: tuple[FakeServer, FakeServer], recorder: Recorder, components: Components
) -> None:
    servers[1].last.send(question("two.example", ALICE, BOB, "to-ip='198.51.100.7'"))
    answer = await servers[1].last.reply("q1")
    assert [e.get("action") for e in answer] == ["pass"]
    assert recorder.requests == []
    assert recorder.moves == [Moved(JID.of(BOB), literal("198.51.100.7"))]


async def test_what_we_say_takes_the_way_that_leads_to_its_reader(
    servers: tuple[FakeServer, FakeServer], components: Components
) -> None:
    def injected(server: FakeServer) -> list[ET.Element]:
        return [s for s in server.last.iqs("set") if s.find(f"{{{INTERCEPT}}}inject") is not None]

    one, two = servers
    assert components.inject(Inject(JID.of(ALICE), JID.of(BOB), END))
    await until(lambda: len(injected(two)) == 1)
    assert components.inject(Inject(JID.of(ALICE), JID.of(CAROL), END))
    await until(lambda: len(injected(one)) == 1)
    assert not components.inject(Inject(JID.of(CAROL), JID.of("dave@else.example/d"), END))
    assert components.inject(Inject(JID.of(CAROL), JID.of(BOB), END, via="hnt.one.example"))
    await until(lambda: [s for s in one.last.iqs("set") if s.get("to") == BOB])
    assert not components.inject(Inject(JID.of(CAROL), JID.of(BOB), END, via="hnt.none.example"))
    components.announce(JID.of(BOB), "news")
    await until(lambda: [s for s in two.last.stanzas if s.tag.endswith("}message")])
    await two.stop()
    await until(lambda: components.links["hnt.two.example"])
    # Bob's own server is away: Alice's may still reach him.
    assert components.inject(Inject(JID.of(ALICE), JID.of(BOB), END))
    await until(lambda: len(injected(one)) == 2)


REFUSAL = (
    "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    "</stream:stream>"
)


async def test_a_server_that_refuses_us_ends_no_call_of_another(
    servers: tuple[FakeServer, FakeServer], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components_module, "REFUSED_RETRY_S", 0.05)
    one, two = servers
    two.verdict = REFUSAL
    made = Components(
        (settings("one", "two", one.port), settings("two", "one", two.port)), recorder
    )
    task = asyncio.create_task(made.run())
    try:
        await until(lambda: len(two.connections) > 2 and not made.links["hnt.one.example"])
        assert "component_secret" in made.links["hnt.two.example"]
        one.last.send(question("one.example", CAROL, ALICE))
        await until(lambda: recorder.requests)
        made.answer(Pass(recorder.requests[0].token))
        await one.last.reply("q1")
        assert len(one.connections) == 1
        assert sum("component_secret" in told for told in recorder.server_connection) == 1
        # Its operator mends it.
        two.verdict = "<handshake/>"
        await until(lambda: not any(made.links.values()))
    finally:
        await made.stop()
        await task


async def test_a_secret_that_changes_on_the_server_ends_no_call(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generated secret, or a roll-out that reaches the server first; it is read again."""
    monkeypatch.setattr(components_module, "REFUSED_RETRY_S", 0.05)
    secret, reads = ["old"], []

    def read_secret() -> str:
        reads.append(secret[0])
        if not secret[0]:
            raise ConfigurationError("the secret file is empty")
        return secret[0]

    async with FakeServer() as server:
        only = replace(settings("one", "two", server.port), read_secret=read_secret)
        made = Components((only,), recorder)
        task = asyncio.create_task(made.run())
        try:
            await until(lambda: not any(made.links.values()))
            server.verdict = REFUSAL
            server.last.cut()
            await until(lambda: "component_secret" in made.links["hnt.one.example"])
            secret[0] = ""
            await until(lambda: made.links["hnt.one.example"] == "the secret file is empty")
            secret[0], server.verdict = "new", "<handshake/>"
            await until(lambda: not any(made.links.values()))
            assert (reads[0], reads[-1]) == ("old", "new")
        finally:
            await made.stop()
            await task


async def test_where_calls_go_on_a_refusal_at_the_start_is_tried_again(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components_module, "REFUSED_RETRY_S", 0.05)
    async with FakeServer(verdict=REFUSAL) as server:
        made = Components((settings("one", "two", server.port),), recorder, (), lambda: True)
        task = asyncio.create_task(made.run())
        try:
            await until(lambda: len(server.connections) > 2)
            server.verdict = "<handshake/>"
            await until(lambda: not any(made.links.values()))
        finally:
            await made.stop()
            await task


async def test_where_every_server_refuses_us_nothing_is_left_to_do(recorder: Recorder) -> None:
    async with FakeServer(verdict=REFUSAL) as one, FakeServer(verdict=REFUSAL) as two:
        both = (settings("one", "two", one.port), settings("two", "one", two.port))
        with pytest.raises(SecretRefused, match="component_secret"):
            await asyncio.wait_for(Components(both, recorder).run(), 5)
        with pytest.raises(SecretRefused, match="component_secret"):
            await asyncio.wait_for(Components(both[1:], recorder).run(), 5)
