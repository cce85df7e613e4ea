"""The module's way into a running ejabberd and out of it, by ejabberd's own installer, offline."""

import shutil

import pytest

from tests.lab.ejabberd import PACKAGE, Ejabberd
from tests.lab.server import VirtualHost
from tests.lab.xmpp_actors import INTERCEPT, Client, Component, condition_of, unique

pytestmark = pytest.mark.integration

DOMAIN, HNT = "example.org", "hnt.example.org"
NAME = '<<"mod_jingle_hnt">>'


async def is_there(hnt: Component) -> bool:
    answer = await hnt.request(DOMAIN, "get", f"<module xmlns='{INTERCEPT}'/>")
    if answer.get("type") == "result":
        return True
    assert condition_of(answer) == "service-unavailable"
    return False


async def test_it_is_installed_upgraded_and_removed_while_the_server_runs() -> None:
    users = {"alice": "secret", "bob": "secret"}
    server = Ejabberd([VirtualHost(DOMAIN, users)], {HNT: "secret"}, module_on_path=False)
    async with server:
        shutil.copytree(PACKAGE, server.directory / "modules" / "sources" / PACKAGE.name)
        async with await Component.connect(server, HNT) as hnt:
            assert not await is_there(hnt)
            assert await server.evaluate(f"ext_mod:install({NAME}).") == "ok"
            assert await is_there(hnt)
            async with (
                await Client.login(server, f"alice@{DOMAIN}/a") as alice,
                await Client.login(server, f"bob@{DOMAIN}/b") as bob,
            ):
                alice.request(bob.jid, "session-initiate", sid := unique("sid"))
                hnt.answer(await hnt.question(sid), "pass")
                await bob.next_request(sid)
                alice.request(bob.jid, "session-info", held := unique("sid"))
                await hnt.question(held)
                assert await server.evaluate(f"ext_mod:upgrade({NAME}).") == "ok"
                await bob.next_request(held)
            assert await is_there(hnt)
            assert await server.evaluate(f"ext_mod:uninstall({NAME}).") == "ok"
            assert not await is_there(hnt)


async def test_without_options_it_asks_the_component_named_after_the_host() -> None:
    server = Ejabberd([VirtualHost(DOMAIN)], {HNT: "secret"}, module_on_path=False)
    async with server:
        sources = server.directory / "modules" / "sources" / PACKAGE.name
        shutil.copytree(PACKAGE, sources)
        async with await Component.connect(server, HNT) as hnt:
            assert await server.evaluate(f"ext_mod:install({NAME}).") == "ok"
            assert await is_there(hnt)
