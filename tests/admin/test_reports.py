"""What the log line of a call that is over says of its legs."""

from datetime import UTC, datetime
from typing import Any

from jingle_hnt.admin.causes import Case
from jingle_hnt.admin.reports import CallReport, log_line, report
from jingle_hnt.call.life import Why
from tests.admin.calls import call, leg, silent


def legs_of(*legs: Any) -> Any:
    case = Case(call(*legs), Why.TERMINATED)
    return log_line(report(case, None, datetime(2026, 1, 2, tzinfo=UTC)))["legs"]


def test_the_line_says_how_well_a_party_was_heard() -> None:
    heard = leg("initiator", lost_packets=7, jitter_ms=12.34, mos=3.96, dropped={"rival": 2})
    first, second = legs_of(heard, leg("responder", mos=None))
    assert first == (
        "voice/1 initiator: signalled 192.0.2.10:5000 advertised 203.0.113.9:30000"
        " learned 198.51.100.1:4000 (signalling-address) after 0.120 s in 500/80000 out 490/78400"
        " rtp 490 lost 7 jitter 12.3 ms score 4.0 dropped rival 2"
    )
    assert second.endswith("lost 0 jitter 0.0 ms")


def test_nothing_is_said_of_the_quality_of_what_never_came() -> None:
    _, second = legs_of(leg("initiator"), silent("responder"))
    assert "learned - (signalling-address)" in second
    assert "jitter" not in second


def test_a_report_that_numbers_source_authentication_is_read() -> None:
    """Histories of versions before 0.1.0 name its kinds R1 to R5."""
    made = report(Case(call(), Why.TERMINATED), None, datetime(2026, 1, 2, tzinfo=UTC))
    written = made.model_dump_json()
    numbered = written.replace('"source_auth":"signalling-address"', '"rung":"R3"')
    assert numbered != written
    assert CallReport.model_validate_json(numbered) == made
