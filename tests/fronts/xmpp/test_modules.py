"""The server modules are asked how they are; what they say is known until they say otherwise."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from jingle_hnt.fronts.xmpp import modules
from jingle_hnt.fronts.xmpp.component import ComponentSettings
from jingle_hnt.fronts.xmpp.components import Components
from tests.fronts.xmpp.fakeserver import SECRET, FakeServer
from tests.fronts.xmpp.recorder import Recorder, until

COMPONENT, DOMAIN, OTHER = "hnt.example.org", "example.org", "other.example.org"
NS = "urn:hnt:intercept:0"
LOADED = f"<module xmlns='{NS}' version='0' fail='open' timeout='3' server='prosody'/>"
CONDITIONS = "urn:ietf:params:xml:ns:xmpp-stanzas"
REFUSED = f"<error type='cancel'><service-unavailable xmlns='{CONDITIONS}'/></error>"


class Host:
    """Answers each question about a module with what `says` has of the domain, or not at all."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.says = {DOMAIN: LOADED, OTHER: LOADED}
        self.answered: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.wishes: list[str] = []  # whether it is to ask about rings, as each question said

    async def run(self) -> None:
        while True:
            for connection in self.server.connections:
                for iq in connection.iqs("get"):
                    if iq.get("id", "") not in self.answered:
                        self.answered.add(iq.get("id", ""))
                        self._answer(iq, connection.send)
            await asyncio.sleep(0.002)

    def _answer(self, iq: ET.Element, send: Callable[[str], None]) -> None:
        domain = iq.get("to", "")
        self.asked[domain] += 1
        self.wishes += [query.get("rings", "") for query in iq]
        said = self.says[domain]
        type_ = "error" if said is REFUSED else "result"
        if said:
            send(
                f"<iq type='{type_}' from='{domain}' to='{COMPONENT}' id='{iq.get('id')}'>"
                f"{said}</iq>"
            )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "ASK_EVERY_S", 0.03)
    monkeypatch.setattr(modules, "ASK_AGAIN_S", 0.03)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with FakeServer() as server:
        host = Host(server)
        task = asyncio.create_task(host.run())
        yield host
        task.cancel()


class Connected(Recorder):
    """Passes on that the link came up, as the app does."""

    components: Components

    def on_connected(self, component: str) -> None:
        super().on_connected(component)
        self.components.linked(component)


async def watched(host: Host, **changes: object) -> AsyncIterator[Components]:
    settings = ComponentSettings(
        COMPONENT, SECRET, (DOMAIN, OTHER), port=host.server.port, ask_s=0.1
    )
    recorder = Connected()
    made = Components((replace(settings, **changes),), recorder)  # type: ignore[arg-type]
    recorder.components = made
    tasks = [asyncio.create_task(made.run()), asyncio.create_task(made.watch_modules())]
    await until(lambda: not any(made.links.values()))
    yield made
    await made.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def components(host: Host) -> AsyncIterator[Components]:
    async for made in watched(host):
        yield made


async def test_modules_are_asked_for_rings_as_soon_as_that_is_wanted(
    host: Host, components: Components
) -> None:
    """One that does not know them is named, until it is replaced by one that does."""
    (state, *_) = (await components.diagnose()).values()
    assert set(host.wishes) == {""}
    assert state.caution == ""
    components.ask_about_rings(True)
    await until(lambda: "1" in host.wishes)
    (state, *_) = (await components.diagnose()).values()
    assert "install the module of this version" in state.caution
    host.says = dict.fromkeys(host.says, LOADED.replace("/>", " rings='1'/>"))
    (state, *_) = (await components.diagnose()).values()
    assert state.caution == ""


async def test_a_module_that_goes_and_comes_is_noticed(host: Host, components: Components) -> None:
    await until(lambda: not components.modules_down)
    host.says[OTHER] = REFUSED
    await until(lambda: bool(components.modules_down))
    (domain,) = components.modules_down
    assert domain == OTHER
    assert "not loaded" in components.modules_down[OTHER]
    host.says[OTHER] = LOADED
    await until(lambda: not components.modules_down)


async def test_before_the_first_answer_nothing_is_claimed(
    host: Host, components: Components
) -> None:
    assert set(components.modules_down) <= {DOMAIN, OTHER}
    unasked = "has not answered yet: look again in a few seconds"
    assert all(unasked in why for why in components.modules_down.values())
    await until(lambda: not components.modules_down)
    host.says = {DOMAIN: "", OTHER: ""}
    host.server.last.cut()
    await until(lambda: len(host.server.connections) == 2 and not any(components.links.values()))
    assert set(components.modules_down) == {DOMAIN, OTHER}


async def test_one_question_without_an_answer_says_nothing(
    host: Host, components: Components
) -> None:
    await until(lambda: not components.modules_down)
    host.says[OTHER] = ""
    asked = host.asked[OTHER]
    await until(lambda: bool(components.modules_down))
    assert host.asked[OTHER] >= asked + 2
    assert "does not answer" in components.modules_down[OTHER]


async def test_while_the_link_is_down_no_module_is_blamed(
    host: Host, components: Components
) -> None:
    host.says[OTHER] = REFUSED
    await until(lambda: list(components.modules_down) == [OTHER])
    await host.server.stop()
    await until(lambda: any(components.links.values()))
    assert components.modules_down == {}


@pytest.fixture
async def with_addresses(host: Host) -> AsyncIterator[Components]:
    host.says[OTHER] = REFUSED
    async for made in watched(host, callers=frozenset({DOMAIN, OTHER})):
        yield made


async def test_where_addresses_serve_only_a_module_that_was_there_is_missed(
    host: Host, with_addresses: Components
) -> None:
    await until(lambda: host.asked[OTHER] >= 3)
    assert with_addresses.modules_down == {}
    host.says[DOMAIN] = REFUSED
    await until(lambda: bool(with_addresses.modules_down))
    assert list(with_addresses.modules_down) == [DOMAIN]
