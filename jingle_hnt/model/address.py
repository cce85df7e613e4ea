"""Transport addresses: an IP address literal and a port (RFC 8445 section 4)."""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, order=False)
class TransportAddress:
    """An IP address and a UDP port, 1 to 65535.

    Raises ValueError for a port out of range.
    """

    ip: IPAddress
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not between 1 and 65535")

    @classmethod
    def of(cls, ip: str, port: int) -> "TransportAddress":
        """The transport address of an IP *literal* (no host names, no zone) and a port.

        A v4-mapped IPv6 address (RFC 4291 section 2.5.5.2) becomes the IPv4 address it stands for.
        Raises ValueError where the literal or the port is none.
        """
        return cls(literal(ip), port)

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


def literal(text: str) -> IPAddress:
    """The address a literal stands for, v4-mapped addresses unwrapped.

    Only the canonical dotted and colon forms are taken: octal, hexadecimal and shortened IPv4
    forms, host names and zone ids raise ValueError, so that two readers cannot disagree about the
    address that was checked and the address that was used.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} has a zone id")
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


def host_network(ip: IPAddress) -> IPNetwork:
    """The network that holds this address only (/32 or /128)."""
    return ip_network(ip)
