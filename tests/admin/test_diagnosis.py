"""Diagnosis: for each cause a call that has it, and calls that must not be blamed for it."""

import pytest

from jingle_hnt.admin.causes import CALL_CAUSES, DROPS, LEG_CAUSES, Case
from jingle_hnt.admin.diagnosis import diagnose, set_aside
from jingle_hnt.admin.reports import is_one_way
from jingle_hnt.call.life import Why
from jingle_hnt.relay.binding import Counters
from tests.admin.calls import ALICE, BOB, call, leg, mute, silent

HEARD = leg("initiator"), leg("responder")
MUTE = silent("initiator"), silent("responder")

SICK = {
    "plane-away": Case(call(*MUTE), Why.SILENCE, plane=False),
    "ports-lost": Case(call(), Why.PORTS_LOST, plane=False),
    "unproven": Case(call(*MUTE, setup_s=None), Why.UNPROVEN),
    "setup-timeout": Case(call(*MUTE, setup_s=None, age_s=120.0), Why.SETUP_TIMEOUT),
    "refused-by-party": Case(call(*MUTE, setup_s=None), Why.REFUSED),
    "never-accepted": Case(call(*MUTE, setup_s=None), Why.TERMINATED),
    "unused-relay": Case(call(*MUTE, transport="ice")),
    "over-budget": Case(call(exceeded={"contents": 3})),
    "unknown-transport": Case(call(transport="other")),
    "other-network": Case(
        call(silent("initiator", dropped={"stranger": 7, "kernel": 3}), HEARD[1])
    ),
    "stranger": Case(
        call(silent("initiator", source_auth="candidate-address", dropped={"kernel": 9}), HEARD[1])
    ),
    "forged-checks": Case(
        call(
            silent("initiator", source_auth="ice-integrity", dropped={"unfit": 4, "stranger": 1}),
            HEARD[1],
        )
    ),
    "unanswered-checks": Case(
        call(
            silent(
                "initiator",
                source_auth="ice-integrity",
                check_failure="no-response",
                checks={"sent": 9},
            ),
            HEARD[1],
        )
    ),
    "no-candidate": Case(
        call(
            silent("initiator", source_auth="ice-integrity", check_failure="no-candidate"), HEARD[1]
        )
    ),
    "unsigned-media": Case(
        call(silent("initiator", source_auth="srtp-auth", dropped={"unfit": 4}), HEARD[1])
    ),
    "forged-media": Case(
        call(leg("initiator", source_auth="srtp-auth", dropped={"rival": 4}), HEARD[1])
    ),
    "on-probation": Case(
        call(silent("initiator", source_auth="probation", dropped={"probation": 3}), HEARD[1])
    ),
    "changed": Case(call(leg("initiator", dropped={"probation": 400}), HEARD[1])),
    "gated": Case(call(leg("initiator", dropped={"gate": 400}), HEARD[1])),
    "rival": Case(call(leg("initiator", dropped={"rival": 12}), HEARD[1])),
    "nobody-heard": Case(call(*MUTE), nobody_lately=True),
    "too-short": Case(call(*MUTE, age_s=6.0), Why.TERMINATED),
    "moved-away": Case(call(leg("initiator", heard_s=9.0, dropped={"kernel": 400}), HEARD[1])),
    "strangers-later": Case(call(leg("initiator", dropped={"stranger": 400}), HEARD[1])),
    "policed": Case(call(leg("initiator", dropped={"policed": 2725}), HEARD[1])),
    "no-family": Case(
        call(
            silent("initiator", signalled=("[2001:db8::1]:5000",), source_auth="candidate-address"),
            HEARD[1],
        )
    ),
    "own-address": Case(call(silent("initiator", signalled=("203.0.113.9:30000",)), HEARD[1])),
    "asymmetric-ports": Case(
        call(
            leg("initiator", learned="192.0.2.10:5004"), silent("responder", flow="held"), held=True
        )
    ),
    "no-rtp": Case(call(mute("initiator"), HEARD[1])),
    "one-way": Case(call(HEARD[0], silent("responder"))),
    "never-sent": Case(call(*MUTE)),
    "not-delivered": Case(call(leg("initiator", dropped={"send": 5}), HEARD[1])),
}


def test_who_answers_our_checks_is_named_all_the_same_where_it_signs_none() -> None:
    answering = leg(
        "responder",
        source_auth="ice-integrity",
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
        Case(call(leg("initiator", dropped={"unlatched": 40, "shut": 5}), HEARD[1])),
    ],
)
def test_a_healthy_call_has_no_diagnosis(case: Case) -> None:
    assert diagnose(case) == ()


def test_no_drop_goes_without_a_word() -> None:
    """Each reason of the plane has words; many drops for it are a finding, few are set aside."""
    reasons = [n.removeprefix("dropped_") for n in Counters.__slots__ if "dropped_" in n]
    assert sorted(reasons) == sorted(DROPS)
    for reason in reasons:
        many = Case(call(leg("initiator", dropped={reason: 5000}), HEARD[1]))
        assert diagnose(many), reason
        few = call(leg("initiator", dropped={reason: 1}), HEARD[1])
        assert set_aside(few) == f"1 {DROPS[reason]}"
    assert set_aside(call()) == ""


def test_a_dead_microphone_is_told_whatever_else_comes() -> None:
    """STUN, DTLS and RTCP are no media."""
    found = diagnose(Case(call(mute("initiator"), mute("responder"))))
    assert [(f.cause, f.party) for f in found] == [("no-rtp", ALICE), ("no-rtp", BOB)]
    assert "12 packets came, none of them RTP" in found[0].text


def test_bundled_and_refused_contents_are_no_fault() -> None:
    """Agents that bundle send everything by one content; a medium that was not agreed is silent."""
    audio = call(transport="ice").contents[0]
    video = call(*MUTE, transport="ice").contents[0].model_copy(update={"name": "video"})
    refused = video.model_copy(update={"agreed": False, "ice": None})
    assert diagnose(Case(call(contents=(audio, video)))) == ()
    assert diagnose(Case(call(contents=(call().contents[0], refused)))) == ()
    alone = video.model_copy(update={"ice": None, "transport": "raw-udp"})
    assert [f.cause for f in diagnose(Case(call(contents=(audio, alone))))] == ["never-sent"] * 2


def test_bundled_and_refused_contents_make_no_call_one_way() -> None:
    audio = call(transport="ice").contents[0]
    half = call(HEARD[0], silent("responder"), transport="ice").contents[0]
    video = half.model_copy(update={"name": "video"})
    assert not is_one_way(call(contents=(audio, video)))
    assert is_one_way(call(contents=(half,)))
    assert is_one_way(call(HEARD[0], mute("responder")))
    assert not is_one_way(call(contents=(half.model_copy(update={"agreed": False}),)))
    assert not is_one_way(call(contents=(half.model_copy(update={"agreed_s": 2.0}),)))


def test_a_medium_is_called_by_what_it_is() -> None:
    """Clients name contents 0 and 1: "no 0 of Anna" says nothing to anybody."""
    silent_one = call(HEARD[0], silent("responder")).contents[0]
    audio = silent_one.model_copy(update={"name": "0", "media": "audio"})
    (found,) = diagnose(Case(call(contents=(audio,))))
    assert "no audio of" in found.text
    two = (audio, audio.model_copy(update={"name": "1"}))
    assert [
        "audio (0)" in f.text or "audio (1)" in f.text for f in diagnose(Case(call(contents=two)))
    ] == [True, True]


def test_a_finding_names_its_party_and_counts() -> None:
    (found,) = diagnose(SICK["other-network"])
    assert found.party == ALICE
    assert "10 packets" in found.text
    assert "relay.proxies" in found.advice


def test_of_two_mute_parties_each_is_told() -> None:
    assert [f.party for f in diagnose(SICK["never-sent"])] == [ALICE, BOB]
