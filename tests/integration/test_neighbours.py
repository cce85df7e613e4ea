"""Rows P of docs/threats.md that one account can do over XMPP, on both servers with the limits of
traffic that Debian's packages have: what one who calls normally notices of it, and what is left.

Each test is one row; `scripts/bench neighbours` has them all at once, and its figures.
"""

from typing import Any

import pytest

from benchmarks.neighbours import WORST, beside
from tests.lab import play
from tests.threats import doses
from tests.threats.doses import Measured

pytestmark = [pytest.mark.integration, pytest.mark.busy, pytest.mark.timeout(300)]

SECONDS, QUIET_S = doses.seconds(60, 3), doses.seconds(20, 1)
ACCOUNTS = 40 if doses.dose() >= 1 else 10
FULL = doses.dose() >= 1
P99_MS = 50 if FULL else 1500
"""At less than the full dose p99 is the longest of thirty, on a machine that does other things:
half of what the server module waits for."""
LOST = 0.005 if FULL else 0.02
LINES_PER_S, AT_FIRST, LONGEST_LINE, GROWTH_MB = 10, 30, 6144, 50
"""Of each kind of line the first ten are told at once."""
PORTS_OF_A_USER, PORTS_OF_A_REMOTE_DOMAIN = 160, 640
SHORT_TIMES = "[times]\nsetup_s = 5\nfirst_media_s = 5\nsilence_s = 10\n"
SETTLE_S, FEW_DESCRIPTORS = 30.0, 5
TERMINATE = '[ice]\nmode = "terminate"\n'

each = pytest.mark.parametrize("server", list(play.SERVERS))
either = pytest.mark.parametrize(
    "server", ["prosody", pytest.param("ejabberd", marks=pytest.mark.soak)]
)
"""What one abuse does to the relay is the same whichever the server is: by night on the other too,
and by day on both where all abuses come together."""


async def noisy(
    server: str,
    note: Measured,
    *abuses: str,
    extra: str = "",
    settle_s: float = 0.0,
    abroad: bool = False,
) -> dict[str, Any]:
    """Alice calls beside these abuses, and notices nothing; returns what was measured."""
    told = await beside(server, abuses, SECONDS, QUIET_S, extra, False, ACCOUNTS, settle_s, abroad)
    loud = told["loud"]
    for name in ("p50_ms", "p99_ms", "media_p99_ms"):
        note(f"{name}_alone", told["quiet"][name])
        note(name, loud[name])
    note("log_lines_per_s", told["log_lines_per_s"])
    note("grew_mb", told["grew_mb"])
    assert (loud["leaked"], loud["refused"]) == (0, 0), told
    assert loud["p99_ms"] <= P99_MS, told
    assert loud["media_lost"] <= LOST, told
    assert told["tracebacks"] == 0, told
    assert told["longest_line"] <= LONGEST_LINE, told
    seconds = told["seconds"]
    assert told["log_lines_per_s"] * seconds <= LINES_PER_S * seconds + AT_FIRST, told
    assert told["grew_mb"] <= GROWTH_MB, told
    return told


def most_ports(told: dict[str, Any]) -> int:
    """Those of the noisy user who has most."""
    uses = told["budgets"].get("ports-user", [])
    return max((use["used"] for use in uses if "noisy" in use["who"]), default=0)


def refused(told: dict[str, Any]) -> int:
    """Requests of noisy users that were refused with `resource-constraint`."""
    return sum(abuse["refused"] for abuse in told["abuses"])


@either
async def test_p1_contents_and_transports_without_end(
    server: str, record_property: Measured
) -> None:
    told = await noisy(server, record_property, "adds", "replaces")
    record_property("most_ports", most_ports(told))
    record_property("refused", refused(told))
    assert most_ports(told) <= PORTS_OF_A_USER
    assert refused(told) > 0


@either
async def test_p2_offers_of_sixteen_contents(server: str, record_property: Measured) -> None:
    told = await noisy(server, record_property, "offers", "gives-up")
    record_property("most_ports", most_ports(told))
    record_property("refused", refused(told))
    assert most_ports(told) <= PORTS_OF_A_USER
    assert refused(told) > 0


@either
async def test_p3_candidates_and_contents_one_by_one(
    server: str, record_property: Measured
) -> None:
    told = await noisy(server, record_property, "trickles", "adds-one-by-one")
    record_property("cpu_percent", told["signalling_cpu_percent"])


@either
async def test_p4_two_sockets_nominate_in_turn_in_six_calls(
    server: str, record_property: Measured
) -> None:
    told = await noisy(server, record_property, "nominates")
    (did,) = told["abuses"]
    record_property("nominations", did["nominations"])
    assert did["calls"] == 6


@either
async def test_p7_names_of_kilobytes(server: str, record_property: Measured) -> None:
    told = await noisy(server, record_property, "names")
    record_property("longest_line", told["longest_line"])
    record_property("log_bytes_per_s", told["log_bytes_per_s"])
    record_property("state_bytes_per_s", told["state_bytes_per_s"])


@either
@pytest.mark.parametrize("abuse", ["names-one-port", "names-many-ports"])
async def test_p12_all_candidates_are_one_bystanders(
    server: str, abuse: str, record_property: Measured
) -> None:
    """IP packets and their bytes against those of the offers that named it."""
    told = await noisy(server, record_property, abuse, extra=TERMINATE)
    (did,) = told["abuses"]
    factor = told["bystander"]["bytes"] / did["named_bytes"]
    record_property("checks", told["bystander"]["packets"])
    record_property("factor", round(factor, 2))
    assert did["calls"] > 0
    assert factor <= 2


@each
async def test_p13_everybody_at_once_does_the_worst(server: str, record_property: Measured) -> None:
    """Rows F16, F24, X8 and X9 with it: nothing is left, the log is calm, and floods of offers and
    huge stanzas are among what is done."""
    told = await noisy(server, record_property, *WORST, extra=SHORT_TIMES, settle_s=SETTLE_S)
    record_property("refused", refused(told))
    record_property("calls_left", told["calls_left"])
    record_property("descriptors_left", told["descriptors_left"])
    assert told["calls_left"] == 0
    assert told["descriptors_left"] <= FEW_DESCRIPTORS
    record_property("free_ports", told["ports"]["free"])
    record_property("cpu_percent", told["signalling_cpu_percent"])


@either
async def test_p17_users_of_another_server_do_the_worst(
    server: str, record_property: Measured
) -> None:
    """Over s2s: what is counted for users is counted for them too, and for their domain."""
    told = await noisy(
        server, record_property, *WORST[:6], extra=SHORT_TIMES, settle_s=SETTLE_S, abroad=True
    )
    record_property("refused", refused(told))
    (domain,) = told["budgets"]["ports-remote-domain"]
    record_property("most_ports", most_ports(told))
    record_property("ports_of_domain", domain["used"])
    record_property("calls_left", told["calls_left"])
    assert most_ports(told) <= PORTS_OF_A_USER
    assert 0 < domain["used"] <= PORTS_OF_A_REMOTE_DOMAIN
    assert told["calls_left"] == 0
