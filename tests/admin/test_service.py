"""the admin service over the pure core: what commands answer and change."""

import contextlib
from typing import Any

import pytest

from jingle_hnt.admin.service import AdminService
from jingle_hnt.errors import NoPorts
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.model.servers import ComponentServices, ModuleState
from jingle_hnt.relay.ports import LOCAL
from jingle_hnt.store.history import History
from tests.admin.backend import Backend, ask, hang_up
from tests.jingle.stage import ALICE, BOB, MALLORY, Stage, content


async def test_what_was_wrong_is_explained_live_and_afterwards(
    backend: Backend, service: AdminService
) -> None:
    backend.heard = (500, 0)
    backend.stage.call(sid="x")
    backend.stage.passes(20.0)
    live = await ask(service, "explain", call="x")
    assert live.report is None
    await hang_up(backend, service)
    over = await ask(service, "explain", call=live.call.call)
    assert over.report.why == "terminated"
    for explained in (live, over):
        assert [(f.cause, f.party) for f in explained.diagnosis] == [("one-way", str(BOB))]
    assert service.call_counters.one_way == 1


async def test_calls_are_found_by_name_and_by_a_sid_that_only_one_has(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    backend.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=BOB, sid="y")
    for wanted in ("x", (await ask(service, "call", call="x")).call):
        assert (await ask(service, "call", call=wanted)).initiator == str(ALICE)
    backend.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE, sid="x")
    for command in ("call", "explain", "terminate"):
        with pytest.raises(ValueError, match="2 calls have this sid"):
            await ask(service, command, call="x")
    assert len(backend.registry) == 3


@pytest.mark.parametrize("who", [str(ALICE), str(ALICE.bare)])
async def test_all_calls_of_a_user_are_ended_and_no_other(
    backend: Backend, service: AdminService, who: str
) -> None:
    backend.stage.call(sid="x")
    backend.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE, sid="z")
    backend.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=BOB, sid=who)
    left = (await ask(service, "terminate", call=who)).calls
    assert [call.sid for call in left] == [who]
    assert (await ask(service, "terminate", call=who)).calls == ()


async def test_drain_and_undrain(backend: Backend, service: AdminService) -> None:
    status = await ask(service, "drain")
    assert status.draining
    assert not status.ready
    assert backend.registry.draining
    status = await ask(service, "undrain")
    assert status.ready
    assert not backend.registry.draining


@pytest.mark.parametrize(
    ("backend_has", "part"),
    [
        ({"links": {"hnt.example.org": "no answer"}}, "as hnt.example.org: no answer"),
        ({"engine": None}, "the forwarding plane is not connected"),
        ({"journal_healthy": False}, "the journal cannot be written"),
        ({"host_faults": ("no such address",)}, "no such address"),
    ],
)
async def test_it_is_not_ready_for_a_reason_that_is_told(
    backend: Backend, service: AdminService, backend_has: dict[str, Any], part: str
) -> None:
    assert (await ask(service, "status")).ready
    for name, value in backend_has.items():
        setattr(backend, name, value)
    status = await ask(service, "status")
    assert not status.ready
    assert part in "; ".join(status.not_ready)


async def test_without_free_ports_it_is_not_ready(backend: Backend, service: AdminService) -> None:
    pool = backend.registry.calls.planes[LOCAL]
    leases = []
    for interface in pool.interfaces:
        with contextlib.suppress(NoPorts):
            while True:
                leases.append(pool.lease(interface, 0.0))
    (why,) = (await ask(service, "status")).not_ready
    assert "widen `relay.ports`" in why
    for lease in leases:
        pool.shun(lease, 0.0)
    (why,) = (await ask(service, "status")).not_ready
    assert "other processes hold the free ones" in why


async def test_a_drain_is_announced_to_users_of_ours_who_are_in_a_call(
    backend: Backend, service: AdminService
) -> None:
    stranger = JID.of("dora@elsewhere.example/phone")
    backend.stage.call(sid="x")
    backend.stage.says(ALICE, Action.SESSION_INITIATE, content(), to=stranger, sid="y")
    assert len(backend.registry) == 2
    await ask(service, "drain")
    assert backend.announced == []
    await ask(service, "drain", announcement=["Update at nine.", "Sorry!"])
    assert backend.announced == [(jid, "Update at nine.\nSorry!") for jid in (ALICE, BOB)]
    with pytest.raises(ValueError, match="control character"):
        await ask(service, "drain", announcement="\x1b[31m")


def test_a_drain_is_where_the_standard_has_the_end_of_a_service(service: AdminService) -> None:
    (drain,) = [c.command for c in service.commands if c.command.name == "drain"]
    assert drain.node == "http://jabber.org/protocol/admin#shutdown"
    assert [(f.name, f.kind.value) for f in drain.fields] == [("announcement", "text-multi")]


async def test_blocking_holds_in_the_next_life(
    backend: Backend, service: AdminService, history: History
) -> None:
    await ask(service, "block", who="Eve@example.org")
    assert (await ask(service, "limits")).blocked == ("eve@example.org",)
    later = Backend(Stage())
    AdminService(later, history)
    assert later.registry.limits.blocked == {"eve@example.org"}
    await ask(service, "unblock", who="EVE@Example.org.")
    assert history.blocked() == set()


@pytest.mark.parametrize(
    ("command", "fields", "part"),
    [
        ("call", {"call": "nobody"}, "jingle-hnt calls"),
        ("call", {}, "call: missing"),
        ("explain", {"call": "nobody"}, "jingle-hnt history"),
        ("terminate", {"call": "nobody"}, "no such call"),
        ("history", {"count": "many"}, "from 1 to 1000"),
        ("history", {"count": 0.5}, "from 1 to 1000"),
        ("block", {"who": "alice@example.org/phone"}, "bare JID"),
        ("block", {"who": "@"}, "bare JID"),
        ("unblock", {"who": "eve@example.org"}, "is not blocked"),
        ("loglevel", {"level": "loud"}, "debug, info"),
        ("reload", {}, "nothing is changed"),
        ("set", {"option": "xmpp.server", "value": "x"}, "no such option"),
        ("set", {"option": "gate.policy"}, "value: missing"),
    ],
)
async def test_what_cannot_be_done_is_said_in_words(
    service: AdminService, command: str, fields: dict[str, object], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        await ask(service, command, **fields)


async def test_an_option_is_set_for_new_calls(backend: Backend, service: AdminService) -> None:
    (before,) = (await ask(service, "policy")).options
    assert (before.option, before.value) == ("gate.policy", '"two-stage"')
    (after,) = (await ask(service, "set", option="gate.policy", value="open")).options
    assert after.value == '"open"'
    assert backend.options == {"gate.policy": "open"}


async def test_the_log_level_is_set(backend: Backend, service: AdminService) -> None:
    assert (await ask(service, "loglevel", level="debug")).level == "debug"
    assert backend.level == "debug"


async def test_a_domain_without_its_module_is_not_ready(
    backend: Backend, service: AdminService
) -> None:
    assert (await ask(service, "status")).ready
    assert (await service.scrape()).modules == {"example.org": True}
    backend.modules_down = {"example.org": "not loaded"}
    status = await ask(service, "status")
    assert not status.ready
    assert status.not_ready == ("calls of example.org pass us by: not loaded",)
    assert (await service.scrape()).modules == {"example.org": False}
    backend.modules_down, backend.links = {}, {"hnt.example.org": "away"}
    assert (await service.scrape()).modules == {"example.org": False}


async def verdicts(service: AdminService) -> dict[str, str]:
    return {f.subject: f.verdict for f in (await ask(service, "check")).findings}


async def test_a_self_check_finds_what_keeps_calls_from_being_relayed(
    backend: Backend, service: AdminService
) -> None:
    unwell = {"example.com": ModuleState("not loaded"), "example.net": ModuleState("", "kick_old")}
    backend.engine, backend.faults = "native", {"example.org": ModuleState(), **unwell}
    well = await verdicts(service)
    assert well.pop("server module of example.com") == "FAIL"
    assert well.pop("server module of example.net") == "warn"
    assert set(well.values()) == {"ok"}
    assert "server module of example.org" in well

    backend.faults, backend.links = {}, {"hnt.a": "", "hnt.b": "the secret is not the one"}
    backend.engine, backend.journal_healthy = None, False
    await ask(service, "drain")
    assert await verdicts(service) == {
        "XMPP connection of hnt.a": "ok",
        "XMPP connection of hnt.b": "FAIL",
        "forwarding plane": "FAIL",
        "journal": "FAIL",
        "history": "ok",
        "media ports": "ok",
        "media": "ok",
        "new calls": "warn",
        "addresses at hnt.example.org": "ok",
        "relay channels of hnt.example.org": "ok",
    }


async def test_a_service_that_is_off_is_no_failure_where_another_is_on(
    backend: Backend, service: AdminService
) -> None:
    backend.faults = {"example.org": ModuleState("not loaded")}
    assert (await verdicts(service))["server module of example.org"] == "FAIL"
    callers = frozenset({"example.org"})
    backend.offers = ComponentServices("hnt.x", ("example.org",), callers, channels=True)
    found = {f.subject: f for f in (await ask(service, "check")).findings}
    assert found["server module of example.org"].verdict == "warn"
    assert r"bob\40example.org@hnt.x" in found["addresses at hnt.x"].text
    assert "users of example.org may ask" in found["relay channels of hnt.x"].text
