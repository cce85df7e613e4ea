"""The relay's own ICE agent in C is that in Python: both are told the same, byte for byte."""

import pytest
from aioice import stun as other
from hypothesis import given, settings
from hypothesis import strategies as st

from jingle_hnt.model.address import TransportAddress
from jingle_hnt.plane.native import pack, pack_checks, unpack
from jingle_hnt.relay import stun
from jingle_hnt.relay.ice_agent import TARGETS, Checks, IceAgent
from tests.plane import _twins
from tests.plane.checks import believed, check

pytestmark = pytest.mark.native

ADDRESSES = st.builds(
    TransportAddress.of, st.sampled_from(["192.0.2.1", "2001:db8::1"]), st.integers(1, 3)
)
CHECKS = st.builds(
    Checks,
    username=st.sampled_from(["B:A", "B2:A2"]),
    password=st.sampled_from(["p", "x" * 100]),
    secret=st.sampled_from(["s", "t" * 80]),
    tie_breaker=st.sampled_from([0, 7, (1 << 64) - 1]),
    controlling=st.booleans(),
    targets=st.lists(ADDRESSES, max_size=4, unique=True).map(tuple),
)
ASKED = st.tuples(
    st.sampled_from([None, "ICE-CONTROLLED", "ICE-CONTROLLING"]), st.integers(5, 9), ADDRESSES
)
ANSWERED = st.tuples(
    st.sampled_from([None, None, None, 487, 401]),
    st.sampled_from([True, True, True, False]),
    st.integers(0, 3),
)
TICKS = st.tuples(
    st.one_of(st.none(), ADDRESSES), st.sampled_from([0.0, 0.1, 0.1, 0.5, 3.0, 6.0, 31.0])
)
STEPS = st.lists(
    st.one_of(
        CHECKS,
        st.tuples(st.just("asked"), ASKED),
        st.tuples(st.just("answered"), ANSWERED),
        st.tuples(st.just("answered"), ANSWERED),
        st.tuples(st.just("tick"), TICKS),
        st.tuples(st.just("tick"), TICKS),
    ),
    max_size=50,
)


class Twins:
    """Both agents; every message of theirs is compared. `sent` is what they asked of late."""

    def __init__(self) -> None:
        self.python = IceAgent()
        self.native = _twins.IceAgent()
        self.password = ""
        self.sent: list[tuple[TransportAddress, bytes]] = []
        self.now = 100.0

    def arm(self, checks: Checks) -> None:
        self.password = checks.password
        self.python.arm(checks, self.now)
        self.native.arm(pack_checks(checks), self.now)

    def asked(self, role: str | None, tie_breaker: int, source: TransportAddress) -> None:
        datagram = check("A:B", "ours", role=role, tie_breaker=tie_breaker)
        message = stun.parse(datagram)
        assert message is not None
        expected = self.python.answer(message, source, "ours", self.now)
        assert self.native.answer(datagram, pack(source), b"ours", self.now) == expected
        believed(expected, b"ours")

    def answered(self, error: int | None, is_signed: bool, number: int) -> None:
        if not self.sent:
            return
        source, asked = self.sent[-1 - number % len(self.sent)]
        kind = other.Class.RESPONSE if error is None else other.Class.ERROR
        password = self.password if is_signed else "another"
        datagram = check("", password, transaction=asked[8:20], kind=kind, error=error)
        message = stun.parse(datagram)
        assert message is not None
        heard = self.python.hear(message, datagram, source, self.now)
        assert self.native.hear(datagram, pack(source), self.now) == heard

    def tick(self, selected: TransportAddress | None, later: float) -> None:
        self.now += later
        packed = None if selected is None else pack(selected)
        if selected is not None and packed is not None:
            lost = self.python.has_lost(selected, self.now)
            assert self.native.has_lost(packed, self.now) is lost
        sent = self.python.tick(selected, self.now)
        native = self.native.tick(packed, self.now)
        assert [(unpack(to), datagram) for to, datagram in native] == sent
        for _, datagram in sent:
            believed(datagram, self.password.encode())
        self.sent = (self.sent + sent)[-4:]


@settings(max_examples=400)
@given(CHECKS, STEPS)
def test_both_agents_say_the_same(
    first: Checks, steps: list[Checks | tuple[str, tuple[object, ...]]]
) -> None:
    twins = Twins()
    twins.arm(first)
    for step in steps:
        if isinstance(step, Checks):
            twins.arm(step)
        else:
            getattr(twins, step[0])(*step[1])


def test_both_make_room_alike() -> None:
    """More addresses than either keeps, some of them valid."""
    twins = Twins()
    targets = tuple(TransportAddress.of("192.0.2.1", n + 1) for n in range(TARGETS))
    twins.arm(Checks("B:A", "p", "s", 7, False, targets))
    for port in range(2 * TARGETS):
        twins.tick(None, 0.1)
        twins.answered(None, port % 3 == 0, 0)
        twins.asked("ICE-CONTROLLING", 5, TransportAddress.of("192.0.2.2", port + 1))
