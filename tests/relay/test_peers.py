"""Who may be a peer, and what is believed of where a party is (threats: reflection, S1)."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jingle_hnt.model.address import IPNetwork, TransportAddress, literal
from jingle_hnt.model.content import Candidate, CandidateType, TagKey
from jingle_hnt.relay.evidence import Evidence, IceKey, SourceAuth
from jingle_hnt.relay.policy import NEVER, SIGNALLED_SOURCES, PeerPolicy

TAG = TagKey("1" * 40, "2" * 40)

NOBODY = """
127.0.0.1 127.255.0.9 0.0.0.0 0.1.2.3 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1
169.254.169.254 192.0.0.1 198.18.0.1 198.19.255.1 224.0.0.1 239.1.2.3 240.0.0.1 255.255.255.255
192.0.2.1 198.51.100.1 203.0.113.1
:: ::1 fe80::1 febf::1 fc00::1 fdff::1 fec0::1 ff02::1 ::127.0.0.1 ::10.0.0.1 2002:7f00:1::
64:ff9b::7f00:1 64:ff9b:1::1 2001::1 100::1 2001:db8::1
"""


@pytest.mark.parametrize("text", NOBODY.split())
def test_these_are_never_a_peer(text: str) -> None:
    assert PeerPolicy().refuses(ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "192.1.2.3", "2a00:1450::1", "2606:4700::"])
def test_public_hosts_may_be(text: str) -> None:
    assert not PeerPolicy().refuses(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "2130706433",
        "::1%eth0",
        "evil.example",
        "",
        " 1.2.3.4",
        "1.2.3",
    ],
)
def test_forms_that_two_readers_could_read_differently_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        literal(text)


def test_a_mapped_address_is_judged_as_what_it_stands_for() -> None:
    assert literal("::ffff:127.0.0.1") == ip_address("127.0.0.1")
    assert PeerPolicy().refuses(literal("::ffff:10.0.0.1"))


def test_our_own_addresses_are_never_a_peer() -> None:
    policy = PeerPolicy(own=(ip_address("8.8.8.8"),), allow_networks=(ip_network("8.8.8.0/24"),))
    assert policy.refuses(ip_address("8.8.8.8"))
    assert not policy.refuses(ip_address("8.8.8.9"))


@given(st.sampled_from(NEVER), st.integers(0, 2**128))
def test_no_allow_list_overrides_what_is_never_a_peer(network: IPNetwork, number: int) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    policy = PeerPolicy(allow_networks=everything)
    assert policy.refuses(network[number % network.num_addresses])


@given(st.integers(0, 2**24 - 1), st.integers(8, 32))
def test_an_allowed_part_of_a_private_network_is_allowed_and_no_more(
    host: int, prefix: int
) -> None:
    allowed = IPv4Network((ip_address("10.0.0.0") + host, prefix), strict=False)
    policy = PeerPolicy(allow_networks=(allowed,))
    assert not policy.refuses(allowed[0])
    after = allowed.broadcast_address + 1
    if after in ip_network("10.0.0.0/8"):
        assert policy.refuses(after)


def offered(*ips: str) -> list[Candidate]:
    return [Candidate(1, 0, TransportAddress.of(ip, 5000)) for ip in ips]


def test_the_strongest_source_authentication_wins() -> None:
    policy = PeerPolicy()
    xmpp = ip_address("8.8.8.8")
    assert policy.evidence(4, xmpp, offered("1.1.1.1")).source_auth is SourceAuth.SIGNALLING_ADDRESS
    assert policy.evidence(4, None, offered("1.1.1.1", "10.0.0.1")).sources == (
        ip_network("1.1.1.1"),
    )
    assert policy.evidence(6, xmpp, offered("1.1.1.1")).source_auth is SourceAuth.PROBATION
    unknown = policy.evidence(4, None, offered("192.168.1.1"))
    assert unknown.source_auth is SourceAuth.PROBATION
    assert unknown.probation > 1
    assert not unknown.admits(ip_address("127.0.0.1"))
    assert unknown.admits(ip_address("9.9.9.9"))


def test_who_offers_a_relay_sends_from_there() -> None:
    policy = PeerPolicy()
    xmpp, relay = ip_address("8.8.8.8"), offered("1.1.1.1")[0]
    behind = replace(relay, type=CandidateType.RELAY)
    assert policy.evidence(4, xmpp, [behind]).sources == (ip_network("1.1.1.1"),)
    assert policy.evidence(4, xmpp, [behind, relay]).source_auth is SourceAuth.SIGNALLING_ADDRESS


@pytest.mark.rule("L8")
def test_first_packets_go_unasked_to_public_candidates_only_and_only_if_allowed() -> None:
    allowed, candidates = PeerPolicy(early_stream=True), offered("10.0.0.1", "1.1.1.1")
    public = candidates[1].address
    evidence = allowed.evidence(4, None, candidates)
    assert allowed.early(evidence, 1, candidates) == public
    assert allowed.early(evidence, 2, candidates) is None
    assert PeerPolicy().early(evidence, 1, candidates) is None
    for nothing in (
        allowed.evidence(4, None, offered("10.0.0.1")),
        allowed.evidence(4, ip_address("8.8.8.8"), candidates),
        allowed.evidence(4, ip_address("1.1.1.1"), candidates),
    ):
        assert allowed.early(nothing, 1, candidates) is None


def test_the_address_of_a_proxy_or_of_nobody_is_no_evidence() -> None:
    policy = PeerPolicy(proxies=(ip_network("8.8.8.0/24"),))
    for text in ("8.8.8.8", "10.0.0.1", "127.0.0.1"):
        assert policy.evidence(4, ip_address(text), ()).source_auth is SourceAuth.PROBATION


def test_a_signature_is_believed_from_wherever_a_peer_may_be() -> None:
    policy = PeerPolicy(own=(ip_address("8.8.8.8"),))
    for evidence in (policy.signed(4, (IceKey("a:b", "pwd"),)), policy.tagged(4, (TAG,))):
        assert evidence.admits(ip_address("1.1.1.1"))
        assert not evidence.admits(ip_address("8.8.8.8"))
        assert not evidence.admits(ip_address("127.0.0.1"))


def test_a_party_cannot_name_any_number_of_sources() -> None:
    many = offered(*(f"1.1.1.{n}" for n in range(1, 20)))
    assert len(PeerPolicy().evidence(4, None, many).sources) == SIGNALLED_SOURCES


def test_the_network_around_an_address_may_count() -> None:
    policy = PeerPolicy(widen_v4=24)
    assert policy.evidence(4, ip_address("8.8.8.8"), ()).admits(ip_address("8.8.8.200"))
    assert not PeerPolicy().evidence(4, ip_address("8.8.8.8"), ()).admits(ip_address("8.8.8.9"))


def test_a_device_that_takes_another_address_of_its_ipv6_network_is_the_party() -> None:
    """By default: a household has a /64, and its devices change in it each day (RFC 8981)."""
    evidence = PeerPolicy().evidence(6, ip_address("2606:4700:1:2::a"), ())
    assert evidence.admits(ip_address("2606:4700:1:2:d1e:90ff:fe00:1"))
    assert not evidence.admits(ip_address("2606:4700:1:3::a"))
    strict = PeerPolicy(widen_v6=128).evidence(6, ip_address("2606:4700:1:2::a"), ())
    assert not strict.admits(ip_address("2606:4700:1:2::b"))


def test_source_authentication_has_an_order() -> None:
    """Strongest first, and not the order of the words."""
    kinds = [Evidence(kind, ()) for kind in SourceAuth]
    for number, stronger in enumerate(kinds):
        assert not any(stronger.is_weaker_than(other) for other in kinds[number:])
        assert all(other.is_weaker_than(stronger) for other in kinds[number + 1 :])
