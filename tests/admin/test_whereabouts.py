"""What `check` makes of where users come from."""

from ipaddress import ip_address, ip_network

import pytest

from jingle_hnt.admin import whereabouts
from jingle_hnt.admin.whereabouts import Whereabouts
from jingle_hnt.model.jid import JID

RELAY = (ip_address("203.0.113.9"),)


def user(number: int) -> JID:
    return JID.of(f"u{number}@example.org/phone")


def seen(*addresses: str) -> Whereabouts:
    made = Whereabouts()
    for number, address in enumerate(addresses):
        made.seen(user(number), ip_address(address))
        made.seen(user(number), None)
    return made


@pytest.mark.parametrize("behind", ["172.18.0.1", "127.0.0.1", "192.168.1.1"])
def test_users_who_all_come_from_one_private_address_are_behind_something(behind: str) -> None:
    (warned,) = seen(*[behind] * 3).findings(RELAY, ())
    assert warned.verdict == "warn"
    assert "Have the XMPP server see their addresses" in warned.text
    assert f'proxies = ["{behind}/32"]' in warned.text
    assert list(seen(*[behind] * 3).findings(RELAY, (ip_network(f"{behind}/32"),))) == []
    assert list(seen(*[behind] * 2).findings(RELAY, ())) == []
    assert list(seen(*[behind] * 3, "198.51.100.1").findings(RELAY, ())) == []
    assert list(seen(*["198.51.100.1"] * 3).findings(RELAY, ())) == []


def test_users_of_a_version_that_the_relay_lacks_are_counted() -> None:
    made = seen("198.51.100.1", "2001:db8::1", "2001:db8::2")
    (warned,) = made.findings(RELAY, ())
    assert warned.subject == "users of IPv6"
    assert warned.text.startswith("2 of the last 3 come by IPv6")
    assert warned.text.endswith("add one to relay.interfaces")
    assert list(made.findings((*RELAY, ip_address("2001:db8::9")), ())) == []
    (warned,) = made.findings((ip_address("2001:db8::9"),), ())
    assert warned.subject == "users of IPv4"


def test_the_last_ones_count_each_once() -> None:
    made = seen("192.168.1.1", "192.168.1.1", "192.168.1.1")
    made.seen(user(0), ip_address("198.51.100.1"))
    assert list(made.findings(RELAY, ())) == []
    for number in range(whereabouts.REMEMBERED):
        made.seen(user(number), ip_address("10.0.0.1"))
    (warned,) = made.findings(RELAY, ())
    assert f"last {whereabouts.REMEMBERED} come from 10.0.0.1" in warned.text
