"""The relay's own addresses, and which of them faces a party.

A relay may stand in several networks at once: a public one and an office's own, IPv4 and IPv6.
Each leg of a call gets the address that its party can reach (media-path-middleboxes section 4,
RFC 7362 section 4).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.model.address import IPAddress, IPNetwork, TransportAddress

NO_MATCH, ANYBODY = -2, -1
"""How close an interface is that is kept for others, and one that is for everybody."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of the relay: where sockets are bound, and what parties are told instead.

    `port_offset` is added to a bound port to get the advertised one (a port range forwarded to
    another one); it is even, so that RTP stays on an even port. `networks` are those whose parties
    this interface faces; one without networks faces everybody else.
    """

    bound: IPAddress
    advertised: IPAddress
    port_offset: int = 0
    networks: tuple[IPNetwork, ...] = ()

    def told(self, port: int) -> TransportAddress:
        """What parties are told of a bound port."""
        return TransportAddress(self.advertised, port + self.port_offset)

    def closeness(self, addresses: Iterable[IPAddress]) -> int:
        """The longest prefix of a network of this interface's in which one of the addresses is."""
        if not self.networks:
            return ANYBODY
        prefixes = (
            network.prefixlen
            for ip in addresses
            for network in self.networks
            if ip.version == network.version and ip in network
        )
        return max(prefixes, default=NO_MATCH)


def facing(
    interfaces: Sequence[Interface], version: int | None, addresses: Sequence[IPAddress]
) -> list[Interface]:
    """The interfaces that may face a party of this IP version and these addresses: the closest.

    All of another version where there is none of this one. One that is kept for other networks is
    better than none.
    """
    able = [i for i in interfaces if i.bound.version == version] or list(interfaces)
    if len(able) == 1:
        return able
    closest = max(interface.closeness(addresses) for interface in able)
    return [interface for interface in able if interface.closeness(addresses) == closest]
