"""What a call leaves behind when it is over."""

import asyncio
import json
from dataclasses import replace

import pytest
import structlog

from jingle_hnt.admin import call_closing
from jingle_hnt.admin.call_closing import LONGEST_TEXT
from jingle_hnt.admin.reports import MOST_BYTES, CallReport, bounded
from jingle_hnt.admin.service import AdminService
from jingle_hnt.call.life import Why
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.model.content import ContentKey, Creator
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Reason
from jingle_hnt.relay.binding import Drained
from jingle_hnt.store.history import History
from tests.admin.backend import Backend, ask, hang_up
from tests.fronts.xmpp.recorder import until
from tests.jingle.stage import ADDRESSES, ALICE, BOB, CAMERA, content


async def test_a_call_leaves_one_line_and_one_row(backend: Backend, service: AdminService) -> None:
    backend.stage.call(sid="x")
    with structlog.testing.capture_logs() as lines:
        await hang_up(backend, service)
    (line,) = [line for line in lines if line["event"] == "call ended"]
    assert line["why"] == "terminated"
    assert line["reason"] == "success"
    assert line["duration_s"] == 8.0
    assert len(line["legs"]) == 4
    assert "voice/1 initiator: signalled 192.0.2.10:5000" in line["legs"][0]
    assert "in 500/80000" in line["legs"][0]
    (report,) = (await ask(service, "history")).calls
    assert report.counted
    assert report.call.initiator == str(ALICE)
    assert report.call.contents[0].components[0].legs[0].received_packets == 500
    assert report.diagnosis == ()


async def test_a_call_that_nobody_answered_is_told_of_as_one(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.says(ALICE, Action.SESSION_INITIATE, content(), sid="x")
    with structlog.testing.capture_logs() as lines:
        await hang_up(backend, service)
    assert [line["event"] for line in lines] == ["call ended unanswered"]
    (report,) = (await ask(service, "history")).calls
    assert report.call.setup_s is None


async def test_calls_that_end_while_the_plane_is_asked_are_asked_about_together(
    backend: Backend, service: AdminService
) -> None:
    for sid in "abcd":
        backend.stage.call(sid=sid)
        backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid, reason=Reason("success"))
    await asyncio.gather(*(service.call_closing.close(ended) for ended in backend.stage.ended))
    assert [len(names or ()) for names in backend.asked] == [2, 6]
    calls = (await ask(service, "history")).calls
    assert [report.call.sid for report in calls] == list("dcba")
    assert backend.reports == [ended.session for ended in backend.stage.ended]
    assert all(report.counted for report in calls)


async def test_whoever_finds_another_at_the_reports_leaves_its_call_to_it(
    backend: Backend, service: AdminService
) -> None:
    for sid in "ab":
        backend.stage.call(sid=sid)
        backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid, reason=Reason("success"))
    first, second = backend.stage.ended
    at_it = asyncio.create_task(service.call_closing.close(first))
    await asyncio.sleep(0)
    with pytest.raises(StopIteration):  # it is over at once: nothing is awaited
        service.call_closing.close(second).send(None)
    assert (await ask(service, "history")).calls == ()
    await at_it
    assert [report.call.sid for report in (await ask(service, "history")).calls] == ["b", "a"]


async def test_reports_do_not_fall_behind_where_calls_end_faster_than_the_loop_turns(
    backend: Backend, service: AdminService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_closing, "CLOSED_AT_ONCE", 10)
    for number in range(30):
        backend.stage.call(sid=f"s{number}")
        backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid=f"s{number}", reason=Reason("busy"))
    async with asyncio.TaskGroup() as group:
        for ended in backend.stage.ended:
            group.create_task(service.call_closing.close(ended))
        for _ in range(5):  # turns of the loop
            await asyncio.sleep(0)
        assert service.call_counters.ended[Why.TERMINATED] > 10
    assert service.call_counters.ended[Why.TERMINATED] == 30


async def test_without_a_plane_the_report_says_that_it_counts_nothing(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    backend.away = True
    await hang_up(backend, service)
    (report,) = (await ask(service, "history")).calls
    assert not report.counted
    assert [finding.cause for finding in report.diagnosis] == ["plane-away"]


async def test_the_last_counters_of_a_binding_that_is_gone_are_in_the_report(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    for name in list(backend.stage.plane.bindings):
        service.on_event(Drained(name, backend.binding(name).pinholes))
    backend.away = True
    await hang_up(backend, service)
    (report,) = (await ask(service, "history")).calls
    assert report.counted
    assert report.call.contents[0].components[0].legs[0].received_packets == 500


def an_administrator_ends_it(backend: Backend) -> Ended:
    (session,) = backend.registry
    backend.registry.terminate(session.name, backend.now())
    backend.settle()
    (ended,) = backend.stage.ended
    return ended


def texts(backend: Backend) -> dict[JID, str]:
    """What each party is told."""
    return {i.recipient: i.jingle.reason.text for i in backend.injected if i.jingle.reason}


async def test_both_are_told_what_was_wrong_where_the_end_is_ours(
    backend: Backend, service: AdminService
) -> None:
    backend.heard = (500, 0)
    backend.stage.call(sid="x")
    backend.stage.passes(20.0)
    await service.call_closing.close(an_administrator_ends_it(backend))
    text = (
        f"an administrator ended the call; only {ALICE} is heard: no audio of {BOB} reached the"
        " relay"
    )
    assert texts(backend) == {ALICE: text, BOB: text}
    assert {(i.sender, i.recipient) for i in backend.injected} == {(ALICE, BOB), (BOB, ALICE)}


async def test_nobody_is_told_where_a_party_ended_it(
    backend: Backend, service: AdminService
) -> None:
    backend.heard = (500, 0)
    backend.stage.call(sid="x")
    await hang_up(backend, service)
    assert backend.injected == []


async def test_a_text_has_an_end(backend: Backend, service: AdminService) -> None:
    backend.heard = (500, 0)
    backend.stage.registry.budgets.policy = BudgetPolicy(name_bytes=0)
    named = replace(content(ContentKey(Creator.INITIATOR, "v" * 5000)), media=None)
    backend.stage.says(ALICE, Action.SESSION_INITIATE, named, sid="x")
    backend.stage.says(BOB, Action.SESSION_ACCEPT, named, sid="x")
    backend.stage.passes(20.0)
    await service.call_closing.close(an_administrator_ends_it(backend))
    assert {len(text) for text in texts(backend).values()} == {LONGEST_TEXT}


async def test_a_stop_does_not_wait_for_the_plane_to_say_farewell(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    backend.answers.clear()
    call_closing = asyncio.create_task(
        service.call_closing.close(an_administrator_ends_it(backend))
    )
    await until(lambda: bool(backend.asked))
    assert backend.injected == []
    service.call_closing.stop()
    assert set(texts(backend).values()) == {"an administrator ended the call"}
    backend.answers.set()
    await call_closing
    assert len(backend.injected) == 2


async def test_a_report_that_cannot_be_made_keeps_no_other_back(
    backend: Backend, service: AdminService, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, sid: str, report: str) -> None:
        raise OSError("no space left")

    backend.stage.call(sid="x")
    ended = an_administrator_ends_it(backend)
    with monkeypatch.context() as patched:
        patched.setattr(history, "add", full)
        await service.call_closing.close(ended)
    assert set(texts(backend).values()) == {"an administrator ended the call"}


def hang_up_as_gajim_does(backend: Backend) -> Ended:
    """Each content is removed, then the session is ended."""
    removed = replace(content(), media=None)
    backend.stage.says(ALICE, Action.CONTENT_REMOVE, removed, sid="x")
    backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid="x", reason=Reason("success"))
    (ended,) = backend.stage.ended
    return ended


@pytest.mark.parametrize("heard", [(500, 500), (500, 0)], ids=["both", "one"])
async def test_what_contents_counted_that_were_removed_before_the_end_is_kept(
    backend: Backend, service: AdminService, heard: tuple[int, int]
) -> None:
    backend.heard = heard
    backend.stage.call(sid="x")
    backend.stage.passes(20.0)
    with structlog.testing.capture_logs() as lines:
        await service.call_closing.close(hang_up_as_gajim_does(backend))
    (report,) = (await ask(service, "history")).calls
    assert report.call.contents == ()
    (voice,) = report.call.removed
    counted = tuple(leg.received_packets for leg in voice.components[0].legs)
    assert (counted, voice.agreed_s) == (heard, 20.0)
    assert len(lines[-1]["legs"]) == 4
    silent = [] if all(heard) else [("one-way", str(BOB))]
    assert [(f.cause, f.party) for f in report.diagnosis] == silent
    assert service.call_counters.one_way == len(silent)


async def test_a_camera_that_was_switched_off_long_ago_is_counted_in_the_report(
    backend: Backend, service: AdminService
) -> None:
    """Its ports are closed long before the call ends, and the last words of them are kept."""
    backend.stage.call(sid="x")
    backend.stage.latch("s1.1.1", 0, ADDRESSES[ALICE])
    backend.stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA), sid="x")
    backend.stage.says(BOB, Action.CONTENT_ACCEPT, backend.stage.bobs(CAMERA), sid="x")
    backend.stage.passes(60.0)
    backend.stage.says(BOB, Action.CONTENT_REMOVE, content(CAMERA), sid="x")
    for name in list(backend.stage.plane.draining):
        last = Drained(name, backend.binding(name).pinholes)
        backend.registry.calls.on_event(last, backend.now())
        service.on_event(last)
    backend.stage.plane.draining.clear()
    live = (await ask(service, "call", call="x")).removed
    await hang_up(backend, service)
    (report,) = (await ask(service, "history")).calls
    for (camera,) in (live, report.call.removed):
        assert (camera.name, camera.agreed_s) == ("camera", 60.0)
        assert camera.components[0].legs[1].rtp_packets == 500
    assert report.counted
    assert report.diagnosis == ()


async def test_a_camera_that_came_a_moment_ago_is_not_called_silent(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    backend.stage.latch("s1.1.1", 0, ADDRESSES[ALICE])
    backend.stage.passes(60.0)
    backend.stage.says(ALICE, Action.CONTENT_ADD, content(CAMERA), sid="x")
    backend.stage.says(BOB, Action.CONTENT_ACCEPT, backend.stage.bobs(CAMERA), sid="x")
    backend.silent = ("s1.2",)
    backend.stage.passes(2.0)
    assert (await ask(service, "explain", call="x")).diagnosis == ()
    backend.stage.passes(6.0)
    found = (await ask(service, "explain", call="x")).diagnosis
    assert [f.cause for f in found] == ["never-sent", "never-sent"]


async def test_a_report_has_an_end(backend: Backend, service: AdminService) -> None:
    backend.stage.call(sid="x")
    await hang_up(backend, service)
    (made,) = (await ask(service, "history")).calls
    told = made.model_dump(mode="json")
    assert bounded(told) == json.dumps(told)
    (voice,) = told["call"]["contents"]
    told["call"]["removed"] = [voice] * 50
    text = bounded(told)
    assert len(text) <= MOST_BYTES
    kept = CallReport.model_validate_json(text)
    assert kept.call.contents == made.call.contents
    assert len(kept.call.removed) + kept.left_out == 50
    assert kept.left_out > 0
    assert len(bounded(told, most=3000)) <= 3000


@pytest.mark.parametrize("redact", [False, True])
async def test_a_history_may_keep_addresses_without_their_last_part(
    backend: Backend, history: History, redact: bool
) -> None:
    service = AdminService(backend, history, redact=redact)
    backend.stage.call(sid="x")
    await hang_up(backend, service)
    (report,) = (await ask(service, "history")).calls
    leg = report.call.contents[0].components[0].legs[0]
    assert leg.signalled == (("192.0.2.x:5000",) if redact else ("192.0.2.10:5000",))
    assert leg.advertised.startswith("203.0.113.x:" if redact else "203.0.113.9:")
    assert report.call.initiator == str(ALICE)
    history.close()
    assert (b"192.0.2.10" in history.path.read_bytes()) is not redact


async def test_calls_in_which_nobody_is_heard_are_counted(
    backend: Backend, service: AdminService
) -> None:
    backend.heard = (0, 0)
    for sid in "abcd":
        backend.stage.call(sid=sid)
    backend.stage.passes(8.0)
    for sid in "abcd":
        backend.stage.says(ALICE, Action.SESSION_TERMINATE, sid=sid, reason=Reason("success"))
    for ended in backend.stage.ended:
        await service.call_closing.close(ended)
    assert service.call_counters.unheard == service.call_counters.unheard_in_a_row == 4
    causes = [{f.cause for f in r.diagnosis} for r in (await ask(service, "history")).calls]
    assert causes == [{"nobody-heard"}, {"nobody-heard"}, {"never-sent"}, {"never-sent"}]
