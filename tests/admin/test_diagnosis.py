"""Diagnosis: for each cause a call that has it, and calls that must not be blamed for it."""

import pytest

from jingle_hnt.admin.diagnosis import CALL_CAUSES, LEG_CAUSES, Case, diagnose
from jingle_hnt.session.effects import Why
from tests.admin.calls import ALICE, BOB, call, leg, silent

HEARD = leg("initiator"), leg("responder")
MUTE = silent("initiator"), silent("responder")

SICK = {
    "plane-away": Case(call(*MUTE), Why.SILENCE, plane=False),
    "no-ports": Case(call(setup_s=None, transport="other"), Why.NO_CAPACITY),
    "unproven": Case(call(*MUTE, setup_s=None), Why.UNPROVEN),
    "setup-timeout": Case(call(*MUTE, setup_s=None, age_s=120.0), Why.SETUP_TIMEOUT),
    "refused-by-party": Case(call(*MUTE, setup_s=None), Why.REFUSED),
    "never-accepted": Case(call(*MUTE, setup_s=None), Why.TERMINATED),
    "unused-relay": Case(call(*MUTE, transport="ice")),
    "unknown-transport": Case(call(transport="other")),
    "other-network": Case(
        call(silent("initiator", dropped={"stranger": 7, "kernel": 3}), HEARD[1])
    ),
    "stranger": Case(call(silent("initiator", rung="R4", dropped={"kernel": 9}), HEARD[1])),
    "forged-checks": Case(
        call(silent("initiator", rung="R1", dropped={"unfit": 4, "stranger": 1}), HEARD[1])
    ),
    "unanswered-checks": Case(
        call(
            silent("initiator", rung="R1", check_failure="no-response", checks={"sent": 9}),
            HEARD[1],
        )
    ),
    "no-candidate": Case(
        call(silent("initiator", rung="R1", check_failure="no-candidate"), HEARD[1])
    ),
    "unsigned-media": Case(call(silent("initiator", rung="R2", dropped={"unfit": 4}), HEARD[1])),
    "forged-media": Case(call(leg("initiator", rung="R2", dropped={"rival": 4}), HEARD[1])),
    "on-probation": Case(call(silent("initiator", rung="R5", dropped={"probation": 3}), HEARD[1])),
    "gated": Case(call(leg("initiator", dropped={"gate": 400}), HEARD[1])),
    "rival": Case(call(leg("initiator", dropped={"rival": 12}), HEARD[1])),
    "one-way": Case(call(HEARD[0], silent("responder"))),
    "never-sent": Case(call(*MUTE)),
    "not-delivered": Case(call(leg("initiator", dropped={"send": 5}), HEARD[1])),
}


def test_who_answers_our_checks_is_named_all_the_same_where_it_signs_none() -> None:
    answering = leg(
        "responder",
        rung="R1",
        check_failure="wrong-credentials",
        received_packets=4,
        dropped={"unfit": 6},
        checks={"sent": 5, "answered": 4},
    )
    (finding,) = diagnose(Case(call(HEARD[0], answering)))
    assert (finding.cause, finding.party) == ("forged-checks", BOB)
    assert "6 connectivity checks" in finding.text


@pytest.mark.parametrize("cause", [*CALL_CAUSES, *LEG_CAUSES], ids=lambda cause: cause.code)
def test_each_cause_is_found_alone_and_says_what_to_do(cause: object) -> None:
    code: str = cause.code  # type: ignore[attr-defined]
    findings = diagnose(SICK[code])
    assert {finding.cause for finding in findings} == {code}
    assert all(f.text and f.advice and "{" not in f.text + f.advice for f in findings)


@pytest.mark.parametrize(
    "case",
    [
        Case(call()),
        Case(call(), Why.TERMINATED),
        Case(call(*MUTE, age_s=6.0)),  # accepted two seconds ago
        Case(call(HEARD[0], silent("responder"), senders="initiator")),
        Case(call(HEARD[0], silent("responder"), held=True)),
        Case(call(*MUTE, setup_s=None)),  # still ringing
        Case(call(leg("initiator", dropped={"stranger": 4}), HEARD[1])),  # latched all the same
    ],
)
def test_a_healthy_call_has_no_diagnosis(case: Case) -> None:
    assert diagnose(case) == ()


def test_a_finding_names_its_party_and_counts() -> None:
    (found,) = diagnose(SICK["other-network"])
    assert found.party == ALICE
    assert "10 packets" in found.text
    assert "relay.proxies" in found.advice


def test_of_two_mute_parties_each_is_told() -> None:
    assert [f.party for f in diagnose(SICK["never-sent"])] == [ALICE, BOB]
