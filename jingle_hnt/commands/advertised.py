"""The advertised addresses of the relay, and what can be seen of them: a part of `check`."""

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from jingle_hnt.admin.snapshots import CheckFinding
from jingle_hnt.process.host_ports import bind_fault
from jingle_hnt.settings.model import InterfaceOptions, RelayOptions

TRIES = 20
"""Ports of the range that are tried until one is free."""

Address = IPv4Address | IPv6Address

PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""What a home, a company, or a carrier's customers have (RFC 1918, RFC 6598, RFC 4193)."""


def advertised(interface: InterfaceOptions) -> Address:
    """Return the advertised address of an interface."""
    return interface.advertise or interface.address


def is_private(ip: Address) -> bool:
    """Return whether an address is one of `PRIVATE`."""
    return any(ip.version == network.version and ip in network for network in PRIVATE)


def advertised_findings(relay: RelayOptions) -> Iterator[CheckFinding]:
    """Report advertised addresses that cannot work; nothing about those that may."""
    for interface in relay.interfaces:
        ip, subject = advertised(interface), f"advertised address {advertised(interface)}"
        if ip.is_loopback or ip.is_link_local:
            kind = "a loopback address" if ip.is_loopback else "a link-local address"
            text = f"is {kind}, and no party can send to it; write this host's own address"
            yield CheckFinding(verdict="FAIL", subject=subject, text=text)
        elif is_private(ip) and not interface.networks and not _is_allowed(relay, ip):
            text = (
                "is private: users outside of its network cannot send to it; write the public one"
                f' as {{ address = "{interface.address}", advertise = "(the public one)" }}, or,'
                " where all callers are inside, list their networks in relay.allow_networks"
            )
            yield CheckFinding(verdict="warn", subject=subject, text=text)


def _is_allowed(relay: RelayOptions, ip: Address) -> bool:
    return any(ip.version == n.version and ip in n for n in relay.allow_networks)


def free_port(relay: RelayOptions, interface: InterfaceOptions) -> int | None:
    """A port of the range that can be bound now; None where none was found."""
    first, last = relay.port_range
    ports = random.sample(range(first, last + 1), min(TRIES, last + 1 - first))
    return next((p for p in ports if bind_fault(str(interface.address), p) is None), None)
