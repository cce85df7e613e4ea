"""HMAC-SHA1 is the same whoever makes it: libcrypto, our own code, or Python."""

import hmac
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plane import _twins

pytestmark = pytest.mark.native


@pytest.fixture(params=[True, False], ids=["libcrypto", "own"])
def borrowed(request: pytest.FixtureRequest) -> Iterator[bool]:
    wanted: bool = request.param
    try:
        if _twins.borrow_sha1(wanted) is not wanted:
            pytest.skip("no libcrypto here")
        yield wanted
    finally:
        _twins.borrow_sha1(True)


@pytest.mark.parametrize("length", [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 172, 1200, 65507])
@pytest.mark.parametrize("key", [b"", b"k" * 20, b"k" * 64, b"k" * 65, b"k" * 256])
def test_each_length_makes_the_same_tag(borrowed: bool, key: bytes, length: int) -> None:
    data = bytes(n * 31 & 255 for n in range(length))
    assert _twins.hmac_sha1(key, data) == hmac.digest(key, data, "sha1")


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_both_make_the_same_tag(key: bytes, data: bytes) -> None:
    made = set()
    for borrow in (False, True):
        _twins.borrow_sha1(borrow)
        made.add(_twins.hmac_sha1(key, data))
    assert made == {hmac.digest(key, data, "sha1")}
