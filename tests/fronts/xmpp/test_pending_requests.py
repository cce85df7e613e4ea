"""Held stanzas are answered once and in time, and their number is bounded."""

from xml.etree.ElementTree import Element

from jingle_hnt.fronts.xmpp.pending_requests import PendingRequest, PendingRequests
from jingle_hnt.jingle.effects import Token


def hold(stanzas: PendingRequests, name: str, now: float = 0.0, timeout_s: float = 3.0) -> Token:
    token = stanzas.hold(
        PendingRequest(name, "example.org", Element("jingle"), now + timeout_s), now
    )
    assert token is not None
    return token


def name(held: PendingRequest | None) -> str | None:
    return None if held is None else held.id


def test_each_is_answered_once() -> None:
    stanzas = PendingRequests()
    first, second = hold(stanzas, "a"), hold(stanzas, "b")
    assert name(stanzas.take(second, 1)) == "b"
    assert name(stanzas.take(first, 1)) == "a"
    assert stanzas.take(first, 1) is None
    assert len(stanzas) == 0


def test_a_late_answer_is_none() -> None:
    stanzas = PendingRequests()
    token = hold(stanzas, "a", timeout_s=3)
    other = hold(stanzas, "b", timeout_s=3)
    assert name(stanzas.take(token, 2.999)) == "a"
    assert stanzas.take(other, 3.0) is None


def test_an_unknown_token_is_none() -> None:
    assert PendingRequests().take(17, 0) is None


def test_after_the_stream_is_lost_nothing_is_answered() -> None:
    stanzas = PendingRequests()
    token = hold(stanzas, "a")
    stanzas.clear()
    assert stanzas.take(token, 0) is None
    assert hold(stanzas, "b") != token


def test_the_number_is_bounded_and_expired_ones_make_room() -> None:
    stanzas = PendingRequests(capacity=2)
    hold(stanzas, "a", timeout_s=1)
    hold(stanzas, "b", timeout_s=5)
    late = PendingRequest("c", "example.org", Element("jingle"), 9)
    assert stanzas.hold(late, 0.5) is None
    assert stanzas.hold(late, 1.0) is not None
    assert len(stanzas) == 2
