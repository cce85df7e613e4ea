"""A command that comes again is answered as before, and what is kept for that is bounded."""

import pytest

from jingle_hnt.fronts.ng import cookies
from jingle_hnt.fronts.ng.cookies import KEPT_S, BadCookie, Cookies, split


def test_a_cookie_is_what_stands_before_the_first_space() -> None:
    assert split(b"26_42_1 d7:command4:pinge") == (b"26_42_1", b"d7:command4:pinge")


@pytest.mark.parametrize("datagram", [b"", b" x", b"nocookie", b"\xff x", b"a" * 65 + b" x"])
def test_what_has_none_cannot_be_answered(datagram: bytes) -> None:
    with pytest.raises(BadCookie):
        split(datagram)


def test_the_same_cookie_of_another_sender_is_another_command() -> None:
    known: Cookies[str] = Cookies()
    assert known.is_new("a", b"1", 0.0)
    assert known.is_new("b", b"1", 0.0)
    assert not known.is_new("a", b"1", 0.0)


def test_an_answer_is_kept_until_nobody_asks_again() -> None:
    known: Cookies[str] = Cookies()
    assert known.is_new("a", b"1", 0.0)
    assert known.answer("a", b"1") is None
    known.keep("a", b"1", b"answer")
    assert not known.is_new("a", b"1", KEPT_S - 0.1)
    assert known.answer("a", b"1") == b"answer"
    assert known.is_new("a", b"1", KEPT_S)
    assert known.answer("a", b"1") is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies, "MOST_KEPT", 10)
    monkeypatch.setattr(cookies, "MOST_BYTES", 1000)
    known: Cookies[str] = Cookies()
    for number in range(100):
        cookie = str(number).encode()
        assert known.is_new("a", cookie, 0.0)
        known.keep("a", cookie, bytes(300))
    assert len(known) <= 3
    assert known.answer("a", b"99") is not None
