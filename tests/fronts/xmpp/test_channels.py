"""Relay channels (XEP-0278) at the component: what a refusal says to ask for is given."""

import asyncio
from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp import names
from jingle_hnt.fronts.xmpp.component import Component, ComponentSettings
from jingle_hnt.jingle.effects import ChannelRequest, Opened
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.jid import JID
from tests.fronts.xmpp.fakeserver import SECRET, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until

COMPONENT, ALICE = "hnt.example.org", "alice@example.org/phone"
LOCAL, REMOTE = (TransportAddress.of("203.0.113.9", port) for port in (30000, 30002))


@pytest.fixture
async def component(server: FakeServer, recorder: Recorder) -> AsyncIterator[Component]:
    settings = ComponentSettings(
        COMPONENT, SECRET, ("example.org",), port=server.port, channels=True
    )
    made = Component(settings, recorder)
    task = asyncio.create_task(made.run())
    await until(lambda: made.up)
    yield made
    await made.stop()
    await task


async def ask(server: FakeServer, id_: str, protocol: str = "udp") -> None:
    wanted = f"<channel xmlns='{names.NODES_CHANNEL}' protocol='{protocol}'/>"
    server.last.send(f"<iq type='get' id='{id_}' from='{ALICE}' to='{COMPONENT}'>{wanted}</iq>")


async def reply(server: FakeServer, id_: str) -> ET.Element:
    def found() -> list[ET.Element]:
        return [s for s in server.last.stanzas if s.get("id") == id_ and s.get("to") == ALICE]

    await until(lambda: bool(found()))
    return found()[0]


def opened(request: ChannelRequest) -> Opened:
    return Opened(request.token, "c1", LOCAL, REMOTE, 60.0, 0)


async def test_who_asks_for_udp_gets_it(
    server: FakeServer, recorder: Recorder, component: Component
) -> None:
    await ask(server, "one", "tcp")
    said = (await reply(server, "one")).findtext(".//{*}text") or ""
    assert said == "there are no 'tcp' channels: ask for udp"
    await ask(server, "two")
    await until(lambda: bool(recorder.channels))
    assert recorder.channels[0].requester == JID.of(ALICE)
    component.answer(opened(recorder.channels[0]))
    assert (await reply(server, "two")).get("type") == "result"


async def test_when_too_many_wait_the_next_is_taken_later(
    server: FakeServer,
    recorder: Recorder,
    component: Component,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(component._requests, "_capacity", 1)
    await ask(server, "one")
    await until(lambda: bool(recorder.channels))
    await ask(server, "two")
    said = (await reply(server, "two")).findtext(".//{*}text")
    assert said == "too many requests wait; try later"
    component.answer(opened(recorder.channels[0]))
    await reply(server, "one")
    await ask(server, "three")
    await until(lambda: len(recorder.channels) == 2)
