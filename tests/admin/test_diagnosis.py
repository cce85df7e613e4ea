"""Each cause is found from what the relay saw of a call, and nothing is found where all is well."""

from dataclasses import replace

import pytest

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.diagnosis import CALL_CAUSES, LEG_CAUSES, diagnose
from jingle_hnt.model.content import CandidateType
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.binding import BindingSnapshot, Counters, Flow, PinholeSnapshot
from jingle_hnt.relay.evidence import Rung
from jingle_hnt.relay.latch import State
from jingle_hnt.session.effects import Why
from tests.session.stage import ALICE, BOB, Stage, candidates, content

WELL = Counters(received_packets=500, sent_packets=500)


def seen(initiator: Counters = WELL, responder: Counters = WELL) -> snapshots.CallSnapshot:
    """A call of Alice's, and what the plane counted on its RTP legs."""
    stage = Stage()
    stage.call()
    (session,) = stage.registry
    spec = stage.plane.bindings["s1.1.1"]
    first, second = (
        PinholeSnapshot(bound, State.ARMED, 0, Rung.R3, None, None, None, Flow.OPEN, counters)
        for bound, counters in zip(spec.pinholes, (initiator, responder), strict=True)
    )
    return snapshots.call(
        session, {spec.name: BindingSnapshot(spec.name, (first, second), False)}, 9
    )


def causes(call: snapshots.CallSnapshot, why: Why | None = None) -> list[tuple[str, str | None]]:
    return [(finding.cause, finding.leg) for finding in diagnose(call, why)]


def test_nothing_is_found_where_both_were_heard() -> None:
    assert causes(seen(), Why.TERMINATED) == []


@pytest.mark.rule("L9", "L12")
@pytest.mark.parametrize(
    ("counters", "cause"),
    [
        (Counters(), "never-sent"),
        (Counters(dropped_stranger=3), "other-network"),
        (Counters(dropped_kernel=3), "other-network"),
        (Counters(dropped_rival=30, dropped_kernel=0), "rival"),
        (Counters(dropped_probation=4), "on-probation"),
        (Counters(received_packets=100, dropped_gate=80), "gated"),
    ],
)
def test_each_cause_of_one_way_audio_names_the_party(counters: Counters, cause: str) -> None:
    (found,) = diagnose(seen(responder=counters))
    assert (found.cause, found.leg, found.media) == (cause, "responder", "voice")
    assert str(BOB) in found.text or cause == "rival"
    assert str(ALICE) not in found.text
    (found,) = diagnose(seen(initiator=counters))
    assert found.leg == "initiator"


@pytest.mark.parametrize(
    ("why", "cause"),
    [
        (Why.NO_CAPACITY, "no-ports"),
        (Why.SETUP_TIMEOUT, "never-accepted"),
        (Why.REFUSED, "refused"),
        (Why.UNPROVEN, "unproven"),
    ],
)
def test_why_a_call_ended_comes_before_its_legs(why: Why, cause: str) -> None:
    assert causes(seen(Counters(), Counters()), why) == [(cause, None)]


def test_a_call_that_is_not_relayed_says_so() -> None:
    stage = Stage()
    transport = candidates("198.51.100.5", 5000)
    relays = tuple(replace(c, type=CandidateType.RELAY) for c in transport.candidates)
    stage.says(
        ALICE, Action.SESSION_INITIATE, content(transport=replace(transport, candidates=relays))
    )
    (session,) = stage.registry
    assert causes(snapshots.call(session, {}, 9)) == [("not-relayed", None)]


def test_forged_checks_are_told_from_a_silent_agent() -> None:
    call = seen(initiator=Counters(dropped_unfit=7))
    component = call.contents[0].components[0]
    legs = tuple(leg.model_copy(update={"rung": "R1"}) for leg in component.legs)
    (changed, *_) = call.contents
    components = (component.model_copy(update={"legs": legs}),)
    agents = call.model_copy(
        update={"contents": (changed.model_copy(update={"components": components}),)}
    )
    assert causes(agents) == [("forged-checks", "initiator")]


def test_every_cause_has_a_test_here_and_advice() -> None:
    names = [cause.name for cause in (*CALL_CAUSES, *LEG_CAUSES)]
    assert len(set(names)) == len(names)
    assert all(cause.advice and cause.text for cause in (*CALL_CAUSES, *LEG_CAUSES))
