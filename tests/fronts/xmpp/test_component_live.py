"""The component against a real Prosody with the real module."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from slixmpp import ClientXMPP
from slixmpp.xmlstream import ET

from jingle_hnt import __version__
from jingle_hnt.errors import (
    Condition,
    JingleCondition,
    SecretRefused,
    StanzaError,
)
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.jingle.effects import Bounce, Inject, Pass, Replace
from jingle_hnt.model.address import TransportAddress, literal
from jingle_hnt.model.content import Candidate, ContentKey, Creator, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason
from jingle_hnt.model.servers import ModuleState
from tests.fronts.xmpp.recorder import Recorder, until
from tests.lab.prosody import Prosody
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import Client, as_text

pytestmark = pytest.mark.integration

DOMAIN = "example.org"
COMPONENT = "hnt.example.org"
ALICE = "alice@example.org/phone"
BOB = "bob@example.org/desk"
OFFER = (
    "<content creator='initiator' name='audio'>"
    "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>"
    "<payload-type id='0' name='PCMU' clockrate='8000' note='a&apos;b&#10;c'/></description>"
    "<transport xmlns='urn:xmpp:jingle:transports:raw-udp:1'>{}</transport></content>"
)
CANDIDATE = "<candidate component='1' generation='0' id='c1' ip='192.0.2.1' port='{}'/>"
RELAYED = tuple(
    Candidate(
        component, 0, TransportAddress.of("203.0.113.9", 30000 + component - 1), f"r{component}"
    )
    for component in (1, 2)
)


@pytest.fixture(scope="module")
def server() -> Iterator[Prosody]:
    users = {"alice": "secret", "bob": "secret"}
    hosts = [
        VirtualHost(DOMAIN, users, component=COMPONENT),
        VirtualHost("plain.example.org", {}),
        VirtualHost("other.example.org", {}, component="else.example.org"),
    ]
    with Prosody(hosts, {COMPONENT: "secret", "else.example.org": "secret"}) as prosody:
        yield prosody


def settings_for(server: Prosody) -> ComponentSettings:
    host, port = server.component
    return ComponentSettings(COMPONENT, "secret", (DOMAIN,), host=host, port=port)


@asynccontextmanager
async def running(settings: ComponentSettings, recorder: Recorder) -> AsyncIterator[Component]:
    component = Component(settings, recorder)
    task = asyncio.create_task(component.run())
    try:
        await until(lambda: component.up or task.done())
        yield component
    finally:
        await component.stop()
        await task


@pytest.fixture
async def component(server: Prosody, recorder: Recorder) -> AsyncIterator[Component]:
    async with running(settings_for(server), recorder) as component:
        yield component


@pytest.fixture
async def alice(server: Prosody) -> AsyncIterator[Client]:
    async with await Client.login(server, ALICE, local="127.0.0.2") as client:
        yield client


@pytest.fixture
async def bob(server: Prosody) -> AsyncIterator[Client]:
    async with await Client.login(server, BOB, local="127.0.0.3") as client:
        yield client


async def test_a_held_offer_goes_on_with_our_candidates(
    component: Component, recorder: Recorder, alice: Client, bob: Client
) -> None:
    key = ContentKey(Creator.INITIATOR, "audio")
    recorder.on_request = lambda r: component.answer(Replace(r.token, {key: RELAYED}))
    id_ = alice.request(BOB, "session-initiate", "s1", OFFER.format(CANDIDATE.format(5000)))

    came = await bob.next_request("s1")
    assert (came.get("from"), came.get("to"), came.get("id")) == (ALICE, BOB, id_)
    wanted = "".join(
        f"<candidate component='{c.component}' generation='0' id='r{c.component}'"
        f" ip='203.0.113.9' port='{c.address.port}' type='relay'/>"
        for c in RELAYED
    )
    expected = ET.fromstring(
        f"<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s1'>"
        f"{OFFER.format(wanted)}</jingle>"
    )
    # Prosody passes a line break in an attribute on bare, which the next parser reads as a space.
    payload = expected.find(".//{*}payload-type")
    assert payload is not None
    payload.set("note", "a'b c")
    assert ET.canonicalize(as_text(came[0])) == ET.canonicalize(as_text(expected))

    request = recorder.requests[0]
    assert (request.sender, request.recipient) == (JID.of(ALICE), JID.of(BOB))
    assert request.sender_ip == literal("127.0.0.2")
    assert request.recipient_ip == literal("127.0.0.3")
    bob.acknowledge(came)
    assert (await alice.reply_to(id_)).get("from") == BOB


async def test_an_offer_can_pass_as_it_came(
    component: Component, recorder: Recorder, alice: Client, bob: Client
) -> None:
    recorder.on_request = lambda r: component.answer(Pass(r.token))
    alice.request(BOB, "session-initiate", "s2", OFFER.format(CANDIDATE.format(5000)))
    candidate = (await bob.next_request("s2")).find(".//{*}candidate")
    assert candidate is not None
    assert candidate.get("ip") == "192.0.2.1"


async def test_a_bounced_request_gets_its_jingle_error(
    component: Component, recorder: Recorder, alice: Client, bob: Client
) -> None:
    error = StanzaError(
        Condition.UNEXPECTED_REQUEST, "wait", "too early", JingleCondition.OUT_OF_ORDER
    )
    recorder.on_request = lambda r: component.answer(Bounce(r.token, error))
    id_ = alice.request(BOB, "session-accept", "s3")
    answer = await alice.reply_to(id_)
    assert answer.get("type") == "error"
    assert answer.get("from") == BOB
    assert answer.find(".//{urn:xmpp:jingle:errors:1}out-of-order") is not None
    assert answer.find(".//{*}unexpected-request") is not None
    assert answer.findtext(".//{*}text") == "too early"
    assert not any(e.find("{*}jingle") is not None for e in await bob.caught_up())


async def test_an_odd_candidate_of_a_real_client_is_left_out(
    server: Prosody, component: Component, recorder: Recorder, bob: Client
) -> None:
    recorder.on_request = lambda r: component.answer(Pass(r.token))
    async with slixmpp_client(server, "alice@example.org/slix") as client:
        iq = client.make_iq_set(ito=BOB)
        odd = OFFER.format(CANDIDATE.format(99999) + CANDIDATE.format(5000))
        head = "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='s4'>"
        iq.append(ET.fromstring(f"{head}{odd}</jingle>"))
        iq.send(timeout=5)  # type: ignore[no-untyped-call]
        await bob.next_request("s4")
    (content,) = recorder.requests[0].jingle.contents
    assert isinstance(content.transport, RawUdp)
    assert [each.address.port for each in content.transport.candidates] == [5000]
    assert recorder.rejections == []


async def test_a_large_offer_is_asked_about_and_the_stream_lives_on(
    component: Component, recorder: Recorder, alice: Client, bob: Client
) -> None:
    """What the server carries is the only bound; what was pruned on its way is passed as it was."""
    recorder.on_request = lambda r: component.answer(Pass(r.token))
    many = "".join(CANDIDATE.format(5000) for _ in range(100))
    for number, payload in enumerate(
        (OFFER.format(many), "<a/>" * 20000, "<a>" * 60 + "</a>" * 60)
    ):
        alice.request(BOB, "session-initiate", f"big{number}", payload)
        await bob.next_request(f"big{number}")
    alice.request(BOB, "session-initiate", "small")
    await bob.next_request("small")
    assert recorder.server_connection == ["up"]


async def test_an_error_of_the_callee_is_told(
    component: Component, recorder: Recorder, alice: Client, bob: Client
) -> None:
    recorder.on_request = lambda r: component.answer(Pass(r.token))
    alice.request(BOB, "session-initiate", "s5")
    came = await bob.next_request("s5")
    bob.reject(came, extra="<unknown-session xmlns='urn:xmpp:jingle:errors:1'/>")
    await until(lambda: recorder.refusals)
    [refusal] = recorder.refusals
    assert (str(refusal.sender), str(refusal.recipient)) == (ALICE, BOB)
    assert (refusal.sid, refusal.action) == ("s5", Action.SESSION_INITIATE)
    assert refusal.unknown_session


async def test_a_party_that_leaves_is_told(
    server: Prosody, component: Component, recorder: Recorder, alice: Client
) -> None:
    recorder.on_request = lambda r: component.answer(Pass(r.token))
    async with await Client.login(server, BOB) as bob:
        alice.request(BOB, "session-initiate", "s6")
        await bob.next_request("s6")
    await until(lambda: recorder.departures)
    assert recorder.departures[0].jid == JID.of(BOB)


async def test_we_end_calls_in_the_parties_names(
    component: Component, alice: Client, bob: Client
) -> None:
    reason = Reason("timeout", "no media for 60 s")
    jingle = Jingle(Action.SESSION_TERMINATE, "s7", reason=reason)
    assert component.inject(Inject(JID.of(BOB), JID.of(ALICE), jingle))
    came = await alice.next_request("s7")
    assert came.get("from") == BOB
    assert came.find(".//{*}timeout") is not None
    assert came.findtext(".//{*}text") == "no media for 60 s"
    elsewhere = Inject(JID.of("a@x.example/1"), JID.of("b@y.example/2"), jingle)
    assert not component.inject(elsewhere)


async def test_addresses_are_asked_for(component: Component, alice: Client) -> None:
    assert await component.address(JID.of(ALICE)) == literal("127.0.0.2")
    assert await component.address(JID.of("nobody@example.org/x")) is None
    assert await component.address(JID.of("who@else.example/x")) is None


async def test_the_check_names_what_is_wrong_with_a_module(
    server: Prosody, recorder: Recorder
) -> None:
    domains = (DOMAIN, "plain.example.org", "other.example.org", "none.example.org")
    settings = replace(settings_for(server), domains=domains, ask_s=2.0)
    async with running(settings, recorder) as component:
        assert await component.probe() == [DOMAIN]
        faults = await component.diagnose()
    ours = ModuleState(server="prosody", fails="open", hosts=(DOMAIN,), asks_about_rings=True)
    assert faults[DOMAIN] == ours
    assert 'modules_enabled = { "jingle_hnt" }' in faults["plain.example.org"].fault
    assert f'jingle_hnt_component = "{COMPONENT}"' in faults["other.example.org"].fault
    assert faults["none.example.org"].fault


async def test_anybody_may_ask_who_we_are(component: Component, alice: Client) -> None:
    def ask(payload: str, to: str = COMPONENT, type_: str = "get") -> str:
        id_ = f"q{len(asked)}"
        asked.append(id_)
        alice.send(f"<iq type='{type_}' to='{to}' id='{id_}'>{payload}</iq>")
        return id_

    asked: list[str] = []
    info = await alice.reply_to(ask("<query xmlns='http://jabber.org/protocol/disco#info'/>"))
    identity = info.find(".//{*}identity")
    assert identity is not None
    assert (identity.get("category"), identity.get("name")) == ("proxy", "jingle-hnt")
    assert {f.get("var") for f in info.findall(".//{*}feature")} >= {"urn:xmpp:ping"}
    version = await alice.reply_to(ask("<query xmlns='jabber:iq:version'/>"))
    assert version.findtext(".//{*}version") == __version__
    ping = await alice.reply_to(ask("<ping xmlns='urn:xmpp:ping'/>"))
    assert (ping.get("type"), len(ping)) == ("result", 0)
    for to, type_, payload in (
        (COMPONENT, "set", "<ping xmlns='urn:xmpp:ping'/>"),
        (COMPONENT, "get", "<what xmlns='is:this'/>"),
        (f"somebody@{COMPONENT}/x", "get", "<ping xmlns='urn:xmpp:ping'/>"),
    ):
        answer = await alice.reply_to(ask(payload, to, type_))
        assert answer.find(".//{*}service-unavailable") is not None
        assert answer.get("from") == to


async def test_a_user_is_no_server_module(
    component: Component, recorder: Recorder, alice: Client
) -> None:
    inner = (
        "<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='set' id='x'"
        f" from='{BOB}' to='{ALICE}'><jingle xmlns='urn:xmpp:jingle:1' action='session-info'"
        " sid='x'/></iq></forwarded>"
    )
    alice.send(
        f"<iq type='set' to='{COMPONENT}' id='forged'>"
        f"<intercept xmlns='urn:hnt:intercept:0'>{inner}</intercept></iq>"
        f"<message to='{COMPONENT}'><intercept xmlns='urn:hnt:intercept:0' event='gone'"
        f" jid='{BOB}'/></message>"
    )
    answer = await alice.reply_to("forged")
    assert answer.find(".//{*}forbidden") is not None
    alice.send(f"<iq type='get' to='{COMPONENT}' id='after'><ping xmlns='urn:xmpp:ping'/></iq>")
    await alice.reply_to("after")
    assert (recorder.requests, recorder.departures) == ([], [])


async def test_a_wrong_secret_is_refused(server: Prosody, recorder: Recorder) -> None:
    component = Component(replace(settings_for(server), secret="wrong"), recorder)
    with pytest.raises(SecretRefused, match=r"xmpp\.secret"):
        await asyncio.wait_for(component.run(), 10)
    assert "wrong" not in repr(replace(settings_for(server), secret="wrong"))


async def test_an_unknown_component_is_named(server: Prosody, recorder: Recorder) -> None:
    settings = replace(settings_for(server), jid="new.example.org")
    component = Component(settings, recorder)
    task = asyncio.create_task(component.run())
    # A server that closes while our handshake is on its way may be heard at the second try only.
    await until(
        lambda: any('Component "new.example.org"' in why for why in recorder.server_connection)
    )
    await component.stop()
    await task


async def test_pings_go_through_the_server_and_back(server: Prosody, recorder: Recorder) -> None:
    settings = replace(settings_for(server), ping_s=0.05)
    async with running(settings, recorder) as component:
        await asyncio.sleep(1)  # 20 pings, of which 3 lost in a row would end the stream
        assert component.up
    assert recorder.server_connection[0] == "up"
    assert len(recorder.server_connection) <= 1


async def test_after_a_restart_of_the_server_we_are_back_within_5_s(recorder: Recorder) -> None:
    hosts = [VirtualHost(DOMAIN, {"alice": "secret", "bob": "secret"}, component=COMPONENT)]
    async with (
        Prosody(hosts, {COMPONENT: "secret"}) as server,
        running(settings_for(server), recorder) as component,
    ):
        recorder.on_request = lambda r: component.answer(Pass(r.token))
        await asyncio.to_thread(server.kill)
        await until(lambda: not component.up)
        assert not component.inject(
            Inject(JID.of(ALICE), JID.of(BOB), Jingle(Action.SESSION_TERMINATE, "lost"))
        )
        await until(lambda: any("cannot connect" in told for told in recorder.server_connection))
        await asyncio.to_thread(server.start)
        back_at = time.monotonic()
        await until(lambda: component.up)
        assert time.monotonic() - back_at < 5
        async with (
            await Client.login(server, ALICE) as alice,
            await Client.login(server, BOB) as bob,
        ):
            alice.request(BOB, "session-initiate", "again")
            came = await bob.next_request()
            assert came[0].get("sid") == "again"


async def test_nothing_is_left_after_a_stop(server: Prosody, recorder: Recorder) -> None:
    before = asyncio.all_tasks()
    async with running(settings_for(server), recorder) as component:
        assert component.up
    assert asyncio.all_tasks() == before
    await component.stop()
    assert recorder.server_connection == ["up"]


@asynccontextmanager
async def slixmpp_client(server: Prosody, jid: str) -> AsyncIterator[ClientXMPP]:
    client = ClientXMPP(jid, "secret")
    client.enable_plaintext, client.enable_starttls = True, False
    client.enable_direct_tls = False
    client.plugin["feature_mechanisms"].unencrypted_plain = True
    client.connect(*server.c2s)
    await client.wait_until("session_start", 30)
    try:
        yield client
    finally:
        await client.disconnect(wait=0.5)
        if client._run_out_filters is not None:
            client._run_out_filters.cancel()
