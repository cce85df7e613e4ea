"""Who may teach a latch: the ladder of authenticity, and the evidence in force for one leg.

A latch is only as trustworthy as what is known of the party before its first packet. The rungs
order that knowledge; the rung in force is named per leg, logged and measured.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from jingle_hnt.model.address import IPAddress, IPNetwork
from jingle_hnt.model.content import TagKey


class Rung(StrEnum):
    """The ladder, strongest first."""

    R1 = "R1"  # STUN message integrity with the signalled ice-pwd (RFC 8445)
    R2 = "R2"  # an SRTP tag made with the signalled SDES keys (RFC 4568)
    R3 = "R3"  # the address the party's XMPP connection comes from (RFC 7362 section 4, restricted)
    R4 = "R4"  # the public address the party signalled as its candidate
    R5 = "R5"  # nothing is known: probation only, and none wins while two compete


PROBATION_PACKETS = 5
"""Packets in sequence that an unproven source sends before it is believed."""


@dataclass(frozen=True, slots=True)
class IceKey:
    """What a check is named and signed with: USERNAME and the other party's pwd (RFC 8445)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a source must show to teach a latch.

    `sources` are the networks it must come from, `refused` the networks it must not come from
    (checked first), `probation` the packets in sequence it must send (1 to 255). Where there are
    `keys`, nothing but a check made with one of them is evidence (R1); the newest is first. Where
    there are `tags`, nothing but an SRTP packet signed with one of them is (R2).
    `several` says that the party sends several RTP streams to one port, so that its first one does
    not tell which others are its own.
    """

    rung: Rung
    sources: tuple[IPNetwork, ...]
    refused: tuple[IPNetwork, ...] = ()
    probation: int = 1
    keys: tuple[IceKey, ...] = ()
    several: bool = False
    tags: tuple[TagKey, ...] = ()

    def admits(self, ip: IPAddress) -> bool:
        """Whether a packet from this address may count at all."""
        return not _within(ip, self.refused) and _within(ip, self.sources)

    def for_reports(self) -> "Evidence":
        """The same at a port for RTCP alone, where RTP that was copied from its own is no proof."""
        tags = tuple(replace(tag, rtp=tag.rtcp) for tag in self.tags)
        return replace(self, tags=tags) if tags else self


def _within(ip: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)
