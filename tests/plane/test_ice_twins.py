"""The rules for ICE agents in C are those in Python: both are shown the same packets."""

from ipaddress import ip_network

import pytest
from aioice import stun as other
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import pack, pack_keys, pack_networks, unpack
from jingle_hnt.relay import stun
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_latch import SOURCES, TRANSACTIONS, IceLatch
from jingle_hnt.relay.packet import classify
from tests.plane import _twins
from tests.plane.checks import check
from tests.plane.packets import dtls, rtp
from tests.plane.packets import stun as unsigned

pytestmark = pytest.mark.native

KEYS = [
    IceKey("B:A", "p"),
    IceKey("B2:A2", "x" * 100),
    IceKey("B:A", "another"),
    IceKey("B:", "p"),
]
FOREVER = (ip_network("0.0.0.0/0"), ip_network("2001:db8::/32"))
REFUSED = (ip_network("192.0.2.200"),)
ADDRESSES = st.builds(
    TransportAddress.of,
    st.sampled_from(["192.0.2.1", "192.0.2.200", "2001:db8::1", "2001:db9::1"]),
    st.integers(1, 2),
)
TRANSACTIONS_OF = st.integers(0, 5).map(lambda n: b"transaction" + bytes([n]))
CHECKS = st.builds(
    lambda key, nominates, transaction, kind: check(
        key.username, key.password, nominates, transaction, kind
    ),
    st.sampled_from([*KEYS, IceKey("B:A", "wrong")]),
    st.booleans(),
    TRANSACTIONS_OF,
    st.sampled_from([*[other.Class.REQUEST] * 4, *other.Class]),
)
ARMS = st.tuples(
    st.integers(0, 3), st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)
)
PACKETS = st.tuples(
    ADDRESSES,
    st.one_of(CHECKS, CHECKS, st.sampled_from([rtp(1), dtls(), unsigned(), b"", b"junk"])),
    st.sampled_from([0.0, 0.1, 0.99, 1.0, 2.0]),
)
STEPS = st.lists(st.one_of(ARMS, PACKETS, PACKETS, PACKETS, ADDRESSES), max_size=40)


class Twins:
    """Both latches; every word of theirs is compared."""

    def __init__(self) -> None:
        self.python = IceLatch()
        self.native = _twins.IceLatch()
        self.now = 0.0

    def arm(self, generation: int, keys: list[IceKey]) -> None:
        evidence = Evidence(SourceAuth.ICE_INTEGRITY, FOREVER, REFUSED, keys=tuple(keys))
        armed = self.native.arm(
            generation, pack_networks(FOREVER), pack_networks(REFUSED), pack_keys(keys)
        )
        assert self.python.arm(generation, evidence) is armed

    def hear(self, source: TransportAddress, datagram: bytes) -> None:
        verdict = self.python.observe(source, classify(datagram), datagram, self.now)
        assert self.native.observe(pack(source), datagram, self.now) == verdict

    def agree(self) -> None:
        assert self._address(self.native.source()) == self.python.source
        destination = self.native.where_to_ask(self.now)
        assert self._address(destination) == self.python.where_to_ask(self.now)
        for number in range(6):
            transaction = b"transaction" + bytes([number])
            asker = self._address(self.native.asker(transaction))
            assert asker == self.python.asker(transaction)

    @staticmethod
    def _address(packed: bytes | None) -> TransportAddress | None:
        return None if packed is None else unpack(packed)


@settings(max_examples=400)
@given(STEPS)
def test_both_latches_judge_alike(steps: list[tuple[object, ...] | TransportAddress]) -> None:
    twins = Twins()
    twins.arm(0, KEYS[:1])
    for step in steps:
        match step:
            case (int(generation), list(keys)):
                twins.arm(generation, keys)
            case (TransportAddress() as source, bytes(datagram), float(later)):
                twins.now += later
                twins.hear(source, datagram)
            case TransportAddress() as source:
                moved = twins.native.nominated(pack(source), twins.now)
                assert twins.python.nominated(source, twins.now) is moved
        twins.agree()


def test_both_forget_alike() -> None:
    """More sources and transactions than either keeps."""
    twins = Twins()
    twins.arm(0, KEYS[:1])
    home = TransportAddress.of("192.0.2.1", 1)
    twins.hear(home, check("B:A", "p", nominates=True, transaction=b"transaction\0"))
    for number in range(3 * TRANSACTIONS):
        twins.now += 0.001
        source = TransportAddress.of("192.0.2.9", number % (2 * SOURCES) + 1)
        twins.hear(source, check("B:A", "p", transaction=b"%012d" % number))
        twins.agree()
    for port in range(2 * SOURCES):
        twins.hear(TransportAddress.of("192.0.2.9", port + 1), rtp(1))
        twins.agree()


def test_both_resume_alike() -> None:
    twins = Twins()
    twins.arm(0, KEYS[:1])
    home = TransportAddress.of("192.0.2.1", 1)
    twins.python.resume(home, 0.0)
    twins.native.resume(pack(home), 0.0)
    twins.agree()
    twins.hear(home, rtp(1))


def damaged(datagram: bytes, bits: list[int], end: int) -> bytes:
    whole = bytearray(datagram)
    for bit in bits:
        whole[bit // 8 % len(whole)] ^= 1 << bit % 8
    return bytes(whole[:end])


DAMAGED = st.builds(
    damaged, CHECKS, st.lists(st.integers(0, 8 * 120), max_size=3), st.integers(0, 200)
)


@settings(max_examples=500)
@given(st.one_of(CHECKS, DAMAGED, st.binary(max_size=64)))
def test_both_read_messages_alike(datagram: bytes) -> None:
    message = stun.parse(datagram)
    theirs = _twins.parse_stun(datagram)
    if message is None:
        assert theirs is None
        return
    assert theirs == (
        message.kind,
        message.transaction,
        message.username,
        message.nominates,
        message.integrity_at,
        message.role,
        message.tie_breaker,
        message.error,
    )
    for key in KEYS:
        password = key.password.encode()
        signed = stun.is_signed(datagram, message, password)
        assert _twins.is_signed(datagram, password) is signed


@settings(max_examples=300)
@given(st.text("abcXYZ09+/", min_size=1, max_size=200), st.integers(0, 150))
def test_both_verify_alike_whatever_the_lengths(password: str, padding: int) -> None:
    """Keys longer than a block of SHA-1, and messages that end anywhere in one."""
    datagram = check("u" * (padding + 1), password)
    message = stun.parse(datagram)
    assert message is not None
    assert stun.is_signed(datagram, message, password.encode())
    assert _twins.is_signed(datagram, password.encode())
    assert not _twins.is_signed(datagram, password.encode() + b"x")
