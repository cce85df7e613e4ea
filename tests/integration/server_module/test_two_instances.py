"""Two processes that connect as one component: noticed by both, named, and not fought with."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from jingle_hnt.fronts.xmpp import component as component_module
from jingle_hnt.fronts.xmpp import rivals as rivals_module
from jingle_hnt.fronts.xmpp.component import Component
from jingle_hnt.fronts.xmpp.rivals import Rivals
from jingle_hnt.settings.wiring import component_settings
from tests.fronts.xmpp.recorder import Recorder, until
from tests.integration.server_module.stage import COMPONENTS, HNT, OPEN, USERS
from tests.integration.server_module.test_check import settings
from tests.lab.ejabberd import Ejabberd
from tests.lab.server import LocalServer, VirtualHost
from tests.lab.xmpp_actors import Component as Actor

pytestmark = pytest.mark.integration


async def test_each_of_two_instances_names_the_other_and_waits_longer_each_time(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals_module, "FIRST_PAUSE_S", 0.2)
    (given,) = component_settings(settings(server, tmp_path, OPEN))
    one, other = (Component(replace(given, ask_s=2.0), Recorder()) for _ in range(2))

    async def say(name: str, component: Component) -> None:
        """As the process of this name does after each connection."""
        monkeypatch.setattr(component_module, "INSTANCE", name)
        monkeypatch.setattr(component_module, "NODE", f"host-{name}")
        await component.diagnose()

    running = [asyncio.create_task(one.run())]
    await until(lambda: one.up)
    await say("a", one)
    running.append(asyncio.create_task(other.run()))
    try:
        for name, component in itertools.cycle([("b", other), ("a", one)]):
            await until(lambda up=component: up.up, 20)  # type: ignore[misc]
            await say(name, component)
            if "on host host-b" in one.rivalry and "on host host-a" in other.rivalry:
                break
    finally:
        for component in (one, other):
            await component.stop()
        await asyncio.gather(*running)
    for component in (one, other):
        assert component.replacements >= 2
        assert f"connects as {HNT} too" in component.rivalry
        assert "end one of the two" in component.rivalry


async def test_two_that_ejabberd_has_since_before_its_module_are_told_until_one_ends(
    tmp_path: Path,
) -> None:
    """A module that is there lets go of the older one."""
    async with Ejabberd([VirtualHost(OPEN, USERS, component=HNT)], COMPONENTS) as server:
        await server.reload_module(False, OPEN)
        (given,) = component_settings(settings(server, tmp_path, OPEN))
        own = Component(replace(given, ask_s=1.0), Recorder())
        running = asyncio.create_task(own.run())
        await until(lambda: own.up)
        async with await Actor.connect(server, HNT):
            await server.reload_module(True, OPEN)
            for _ in range(20):  # the server gives either of the two the answer
                caution = (await own.diagnose())[OPEN].caution
                if caution:
                    break
            assert "out between them: end the second jingle-hnt, or restart" in caution
        for _ in range(100):  # the server closes it in a moment
            caution = (await own.diagnose())[OPEN].caution
            if not caution:
                break
            await asyncio.sleep(0.05)
        assert caution == ""
        await own.stop()
        await running


async def test_a_restarted_process_is_no_second_one(server: LocalServer, tmp_path: Path) -> None:
    (given,) = component_settings(settings(server, tmp_path, OPEN))
    for name in ("first life", "second life"):
        component = Component(given, Recorder())
        running = asyncio.create_task(component.run())
        await until(lambda up=component: up.up)  # type: ignore[misc]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(component_module, "INSTANCE", name)
            states = await component.diagnose()
        assert component.rivalry == ""
        await component.stop()
        await running
    assert states[OPEN].other == rivals_module.NODE
    assert states[OPEN].other_age_s < 60


def test_the_pause_grows_and_what_is_long_ago_is_forgotten() -> None:
    rivals = Rivals(HNT)
    pauses = []
    for now in range(12):
        rivals.replaced(float(now))
        pauses.append(rivals.pause_s(float(now)))
        assert bool(rivals.text(float(now))) is (now > 0)
    assert 1.5 <= pauses[0] <= 2.5
    assert pauses[-1] >= 225
    assert all(late > early for early, late in itertools.pairwise(pauses[:7]))
    assert "end one of the two, or give it a component of its own" in rivals.text(12.0)
    assert rivals.text(11.0 + rivals_module.GONE_S) == ""
    assert rivals_module.GONE_S > 1.25 * rivals_module.LONGEST_PAUSE_S
