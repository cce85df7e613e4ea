"""The rules of a latch that ICE agents teach, one by one; the oracle of the native engine."""

from copy import deepcopy
from ipaddress import ip_network

import pytest
from aioice import stun as other
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_latch import SOURCES, TRANSACTIONS, IceLatch
from jingle_hnt.relay.latch import SILENCE_S, LatchState, Verdict
from jingle_hnt.relay.packet import classify
from tests.plane.checks import answer, check
from tests.plane.packets import rtp, stun

WIFI = TransportAddress.of("198.51.100.1", 4000)
MOBILE = TransportAddress.of("203.0.113.5", 4000)
REFUSED = TransportAddress.of("192.0.2.1", 4000)
OLD, NEW = IceKey("B:A", "of-b"), IceKey("B2:A2", "of-b2")
ANYWHERE = (ip_network("0.0.0.0/0"),)


def evidence(*keys: IceKey) -> Evidence:
    return Evidence(SourceAuth.ICE_INTEGRITY, ANYWHERE, (ip_network("192.0.2.0/24"),), keys=keys)


def armed(*keys: IceKey) -> IceLatch:
    latch = IceLatch()
    assert latch.arm(0, evidence(*(keys or (OLD,))))
    return latch


def hear(latch: IceLatch, source: TransportAddress, datagram: bytes, now: float = 0.0) -> Verdict:
    return latch.observe(source, classify(datagram), datagram, now)


def asks(
    latch: IceLatch,
    source: TransportAddress,
    now: float = 0.0,
    nominates: bool = False,
    key: IceKey = OLD,
    transaction: bytes | None = None,
) -> Verdict:
    """A signed check; each source and moment has transactions of its own."""
    own = transaction or f"{source.port:05}{now:07.2f}".encode()[:12].ljust(12)
    return hear(latch, source, check(key.username, key.password, nominates, own), now)


@pytest.mark.rule("I3")
def test_the_first_signed_check_is_believed() -> None:
    latch = armed()
    assert asks(latch, WIFI) is Verdict.LATCHED
    assert (latch.source, latch.state) == (WIFI, LatchState.LATCHED)
    assert hear(latch, WIFI, rtp(1), 1.0) is Verdict.PASS
    assert latch.heard_at == 1.0


EARLY = IceKey("B:", "of-b")


@pytest.mark.rule("I3")
def test_an_agent_may_check_before_it_has_said_its_name_and_stays_known_when_it_has() -> None:
    """RFC 8445 section 7.3."""
    latch = armed(EARLY)
    early = [latch.is_early]
    assert asks(latch, WIFI) is Verdict.LATCHED
    assert asks(latch, MOBILE, key=IceKey("B:A", "guessed")) is Verdict.UNFIT
    assert asks(latch, MOBILE, key=IceKey("C:A", "of-b")) is Verdict.UNFIT
    assert latch.arm(1, evidence(OLD))
    assert [*early, latch.is_early] == [True, False]
    assert (latch.source, latch.where_to_ask(9.0)) == (WIFI, WIFI)
    assert asks(latch, MOBILE, now=0.1, key=IceKey("B:C", "of-b")) is Verdict.UNFIT
    assert asks(latch, WIFI, now=0.2) is Verdict.PASS


def test_an_agent_that_comes_instead_of_the_early_one_is_asked_first() -> None:
    latch = armed(EARLY)
    asks(latch, WIFI)
    assert latch.arm(1, evidence(NEW))
    asks(latch, MOBILE, now=0.1, key=NEW)
    assert latch.where_to_ask(0.2) == MOBILE


def test_nothing_is_believed_before_it_is_armed() -> None:
    assert asks(IceLatch(), WIFI) is Verdict.SHUT


@pytest.mark.rule("L7", "I3")
@pytest.mark.parametrize(
    "datagram",
    [
        check("B:A", "of-a"),  # signed with another password
        check("A:B", "of-b"),  # named the other way round
        check("B:A2", "of-b"),
        answer("of-b"),  # nobody asked
        stun(),
        b"\0\1\0\0junk",
    ],
)
def test_what_is_not_signed_for_the_other_party_teaches_nothing(datagram: bytes) -> None:
    latch = armed()
    assert hear(latch, WIFI, datagram) in (Verdict.UNFIT, Verdict.STRANGER)
    assert latch.where_to_ask(0.0) is None
    assert latch.state is LatchState.ARMED


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.one_of(
                st.binary(max_size=100),
                st.builds(
                    check,
                    st.sampled_from([OLD.username, "A:B", "x"]),
                    st.sampled_from(["of-a", "", "of-b2"]),
                    st.booleans(),
                    st.binary(min_size=12, max_size=12),
                    st.sampled_from(list(other.Class)),
                ),
                st.sampled_from([stun(), rtp(1), answer("of-b")]),
            ),
            st.floats(0.0, 10.0),
        )
    ),
    st.booleans(),
)
@pytest.mark.rule("L7", "I3")
def test_nothing_that_is_unsigned_leaves_a_trace(
    heard: list[tuple[int, bytes, float]], known: bool
) -> None:
    """The latch is what it was, whatever strangers send, and however much."""
    latch = armed()
    if known:
        asks(latch, WIFI, nominates=True)
    before = deepcopy(latch)
    for port, datagram, now in heard:
        stranger = TransportAddress.of(str(MOBILE.ip), port)
        assert hear(latch, stranger, datagram, now) in (Verdict.UNFIT, Verdict.STRANGER)
    assert latch == before


@pytest.mark.rule("L7")
def test_media_of_an_unknown_source_is_a_strangers() -> None:
    latch = armed()
    asks(latch, WIFI)
    assert hear(latch, MOBILE, rtp(1)) is Verdict.STRANGER


def test_a_signature_does_not_open_what_is_refused() -> None:
    assert asks(armed(), REFUSED) is Verdict.STRANGER


def test_the_first_source_stays_until_one_is_nominated() -> None:
    latch = armed()
    asks(latch, WIFI)
    assert asks(latch, MOBILE, 0.1) is Verdict.PASS
    assert latch.source == WIFI
    assert asks(latch, MOBILE, 0.2, nominates=True) is Verdict.RELATCHED
    assert latch.source == MOBILE
    assert hear(latch, WIFI, rtp(1), 0.3) is Verdict.PASS


@pytest.mark.rule("L5")
def test_a_later_nomination_moves_the_media() -> None:
    latch = armed()
    asks(latch, WIFI, nominates=True)
    assert asks(latch, MOBILE, 0.1, nominates=True) is Verdict.RELATCHED
    assert asks(latch, WIFI, 0.2, nominates=True) is Verdict.RELATCHED
    assert latch.source == WIFI


def test_the_other_partys_nomination_selects_whom_it_was_handed_to() -> None:
    latch = armed()
    asks(latch, WIFI)
    asks(latch, MOBILE, 0.1)
    assert latch.where_to_ask(0.1) == MOBILE
    assert latch.nominated(MOBILE, 0.1)
    assert not latch.nominated(MOBILE, 0.1)
    assert latch.source == MOBILE


def test_nobody_unknown_can_be_nominated() -> None:
    latch = armed()
    asks(latch, WIFI)
    assert not latch.nominated(MOBILE, 0.0)
    assert latch.source == WIFI


@pytest.mark.rule("L5")
def test_a_remapped_agent_is_followed_after_silence() -> None:
    latch = armed()
    asks(latch, WIFI, nominates=True)
    assert asks(latch, MOBILE, SILENCE_S - 0.01) is Verdict.PASS
    assert asks(latch, MOBILE, SILENCE_S) is Verdict.RELATCHED


def test_a_spare_pair_that_is_kept_warm_takes_nothing_over() -> None:
    latch = armed()
    asks(latch, MOBILE)
    asks(latch, WIFI, 0.1, nominates=True)
    assert asks(latch, MOBILE, 5.0) is Verdict.PASS
    assert latch.source == WIFI


def test_checks_go_to_the_nominated_source_while_it_is_heard() -> None:
    latch = armed()
    asks(latch, WIFI, nominates=True)
    asks(latch, MOBILE, 0.5)
    assert latch.where_to_ask(0.9) == WIFI
    assert latch.where_to_ask(SILENCE_S) == MOBILE


def test_answers_go_to_who_asked() -> None:
    latch = armed()
    asks(latch, WIFI, transaction=b"of the wifi.")
    asks(latch, MOBILE, transaction=b"of the cell.")
    assert latch.asker(b"of the wifi.") == WIFI
    assert latch.asker(b"of the cell.") == MOBILE
    assert latch.asker(b"of somebody.") is None


@pytest.mark.rule("L7")
def test_a_replayed_check_is_not_believed() -> None:
    """Who has seen a check on its way can send it again, but not as its first sender."""
    latch = armed()
    asks(latch, WIFI, transaction=b"once & again")
    assert asks(latch, MOBILE, nominates=True, transaction=b"once & again") is Verdict.RIVAL
    assert hear(latch, MOBILE, rtp(1)) is Verdict.STRANGER
    assert asks(latch, WIFI, 0.1, transaction=b"once & again") is Verdict.PASS


def test_a_restart_holds_the_old_keys_until_the_new_are_used() -> None:
    latch = armed()
    asks(latch, WIFI, nominates=True)
    assert latch.arm(1, evidence(NEW, OLD))
    assert (latch.source, latch.state) == (WIFI, LatchState.LATCHED)
    assert asks(latch, WIFI, 0.1) is Verdict.PASS
    assert asks(latch, MOBILE, 0.2, key=NEW) is Verdict.PASS
    assert latch.source == WIFI
    assert latch.where_to_ask(0.3) == MOBILE
    assert asks(latch, WIFI, 0.3) is Verdict.UNFIT
    assert asks(latch, MOBILE, 0.4, nominates=True, key=NEW) is Verdict.RELATCHED


def test_after_a_restart_checks_go_to_who_has_asked_with_the_new_keys() -> None:
    """The old source may be gone for good, though its last packets were just heard."""
    latch = armed()
    asks(latch, WIFI, nominates=True)
    latch.arm(1, evidence(NEW, OLD))
    asks(latch, MOBILE, 0.2, key=NEW)
    hear(latch, WIFI, rtp(1), 0.3)
    assert latch.where_to_ask(0.3) == MOBILE


def test_who_was_nominated_by_the_other_party_is_asked_again() -> None:
    latch = armed()
    asks(latch, WIFI)
    asks(latch, MOBILE, 0.1)
    assert not latch.nominated(WIFI, 0.1)
    assert latch.where_to_ask(0.2) == WIFI


@pytest.mark.rule("L4")
def test_a_generation_that_is_not_greater_changes_nothing() -> None:
    latch = armed()
    assert not latch.arm(0, evidence(NEW))
    assert asks(latch, WIFI, key=NEW) is Verdict.UNFIT


def test_arming_with_the_same_keys_forgets_nobody() -> None:
    latch = armed()
    asks(latch, WIFI)
    assert latch.arm(1, evidence(OLD))
    assert latch.where_to_ask(0.0) == WIFI


def test_what_is_remembered_is_bounded_and_the_selected_source_stays() -> None:
    latch = armed()
    asks(latch, WIFI, nominates=True)
    for port in range(1, 3 * TRANSACTIONS):
        asks(latch, TransportAddress.of("203.0.113.5", port), port / 1000)
    known = [
        port
        for port in range(1, 3 * TRANSACTIONS)
        if hear(latch, TransportAddress.of("203.0.113.5", port), rtp(1), 1.0) is Verdict.PASS
    ]
    assert len(known) == SOURCES - 1
    assert latch.source == WIFI
    assert latch.asker(f"{WIFI.port:05}{0:07.2f}".encode()) is None


def test_what_an_earlier_life_learned_is_taken_up() -> None:
    latch = armed()
    latch.resume(WIFI, 3.0)
    assert hear(latch, WIFI, rtp(1), 3.1) is Verdict.PASS
    assert latch.source == WIFI


def test_passwords_are_not_shown() -> None:
    assert "of-b" not in repr(evidence(OLD)) + repr(armed())
