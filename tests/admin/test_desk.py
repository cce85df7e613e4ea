"""The desk over the pure core: what commands answer and change."""

import contextlib
from typing import Any

import pytest

from jingle_hnt.admin.desk import Desk
from jingle_hnt.errors import NoPorts
from jingle_hnt.model.doors import ModuleState, OtherDoors
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.ports import LOCAL
from jingle_hnt.store.history import History
from tests.admin.office import Office, ask, hang_up
from tests.jingle.stage import ALICE, BOB, MALLORY, Stage, content


async def test_what_was_wrong_is_explained_live_and_afterwards(office: Office, desk: Desk) -> None:
    office.heard = (500, 0)
    office.stage.call(sid="x")
    office.stage.passes(20.0)
    live = await ask(desk, "explain", call="x")
    assert live.report is None
    await hang_up(office, desk)
    over = await ask(desk, "explain", call=live.call.call)
    assert over.report.why == "terminated"
    for explained in (live, over):
        assert [(f.cause, f.party) for f in explained.diagnosis] == [("one-way", str(BOB))]
    assert desk.tally.one_way == 1


async def test_calls_are_found_by_name_and_by_a_sid_that_only_one_has(
    office: Office, desk: Desk
) -> None:
    office.stage.call(sid="x")
    office.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=BOB, sid="y")
    for wanted in ("x", (await ask(desk, "call", call="x")).call):
        assert (await ask(desk, "call", call=wanted)).initiator == str(ALICE)
    office.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE, sid="x")
    for command in ("call", "explain", "terminate"):
        with pytest.raises(ValueError, match="2 calls have this sid"):
            await ask(desk, command, call="x")
    assert len(office.registry) == 3


@pytest.mark.parametrize("who", [str(ALICE), str(ALICE.bare)])
async def test_all_calls_of_a_user_are_ended_and_no_other(
    office: Office, desk: Desk, who: str
) -> None:
    office.stage.call(sid="x")
    office.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=ALICE, sid="z")
    office.stage.says(MALLORY, Action.SESSION_INITIATE, content(), to=BOB, sid=who)
    left = (await ask(desk, "terminate", call=who)).calls
    assert [call.sid for call in left] == [who]
    assert (await ask(desk, "terminate", call=who)).calls == ()


async def test_drain_and_undrain(office: Office, desk: Desk) -> None:
    status = await ask(desk, "drain")
    assert status.draining
    assert not status.ready
    assert office.registry.draining
    status = await ask(desk, "undrain")
    assert status.ready
    assert not office.registry.draining


@pytest.mark.parametrize(
    ("office_has", "part"),
    [
        ({"links": {"hnt.example.org": "no answer"}}, "as hnt.example.org: no answer"),
        ({"engine": None}, "the forwarding plane is not connected"),
        ({"journal_healthy": False}, "the journal cannot be written"),
        ({"host_faults": ("no such address",)}, "no such address"),
    ],
)
async def test_it_is_not_ready_for_a_reason_that_is_told(
    office: Office, desk: Desk, office_has: dict[str, Any], part: str
) -> None:
    assert (await ask(desk, "status")).ready
    for name, value in office_has.items():
        setattr(office, name, value)
    status = await ask(desk, "status")
    assert not status.ready
    assert part in "; ".join(status.not_ready)


async def test_without_free_ports_it_is_not_ready(office: Office, desk: Desk) -> None:
    pool = office.registry.calls.planes[LOCAL]
    leases = []
    for interface in pool.interfaces:
        with contextlib.suppress(NoPorts):
            while True:
                leases.append(pool.lease(interface, 0.0))
    (why,) = (await ask(desk, "status")).not_ready
    assert "widen `relay.ports`" in why
    for lease in leases:
        pool.shun(lease, 0.0)
    (why,) = (await ask(desk, "status")).not_ready
    assert "other processes hold the free ones" in why


async def test_a_drain_is_announced_to_users_of_ours_who_are_in_a_call(
    office: Office, desk: Desk
) -> None:
    stranger = JID.of("dora@elsewhere.example/phone")
    office.stage.call(sid="x")
    office.stage.says(ALICE, Action.SESSION_INITIATE, content(), to=stranger, sid="y")
    assert len(office.registry) == 2
    await ask(desk, "drain")
    assert office.announced == []
    await ask(desk, "drain", announcement=["Update at nine.", "Sorry!"])
    assert office.announced == [(jid, "Update at nine.\nSorry!") for jid in (ALICE, BOB)]
    with pytest.raises(ValueError, match="control character"):
        await ask(desk, "drain", announcement="\x1b[31m")


def test_a_drain_is_where_the_standard_has_the_end_of_a_service(desk: Desk) -> None:
    (drain,) = [c.command for c in desk.commands if c.command.name == "drain"]
    assert drain.node == "http://jabber.org/protocol/admin#shutdown"
    assert [(f.name, f.kind.value) for f in drain.fields] == [("announcement", "text-multi")]


async def test_blocking_holds_in_the_next_life(
    office: Office, desk: Desk, history: History
) -> None:
    await ask(desk, "block", who="Eve@example.org")
    assert (await ask(desk, "limits")).blocked == ("eve@example.org",)
    later = Office(Stage())
    Desk(later, history)
    assert later.registry.limits.blocked == {"eve@example.org"}
    await ask(desk, "unblock", who="EVE@Example.org.")
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
    desk: Desk, command: str, fields: dict[str, object], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        await ask(desk, command, **fields)


async def test_an_option_is_set_for_new_calls(office: Office, desk: Desk) -> None:
    (before,) = (await ask(desk, "policy")).options
    assert (before.option, before.value) == ("gate.policy", '"two-stage"')
    (after,) = (await ask(desk, "set", option="gate.policy", value="open")).options
    assert after.value == '"open"'
    assert office.options == {"gate.policy": "open"}


async def test_the_log_level_is_set(office: Office, desk: Desk) -> None:
    assert (await ask(desk, "loglevel", level="debug")).level == "debug"
    assert office.level == "debug"


async def test_a_domain_without_its_module_is_not_ready(office: Office, desk: Desk) -> None:
    assert (await ask(desk, "status")).ready
    assert (await desk.scrape()).modules == {"example.org": True}
    office.modules_down = {"example.org": "not loaded"}
    status = await ask(desk, "status")
    assert not status.ready
    assert status.not_ready == ("calls of example.org pass us by: not loaded",)
    assert (await desk.scrape()).modules == {"example.org": False}
    office.modules_down, office.links = {}, {"hnt.example.org": "away"}
    assert (await desk.scrape()).modules == {"example.org": False}


async def verdicts(desk: Desk) -> dict[str, str]:
    return {f.subject: f.verdict for f in (await ask(desk, "check")).findings}


async def test_a_self_check_finds_what_keeps_calls_from_being_relayed(
    office: Office, desk: Desk
) -> None:
    unwell = {"example.com": ModuleState("not loaded"), "example.net": ModuleState("", "kick_old")}
    office.engine, office.faults = "native", {"example.org": ModuleState(), **unwell}
    well = await verdicts(desk)
    assert well.pop("server module of example.com") == "FAIL"
    assert well.pop("server module of example.net") == "warn"
    assert set(well.values()) == {"ok"}
    assert "server module of example.org" in well

    office.faults, office.links = {}, {"hnt.a": "", "hnt.b": "the secret is not the one"}
    office.engine, office.journal_healthy = None, False
    await ask(desk, "drain")
    assert await verdicts(desk) == {
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


async def test_a_shut_door_is_no_failure_where_another_is_open(office: Office, desk: Desk) -> None:
    office.faults = {"example.org": ModuleState("not loaded")}
    assert (await verdicts(desk))["server module of example.org"] == "FAIL"
    office.doors = OtherDoors("hnt.x", ("example.org",), frozenset({"example.org"}), channels=True)
    found = {f.subject: f for f in (await ask(desk, "check")).findings}
    assert found["server module of example.org"].verdict == "warn"
    assert r"bob\40example.org@hnt.x" in found["addresses at hnt.x"].text
    assert "users of example.org may ask" in found["relay channels of hnt.x"].text
