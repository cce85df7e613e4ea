"""Answers in short lines, for forms whose fields are narrow."""

from datetime import UTC, datetime

from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.diagnosis import diagnose
from jingle_hnt.admin.reports import Explanation, HistorySnapshot, report
from jingle_hnt.admin.service import AdminService
from jingle_hnt.admin.snapshots import CallsSnapshot
from jingle_hnt.admin.spoken import spoken
from jingle_hnt.call.life import Why
from jingle_hnt.fronts.xmpp import forms
from jingle_hnt.fronts.xmpp.tables import lay_out
from tests.admin import calls
from tests.admin.backend import ask
from tests.admin.calls import leg, silent
from tests.admin.test_refusals import row

NARROW = 34
"""Characters of a text field in Gajim 1.7."""

WELL, WRONG = calls.call(age_s=62.0), calls.call(leg("initiator"), silent("responder"), age_s=192.0)


def test_a_call_is_a_line_and_trouble_comes_first() -> None:
    answer = CallsSnapshot(calls=(WELL, WRONG))
    told = spoken(answer)["calls"]
    assert told == ("! alice > bob 3:12 one-way", "alice > bob 1:02")
    assert max(map(len, told)) <= NARROW
    rings = calls.call(setup_s=None, age_s=4.0)
    assert spoken(CallsSnapshot(calls=(rings,)))["calls"] == ("alice > bob 0:04 rings",)
    held = calls.call(held=True, age_s=4.0)
    assert spoken(CallsSnapshot(calls=(held,)))["calls"] == ("alice > bob 0:04 on hold",)


def test_calls_that_are_over_and_refused_ones_are_lines_too() -> None:
    ended = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
    cases = (Case(WELL, Why.TERMINATED), Case(WRONG, Why.TERMINATED))
    refused = row().model_copy(
        update={"last": "2026-11-30T14:05:09+00:00", "which": "limits.calls", "count": 3}
    )
    told = spoken(
        HistorySnapshot(calls=tuple(report(c, None, ended) for c in cases), refused=(refused,))
    )
    assert told["calls"] == (
        "14:05 alice > bob 1:02 terminated",
        "14:05 alice > bob 3:12 ! one-way",
    )
    assert told["refused"] == ("14:05 a > b 3 times: limits.calls",)


def test_an_explanation_says_what_is_wrong_and_what_to_do() -> None:
    found = diagnose(Case(WRONG))
    told = spoken(Explanation(call=WRONG, report=None, diagnosis=found))
    assert told["diagnosis"] == (f"* {found[0].text}.", f"{found[0].advice}.")
    assert told["call.contents"] == (
        "voice initiator: 490 heard, 0 lost",
        "voice responder: 0 heard, 0 lost",
    )
    assert spoken(WELL)["contents"][0] == "voice initiator: 490 heard, 0 lost"


async def test_each_list_of_each_answer_has_words_where_it_is_not_empty(
    service: AdminService,
) -> None:
    for command in ("check", "policy", "limits"):
        answer = await ask(service, command)
        for table in lay_out(answer, spoken(answer)).tables:
            assert table.lines or not table.rows, (command, table.name)


def test_a_form_shows_the_lines_and_the_table_is_still_there() -> None:
    answer = CallsSnapshot(calls=(WELL, WRONG))
    first, table, again = forms.results("Calls", lay_out(answer, spoken(answer)), None)
    values = [value.text for value in first.iterfind("{*}field[@var='calls']/{*}value")]
    assert values == list(spoken(answer)["calls"])
    assert table.find("{*}reported") is not None
    assert again is first
