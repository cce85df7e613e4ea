"""Ports: even and odd, random, reserved before promised, quarantined after use."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.ports import SHUN_S, WATCHED, Lease, PortPool

INTERFACE = Interface(ip_address("192.0.2.9"), ip_address("203.0.113.9"))


def pool(first: int = 2000, last: int = 2009) -> PortPool:
    return PortPool([INTERFACE], first, last, random.Random(7).randrange)


@pytest.mark.parametrize("seed", range(10))
def test_what_was_given_back_last_is_leased_last(seed: int) -> None:
    """Who still sends to it sends to no other call."""
    ports = PortPool([INTERFACE], 2000, 2199, random.Random(seed).randrange)
    given_back = [ports.lease(INTERFACE, 0) for _ in range(40)]
    for lease in given_back:
        ports.abandon(lease)
    assert ports.counts.free == 200
    assert not {ports.lease(INTERFACE, 0) for _ in range(20)} & set(given_back)
    assert len({ports.lease(INTERFACE, 0) for _ in range(80)}) == 80
    with pytest.raises(NoPorts):
        ports.lease(INTERFACE, 0)


@pytest.mark.rule("J12")
def test_rtp_is_even_and_rtcp_the_next_and_both_are_advertised_elsewhere() -> None:
    lease = pool(2001).lease(INTERFACE, 0)
    assert lease.bound(1).port % 2 == 0
    assert lease.bound(2).port == lease.bound(1).port + 1
    assert lease.advertised(1) == TransportAddress.of("203.0.113.9", lease.bound(1).port)


def test_every_pair_is_leased_once_and_then_there_are_none() -> None:
    ports = pool()
    leases = {ports.lease(INTERFACE, 0) for _ in range(5)}
    assert len(leases) == 5
    with pytest.raises(NoPorts, match=r"widen relay\.ports"):
        ports.lease(INTERFACE, 0)


def test_the_last_port_of_the_range_is_used_only_with_the_one_before_it() -> None:
    assert pool(2000, 2008).counts.free == 8
    assert pool(2001, 2009).counts.free == 8


def test_the_choice_is_the_chooser_s() -> None:
    asked: list[int] = []

    def choose(n: int) -> int:
        asked.append(n)
        return n - 1

    ports = PortPool([INTERFACE], 2000, 2009, choose)
    assert ports.lease(INTERFACE, 0).port == 2008
    assert asked == [5]


def test_a_retired_pair_is_free_when_both_ports_are() -> None:
    ports = pool()
    lease = ports.lease(INTERFACE, 0)
    ports.retire(lease)
    assert ports.counts.quarantined == 2
    ports.freed(lease.bound(1))
    ports.freed(lease.bound(1))
    assert ports.counts.quarantined == 2
    assert ports.draining == [lease.bound(2)]
    ports.freed(lease.bound(2))
    assert ports.counts.free == 10


def test_a_pair_of_another_process_is_left_alone_for_a_while() -> None:
    ports = pool(2000, 2001)
    ports.shun(ports.lease(INTERFACE, 0), 0)
    with pytest.raises(NoPorts):
        ports.lease(INTERFACE, SHUN_S - 1)
    assert ports.lease(INTERFACE, SHUN_S).port == 2000


def test_a_lease_has_one_owner() -> None:
    ports = pool()
    address = TransportAddress(INTERFACE.bound, 2005)
    assert ports.claim(address) == Lease(INTERFACE, 2004)
    assert ports.claim(address) is None
    assert ports.claim(TransportAddress(INTERFACE.bound, 2004)) is None
    assert ports.counts.leased == 2
    assert ports.claim(TransportAddress(INTERFACE.bound, 4000)) is None
    assert ports.claim(TransportAddress.of("198.51.100.1", 2004)) is None


def test_what_the_plane_has_bound_for_no_call_is_given_to_nobody_until_it_is_freed() -> None:
    ports = pool(2000, 2001)
    first, second = (TransportAddress(INTERFACE.bound, port) for port in (2000, 2001))
    ports.quarantine(first)
    ports.quarantine(second)
    assert ports.counts.quarantined == 2
    assert ports.claim(first) is None
    ports.freed(first)
    ports.freed(second)
    assert ports.counts.free == 2


def test_what_a_call_has_is_not_quarantined_and_what_drains_is_not_given_back() -> None:
    ports = pool(2000, 2001)
    lease = ports.lease(INTERFACE, 0)
    ports.quarantine(lease.bound(1))
    assert (ports.counts.leased, ports.counts.quarantined) == (2, 0)
    ports.retire(lease)
    ports.abandon(lease)
    assert (ports.counts.leased, ports.counts.quarantined, ports.counts.free) == (0, 2, 0)


class Leasing(RuleBasedStateMachine):
    """No pair is ever in two states."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool(2000, 2039)
        self.leased: list[Lease] = []
        self.retired: list[Lease] = []
        self.now = 0.0

    @rule()
    def lease(self) -> None:
        try:
            lease = self.pool.lease(INTERFACE, self.now)
        except NoPorts:
            assert self.pool.counts.free == 0
            return
        assert lease not in self.leased
        assert lease not in self.retired
        self.leased.append(lease)

    @precondition(lambda self: self.leased)
    @rule(how=st.sampled_from(["abandon", "shun", "retire"]), data=st.data())
    def give_back(self, how: str, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leased))
        self.leased.remove(lease)
        if how == "abandon":
            self.pool.abandon(lease)
        elif how == "shun":
            self.pool.shun(lease, self.now)
        else:
            self.pool.retire(lease)
            self.retired.append(lease)

    @precondition(lambda self: self.retired)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.retired))
        self.retired.remove(lease)
        for component in (2, 1):
            self.pool.freed(lease.bound(component))

    @rule(seconds=st.sampled_from([1.0, SHUN_S]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_add_up(self) -> None:
        counts = self.pool.counts
        assert counts.leased == 2 * len(self.leased)
        assert counts.quarantined == 2 * len(self.retired)
        assert counts.free + counts.leased + counts.quarantined + counts.shunned == 40


TestLeasing = Leasing.TestCase
TestLeasing.settings = settings(max_examples=100, deadline=None)


def test_some_pairs_of_a_large_range_are_watched_and_never_leased() -> None:
    range_ = PortPool([INTERFACE], 2000, 3999, lambda n: n - 1)
    watched = range_.watch()
    assert len(watched) == WATCHED
    assert range_.watch() == watched
    leased = {range_.lease(INTERFACE, 0.0) for _ in range(1000 - WATCHED)}
    assert leased.isdisjoint(watched)
    with pytest.raises(NoPorts):
        range_.lease(INTERFACE, 0.0)


def test_a_small_range_is_for_calls_alone() -> None:
    range_ = PortPool([INTERFACE], 2000, 2099, lambda n: 0)
    assert range_.watch() == ()
