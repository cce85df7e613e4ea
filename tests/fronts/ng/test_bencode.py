"""Bencode: what is read, what is refused, and what a message may cost."""

import contextlib

import bencode2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.fronts.ng.bencode import (
    MAX_DEPTH,
    MAX_ITEMS,
    BadBencode,
    Encodable,
    Framing,
    decode,
    encode,
)

VALUES: st.SearchStrategy[Encodable] = st.recursive(
    st.binary(max_size=40) | st.integers(-(10**18), 10**18),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)

BAD = {
    "nothing": b"",
    "a dictionary without its end": b"d",
    "a key without a value": b"d1:ae",
    "a key that is a number": b"di1e1:ae",
    "a key that comes twice": b"d1:a0:1:a0:e",
    "a string longer than the message": b"9:a",
    "a length of many digits": b"99999999999999999999999:a",
    "a negative length": b"-1:a",
    "an underscore in a number": b"i1_0e",
    "a space in a number": b"i 1e",
    "minus zero": b"i-0e",
    "a padded number": b"i01e",
    "no digits": b"ie",
    "a number of 60,000 digits": b"i" + b"9" * 60_000 + b"e",
    "bytes behind the value": b"0:x",
    "a letter": b"x",
    "depth": b"l" * (MAX_DEPTH + 2) + b"e" * (MAX_DEPTH + 2),
    "60,000 lists": b"l" * 60_000,
    "many values": b"l" + b"i1e" * (MAX_ITEMS + 1) + b"e",
    "many keys": b"d" + b"".join(b"4:%04x0:" % n for n in range(MAX_ITEMS)) + b"e",
}


def texts(value: object) -> object:
    """What the other library reads, with texts for keys."""
    match value:
        case dict():
            return {key.decode(): texts(each) for key, each in value.items()}
        case list():
            return [texts(each) for each in value]
    return value


@given(VALUES)
def test_what_is_written_is_read_as_another_library_reads_it(value: Encodable) -> None:
    written = encode(value)
    assert texts(bencode2.bdecode(written)) == decode(written)
    assert encode(decode(written)) == written


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadBencode):
        decode(data)


def test_keys_may_come_in_any_order() -> None:
    assert decode(b"d1:b1:x1:a1:ye") == {"b": b"x", "a": b"y"}


def test_bytes_that_are_no_text_stay_apart_as_keys() -> None:
    assert len(decode(b"d1:\xff0:1:\xfe0:e")) == 2  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with contextlib.suppress(BadBencode):
        decode(data)
    with contextlib.suppress(BadBencode):
        Framing().end(data)


@given(VALUES, st.integers(1, 7), st.binary(max_size=5))
def test_the_end_of_a_message_in_a_stream_is_found_however_it_is_cut(
    value: Encodable, step: int, behind: bytes
) -> None:
    whole = encode({"sdp": value})
    stream, framing, ends = whole + behind, Framing(), []
    for until in range(step, len(stream) + step, step):
        ends.append(framing.end(stream[:until]))
        if ends[-1]:
            break
    assert ends[-1] == len(whole)
    assert not any(ends[:-1])


def test_a_stream_is_looked_at_once_however_it_drips() -> None:
    framing, stream = Framing(), b"d" + b"".join(b"4:%04xi1e" % n for n in range(900))
    steps = 0
    for until in range(1, len(stream) + 1):
        before = framing._at
        assert framing.end(stream[:until]) == 0
        steps += framing._at - before
    assert steps <= len(stream)


def test_a_value_of_another_kind_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="float"):
        encode({"a": 1.5})  # type: ignore[dict-item]
