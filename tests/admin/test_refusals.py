"""Refused calls: a row and a line of the log, which no flood hides, and an answer to who asks."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from jingle_hnt.admin import moments, person
from jingle_hnt.admin.refusals import MOST_OF_OWNER, MOST_WAITING, WORDS, RefusedCall
from jingle_hnt.admin.service import AdminService
from jingle_hnt.jingle.effects import CallRefused
from jingle_hnt.jingle.limits import BLOCKED, TOO_FAST
from jingle_hnt.jingle.refusals import Kind, Obstacle
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.store.history import History
from tests.admin.backend import Backend, ask, hang_up
from tests.jingle.stage import ALICE, BOB, MALLORY, content

LIMIT = Obstacle(Kind.LIMIT, "limits.per_minute", TOO_FAST)


def refused(
    service: AdminService,
    caller: JID = ALICE,
    callee: JID = BOB,
    obstacle: Obstacle = LIMIT,
    sid: str = "x",
) -> None:
    service.refused(CallRefused(caller, callee, sid, obstacle, str(caller.bare)))


def row(kind: str = "limit") -> RefusedCall:
    names = {"caller": "a", "callee": "b", "outcome": "refused", "kind": kind, "which": ""}
    values = {"first": "", "last": "", "count": 1, "sids": (), "told": ""}
    return RefusedCall.model_validate({**names, **values})


async def rows(service: AdminService) -> list[Any]:
    return list((await ask(service, "history")).refused)


async def test_alice_could_not_call_has_an_answer(backend: Backend, service: AdminService) -> None:
    refused(service, obstacle=Obstacle(Kind.BLOCK, "bob@example.org", BLOCKED), sid="s-77")
    for asked in (
        {"call": "s-77"},
        {"call": str(ALICE)},
        {"call": "alice@example.org"},
        {"call": "bob@example.org"},
        {"call": "alice@example.org", "at": f"{datetime.now().astimezone():%H:%M}"},
    ):
        found = await ask(service, "explain", **asked)
        assert found.call is None
        assert (found.refused.caller, found.refused.callee) == (str(ALICE), str(BOB))
        assert found.refused.told == BLOCKED.text
        (finding,) = found.diagnosis
        assert finding.cause == "refused-block"
        assert finding.text == "an administrator has blocked bob@example.org"
        assert "jingle-hnt unblock bob@example.org" in finding.advice


async def test_a_user_is_told_of_the_call_that_is_meant(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.call(sid="x")
    await hang_up(backend, service)
    assert (await ask(service, "explain", call="bob@example.org")).report.why == "terminated"
    refused(service)
    found = await ask(service, "explain", call="alice@example.org")
    assert found.refused is not None
    assert ["called" in line for line in found.others] == [True]
    backend.stage.now += 60
    backend.stage.says(ALICE, Action.SESSION_INITIATE, content(), sid="live")
    with pytest.raises(ValueError, match="its client made none"):
        await ask(service, "explain", call="carol@example.org")
    with pytest.raises(ValueError, match="of about then"):
        await ask(service, "explain", call="alice@example.org", at="2020-01-01")
    with pytest.raises(ValueError, match="is no time: write"):
        await ask(service, "explain", call="alice@example.org", at="noon")


async def test_a_call_that_went_on_without_us_is_told_of_as_such(service: AdminService) -> None:
    refused(service, obstacle=Obstacle(Kind.AWAY))
    (row,) = await rows(service)
    assert (row.outcome, row.told) == ("unrelayed", "")


async def test_what_is_alike_is_one_row_with_a_count(
    backend: Backend, service: AdminService
) -> None:
    for number in range(5):
        refused(service, sid=f"s{number}")
        if number == 2:
            service.refusals.flush()
    refused(service, callee=MALLORY)
    other, row = sorted(await rows(service), key=lambda row: row.count)
    assert (row.count, row.sids) == (5, ("s1", "s2", "s3", "s4"))
    assert row.first <= row.last
    assert other.callee == str(MALLORY)


async def test_a_flood_of_refusals_hides_nobodys(
    backend: Backend, service: AdminService, history: History
) -> None:
    """Neither another's refusal nor anybody's call."""
    backend.stage.call(sid="x")
    await hang_up(backend, service)
    refused(service, BOB, ALICE)
    with structlog.testing.capture_logs() as lines:
        for number in range(20_000):
            refused(service, MALLORY, JID.of(f"victim{number}@example.org"), sid=f"s{number}")
            if number % 2000 == 0:
                service.refusals.flush()
        found = await rows(service)
    assert sum(line["caller"] == str(MALLORY) for line in lines) <= 11
    assert sum(line.get("others", 0) + line["times"] for line in lines) == 20_001
    assert len(found) == 20
    (bobs,) = (await ask(service, "history", party=str(BOB))).refused
    assert bobs.caller == str(BOB)
    assert (await ask(service, "explain", call="x")).report.why == "terminated"
    kept = history.refused(10_000, "mallory")
    assert len(kept) <= 100  # all that this history keeps
    assert sum(row["count"] for row in history.refused(10_000, "several")) > 10_000


def test_what_waits_to_be_written_is_bounded(service: AdminService, history: History) -> None:
    for number in range(3 * MOST_WAITING):
        refused(service, JID.of(f"u{number}@example.org/x"))
    assert len(service.refusals._waiting) == MOST_WAITING + 1
    for number in range(3 * MOST_OF_OWNER):
        refused(service, ALICE, JID.of(f"u{number}@example.org/x"))
    assert len(service.refusals._waiting) == MOST_WAITING + 1


async def test_each_obstacle_has_words(service: AdminService) -> None:
    assert set(WORDS) == set(Kind)
    for kind in Kind:
        refused(service, obstacle=Obstacle(kind, "it"))
    told = {row.kind: row for row in await rows(service)}
    assert set(told) == {kind.value for kind in Kind}
    words = [(row.text, row.advice) for row in told.values()]
    assert all(text and advice and "{" not in text + advice for text, advice in words)


def test_one_of_a_later_version_is_shown_all_the_same() -> None:
    assert row(kind="new").text == "new"


async def test_an_offer_that_met_an_obstacle_is_no_call(
    backend: Backend, service: AdminService
) -> None:
    backend.stage.held = True
    backend.stage.says(ALICE, Action.SESSION_INITIATE, content(), sid="x")
    backend.stage.fail_all(port_taken=False)
    (ended,) = backend.stage.ended
    await service.call_closing.close(ended)
    answer = await ask(service, "history")
    assert answer.calls == ()
    assert [(row.kind, row.sids) for row in answer.refused] == [("ports", ("x",))]
    assert service.call_counters.ended["no-capacity"] == 1


NOW = datetime(2026, 11, 30, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "length_s"),
    [
        ("14:05", datetime(2026, 11, 30, 14, 5, tzinfo=UTC), 60),
        ("14:05:10", datetime(2026, 11, 30, 14, 5, 10, tzinfo=UTC), 1),
        ("23:59", datetime(2026, 11, 29, 23, 59, tzinfo=UTC), 60),
        ("2026-11-30", datetime(2026, 11, 30, tzinfo=UTC), 86400),
        ("2026-11-30 14:05", datetime(2026, 11, 30, 14, 5, tzinfo=UTC), 60),
        ("2026-11-30T14:05:07+01:00", datetime(2026, 11, 30, 13, 5, 7, tzinfo=UTC), 1),
        ("yesterday", datetime(2026, 11, 29, tzinfo=UTC), 86400),
        ("90m", datetime(2026, 11, 30, 13, 0, tzinfo=UTC), 0),
        ("2d", datetime(2026, 11, 28, 14, 30, tzinfo=UTC), 0),
    ],
)
def test_times_as_people_write_them(
    text: str, start: datetime, length_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert moments.span(text, NOW) == (start, start + timedelta(seconds=length_s))


@pytest.mark.parametrize("text", ["", "noon", "25:00", "2026-13-01", "-5m", "9" * 30 + "d"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        moments.span(text, NOW)


def occasion(start_s: float, end_s: float, refused: bool = False) -> person.Occasion:
    start, end = (NOW + timedelta(seconds=s) for s in (start_s, end_s))
    return person.Occasion(start, end, f"{start_s}", refused=row() if refused else None)


def test_of_a_time_the_refusal_is_meant_that_is_near_it() -> None:
    long, near, far = occasion(-600, 600), occasion(90, 90, True), occasion(900, 900, True)
    when = NOW, NOW + timedelta(seconds=60)
    assert person.meant([long, far, near], when)[0] is near
    assert person.meant([long, far], when)[0] is long
    assert person.meant([far], when)[0] is far
    assert person.meant([occasion(10 * 3600, 10 * 3600)], when) == (None, ())
    assert person.meant([long, near, far], None) == (far, ("90", "-600"))


async def test_what_is_told_late_has_the_time_at_which_it_was(service: AdminService) -> None:
    service.refused(CallRefused(ALICE, BOB, "x", Obstacle(Kind.AWAY), "alice", age_s=3600.0))
    (found,) = await rows(service)
    ago = datetime.now(UTC) - datetime.fromisoformat(found.last)
    assert timedelta(minutes=59) < ago < timedelta(minutes=61)
    assert (await ask(service, "explain", call="alice@example.org", at="1h")).refused is not None
