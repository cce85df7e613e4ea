"""Which address of the relay faces which party."""

import random
from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.relay.interfaces import Interface, facing
from jingle_hnt.relay.ports import PortPool

PUBLIC = Interface(ip_address("203.0.113.9"), ip_address("203.0.113.9"))
SECOND = Interface(ip_address("203.0.113.10"), ip_address("203.0.113.10"))
SIX = Interface(ip_address("2001:db8::9"), ip_address("2001:db8::9"))
OFFICE = Interface(
    ip_address("10.0.0.9"), ip_address("10.0.0.9"), networks=(ip_network("10.0.0.0/8"),)
)
BRANCH = Interface(
    ip_address("10.1.0.9"), ip_address("10.1.0.9"), networks=(ip_network("10.1.0.0/16"),)
)
ALL = (PUBLIC, SIX, OFFICE, BRANCH)


@pytest.mark.rule("L2", "G8")
@pytest.mark.parametrize(
    ("version", "addresses", "faces"),
    [
        (4, ["8.8.8.8"], PUBLIC),
        (4, [], PUBLIC),
        (4, ["10.2.3.4"], OFFICE),
        (4, ["10.1.3.4"], BRANCH),
        (6, ["2001:db8:1::5"], SIX),
        (6, ["10.1.3.4"], SIX),
        (4, ["2001:db8:1::5"], PUBLIC),
        (None, ["10.1.3.4"], BRANCH),
    ],
)
def test_the_closest_interface_of_the_family_faces_a_party(
    version: int | None, addresses: list[str], faces: Interface
) -> None:
    assert facing(ALL, version, [ip_address(a) for a in addresses]) == [faces]


def test_an_interface_is_as_close_as_the_narrowest_of_its_networks() -> None:
    wide = Interface(OFFICE.bound, OFFICE.bound, networks=(ip_network("10.0.0.0/12"),))
    both = Interface(
        BRANCH.bound, BRANCH.bound, networks=(ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16"))
    )
    assert facing([wide, both], 4, [ip_address("10.1.3.4")]) == [both]


def test_one_kept_for_others_is_better_than_none() -> None:
    assert facing([OFFICE], 4, [ip_address("8.8.8.8")]) == [OFFICE]
    assert facing([PUBLIC], 6, []) == [PUBLIC]


def test_interfaces_that_are_as_good_share_the_calls() -> None:
    ports = PortPool([PUBLIC, SECOND], 2000, 2003, random.Random(7).randrange)
    leases = [ports.lease_towards(4, [], 0) for _ in range(4)]
    assert sorted(str(lease.interface.bound) for lease in leases) == (
        ["203.0.113.10"] * 2 + ["203.0.113.9"] * 2
    )
    with pytest.raises(NoPorts):
        ports.lease_towards(4, [], 0)


def test_parties_may_be_told_another_address_and_other_ports() -> None:
    forwarded = Interface(PUBLIC.bound, ip_address("198.51.100.1"), port_offset=10000)
    lease = PortPool([forwarded], 2000, 2001, lambda _: 0).lease_towards(4, [], 0)
    assert lease.bound(2) == TransportAddress.of("203.0.113.9", 2001)
    assert lease.advertised(2) == TransportAddress.of("198.51.100.1", 12001)


def test_a_changed_advertised_address_is_for_new_leases() -> None:
    ports = PortPool([PUBLIC], 2000, 2003, lambda _: 0)
    before = ports.lease_towards(4, [], 0)
    ports.readvertise([Interface(PUBLIC.bound, ip_address("198.51.100.1"))])
    after = ports.lease_towards(4, [], 0)
    assert str(before.advertised(1).ip) == "203.0.113.9"
    assert str(after.advertised(1).ip) == "198.51.100.1"
    ports.abandon(before)
    assert ports.claim(before.bound(1)) == before
    for lease in (before, after):
        ports.abandon(lease)
    assert ports.counts.free == 4
    with pytest.raises(ValueError, match="after a restart"):
        ports.readvertise([SECOND])


def test_one_address_is_told_differently_to_each_network() -> None:
    """A host without hairpin: users of the LAN are told its own address, others the public one."""
    lan = Interface(OFFICE.bound, OFFICE.bound, networks=OFFICE.networks)
    wide = Interface(OFFICE.bound, PUBLIC.bound)
    ports = PortPool([wide, lan], 2000, 2007, random.Random(7).randrange)
    near = ports.lease_towards(4, [ip_address("10.2.3.4")], 0)
    far = ports.lease_towards(4, [ip_address("8.8.8.8")], 0)
    assert near.advertised(1).ip == OFFICE.bound
    assert far.advertised(1).ip == PUBLIC.bound
    assert near.bound(1) != far.bound(1)
    assert ports.counts.free + ports.counts.leased == 8
    other = PortPool([wide, lan], 2000, 2007, random.Random(8).randrange)
    for lease in (near, far):
        again = other.claim(lease.bound(1), lease.advertised(1))
        assert again == lease
        assert again is not None
        assert again.interface == lease.interface
