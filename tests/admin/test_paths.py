"""Which pair of ICE agents won, and why one has none."""

from dataclasses import replace

import pytest

from jingle_hnt.admin.snapshots import YOUNG_S, CallSnapshot, LegSnapshot, call
from jingle_hnt.call.policy import IceMode
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import CandidateType
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.binding import BindingSnapshot, Counters, Flow, PinholeSnapshot, Quality
from jingle_hnt.relay.latch import LatchState
from tests.jingle.stage import ALICE, BOB, CAMERA, Stage
from tests.jingle.test_ice import OF_ALICE, OF_BOB, ice
from tests.jingle.test_terminate import at

PHONE = TransportAddress.of("198.51.100.1", 5000)
NAT = TransportAddress.of("198.51.100.1", 61000)
BOUND = TransportAddress.of("203.0.113.9", 2000)


def agreed(mode: IceMode, *addresses: str, bundled: bool = False) -> Stage:
    """A call that was accepted long enough ago."""
    stage = Stage(ice=mode)
    more = [True] if bundled else []
    offers = [at(ice(OF_ALICE), *addresses), *(ice(OF_ALICE, key=CAMERA) for _ in more)]
    stage.says(ALICE, Action.SESSION_INITIATE, *offers)
    answers = [at(ice(OF_BOB), "198.51.100.2"), *(ice(OF_BOB, key=CAMERA) for _ in more)]
    stage.says(BOB, Action.SESSION_ACCEPT, *answers)
    stage.now += YOUNG_S
    return stage


def pinhole(
    learned: TransportAddress | None = None, packets: int = 0, counted: Counters | None = None
) -> PinholeSnapshot:
    state = LatchState.ARMED if learned is None else LatchState.LATCHED
    made = PinholeSnapshot(
        BOUND, state, 0, None, learned, None, None, Flow.OPEN, counted or Counters()
    )
    return replace(made, quality=Quality(packets=packets))


def seen(stage: Stage, first: PinholeSnapshot, second: PinholeSnapshot) -> CallSnapshot:
    (session,) = stage.registry
    name = "s1.1.1"
    return call(session, {name: BindingSnapshot(name, (first, second), False)}, stage.now)


def path(snapshot: CallSnapshot, content: int = 0) -> str | None:
    return snapshot.contents[content].path


def alice(snapshot: CallSnapshot) -> LegSnapshot:
    return snapshot.contents[0].components[0].legs[0]


@pytest.mark.rule("L12")
def test_of_one_more_candidate_it_is_the_media_that_tells() -> None:
    stage = agreed(IceMode.APPEND, "198.51.100.1")
    spare = seen(stage, pinhole(PHONE), pinhole(PHONE))  # checked, and not used
    assert path(spare) == "direct"
    used = seen(stage, pinhole(PHONE, packets=50), pinhole(PHONE))
    assert (used.contents[0].ice, path(used)) == ("append", "relayed")


def test_nothing_is_said_before_media_can_have_come() -> None:
    stage = agreed(IceMode.APPEND, "198.51.100.1")
    stage.now -= 1.0
    assert path(seen(stage, pinhole(), pinhole())) is None


def test_a_place_that_was_given_up_was_not_used() -> None:
    stage = agreed(IceMode.APPEND, "198.51.100.1")
    stage.passes(120)
    (session,) = stage.registry
    assert path(call(session, {}, stage.now)) == "direct"


def test_a_content_may_be_carried_by_another_one() -> None:
    stage = agreed(IceMode.APPEND, "198.51.100.1", bundled=True)
    snapshot = seen(stage, pinhole(PHONE, packets=50), pinhole(PHONE, packets=50))
    assert [path(snapshot, n) for n in (0, 1)] == ["relayed", None]


@pytest.mark.rule("I2", "L12")
def test_where_ice_ends_at_the_relay_a_pair_on_both_sides_wins() -> None:
    stage = agreed(IceMode.TERMINATE, "198.51.100.1")
    snapshot = seen(stage, pinhole(PHONE), pinhole(PHONE))
    assert (snapshot.contents[0].ice, path(snapshot)) == ("terminate", "relayed")
    assert path(seen(stage, pinhole(PHONE), pinhole())) is None


def test_the_pair_is_named_by_the_party_s_candidate() -> None:
    stage = agreed(IceMode.TERMINATE, "198.51.100.1")
    assert alice(seen(stage, pinhole(PHONE), pinhole())).pair == CandidateType.HOST
    assert alice(seen(stage, pinhole(NAT), pinhole())).pair == CandidateType.PRFLX
    assert alice(seen(stage, pinhole(), pinhole())).pair is None


@pytest.mark.rule("I2", "L12")
@pytest.mark.parametrize(
    ("mode", "addresses", "counters", "failure"),
    [
        (IceMode.TERMINATE, ["198.51.100.1"], {"checks_sent": 9}, "no-response"),
        (IceMode.TERMINATE, ["10.0.0.1"], {}, "no-candidate"),
        (IceMode.TERMINATE, ["198.51.100.1"], {"dropped_unfit": 3}, "wrong-credentials"),
        (IceMode.TERMINATE, ["198.51.100.1"], {"checks_refused": 1}, "wrong-credentials"),
        (IceMode.APPEND, ["198.51.100.1"], {"dropped_unfit": 3}, "wrong-credentials"),
        (IceMode.APPEND, ["198.51.100.1"], {}, None),
    ],
)
def test_why_an_agent_is_not_known(
    mode: IceMode, addresses: list[str], counters: dict[str, int], failure: str | None
) -> None:
    stage = agreed(mode, *addresses)
    found = alice(seen(stage, pinhole(counted=Counters(**counters)), pinhole()))
    assert found.check_failure == failure
    known = pinhole(PHONE, counted=Counters(received_packets=1, **counters))
    assert alice(seen(stage, known, pinhole())).check_failure is None


@pytest.mark.rule("I2", "L12")
@pytest.mark.parametrize(
    ("mode", "received", "unfit", "failure"),
    [
        (IceMode.TERMINATE, 4, 3, "wrong-credentials"),
        (IceMode.TERMINATE, 5, 3, None),  # a check of its own, and somebody else's junk
        (IceMode.TERMINATE, 4, 0, None),
        (IceMode.APPEND, 4, 3, None),
    ],
)
def test_who_answers_our_checks_and_signs_its_own_with_others_is_known_and_named(
    mode: IceMode, received: int, unfit: int, failure: str | None
) -> None:
    stage = agreed(mode, "198.51.100.1")
    counted = Counters(received_packets=received, checks_answered=4, dropped_unfit=unfit)
    found = alice(seen(stage, pinhole(PHONE, counted=counted), pinhole()))
    assert found.check_failure == failure


def test_our_own_checks_are_told_where_there_are_any() -> None:
    counters = {"checks_sent": 5, "checks_answered": 4, "checks_refused": 1}
    stage = agreed(IceMode.TERMINATE, "198.51.100.1")
    found = alice(seen(stage, pinhole(PHONE, counted=Counters(**counters)), pinhole()))
    assert found.checks == {"sent": 5, "answered": 4, "refused": 1}
    stage = agreed(IceMode.APPEND, "198.51.100.1")
    assert alice(seen(stage, pinhole(PHONE), pinhole())).checks == {}
