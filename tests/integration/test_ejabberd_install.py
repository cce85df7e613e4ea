"""The module's way into a running ejabberd and out of it, by ejabberd's own installer, offline."""

import shutil

import pytest

from jingle_hnt.fronts.xmpp.intercept import module_state
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


async def test_it_writes_no_error_to_the_log_and_leaves_no_table_behind() -> None:
    server = Ejabberd([VirtualHost(DOMAIN)], {HNT: "secret"}, module_on_path=False)
    async with server:
        shutil.copytree(PACKAGE, server.directory / "modules" / "sources" / PACKAGE.name)
        assert await server.evaluate(f"ext_mod:install({NAME}).") == "ok"
        assert await server.evaluate(f"ext_mod:check({NAME}).") == "ok"
        assert await server.evaluate(f"ext_mod:uninstall({NAME}).") == "ok"
        await server.evaluate("exit(whereis(mod_jingle_hnt_keeper), kill).")  # or ten seconds
        left = '[T || T <- ets:all(), is_atom(T), lists:prefix("mod_jingle_hnt", atom_to_list(T))].'
        assert await server.evaluate(left) == "[]"
        assert "[error]" not in server.log_text()


async def test_without_options_it_asks_nobody_and_harms_nobody() -> None:
    users = {"alice": "secret", "bob": "secret"}
    server = Ejabberd([VirtualHost(DOMAIN, users)], {HNT: "secret"}, module_on_path=False)
    async with server:
        sources = server.directory / "modules" / "sources" / PACKAGE.name
        shutil.copytree(PACKAGE, sources)
        (sources / "conf" / "mod_jingle_hnt.yml").write_text("modules:\n  mod_jingle_hnt: {}\n")
        async with await Component.connect(server, HNT) as hnt:
            assert await server.evaluate(f"ext_mod:install({NAME}).") == "ok"
            answer = await hnt.request(DOMAIN, "get", f"<module xmlns='{INTERCEPT}'/>")
            said = module_state(answer, DOMAIN, HNT).fault
            assert "asks nobody: write component: hnt.example.org among the options" in said
            assert "and ejabberdctl reload_config" in said
            logged = "has no component to ask: write `component: hnt.example.org`, its domain"
            assert logged in server.log_text()
            async with (
                await Client.login(server, f"alice@{DOMAIN}/a") as alice,
                await Client.login(server, f"bob@{DOMAIN}/b") as bob,
            ):
                alice.request(bob.jid, "session-initiate", sid := unique("sid"))
                await bob.next_request(sid)
            assert hnt.inbox == []
            own = sources.parents[1] / PACKAGE.name / "conf" / "mod_jingle_hnt.yml"
            own.write_text(f"modules:\n  mod_jingle_hnt:\n    component: {HNT}\n")
            assert await server.evaluate("ejabberd_config:reload().") == "ok"
            assert await is_there(hnt)
