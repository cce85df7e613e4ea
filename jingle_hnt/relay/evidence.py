"""Source authentication: what a source must show before a latch accepts it.

A latch is only as trustworthy as what is known of the party before its first packet. `SourceAuth`
orders that knowledge; the kind in force is shown for each leg, logged and counted.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from jingle_hnt.model.address import IPAddress, IPNetwork
from jingle_hnt.model.content import TagKey


class SourceAuth(StrEnum):
    """How a source is authenticated, strongest first."""

    # STUN message integrity with the signalled ice-pwd (RFC 8445)
    ICE_INTEGRITY = "ice-integrity"
    # an SRTP tag made with the signalled SDES keys (RFC 4568)
    SRTP_AUTH = "srtp-auth"
    # the address that the party's XMPP connection comes from (RFC 7362 section 5, restricted)
    SIGNALLING_ADDRESS = "signalling-address"
    # a public address that the party signalled as its candidate
    CANDIDATE_ADDRESS = "candidate-address"
    # nothing is known: packets in sequence are counted, and none wins while two compete
    PROBATION = "probation"


class Via(StrEnum):
    """How a server came by a user's address: by which kind of connection."""

    TCP = "tcp"  # the connection is there now, and the address is its other end
    WEBSOCKET = "websocket"  # often of a reverse proxy, which says where its client is
    BOSH = "bosh"  # of one HTTP request among many: the next may come from elsewhere
    HIBERNATING = "hibernating"  # its connection is gone (XEP-0198), and where it was is told
    EARLIER = "earlier"  # of an earlier connection of the same user


@dataclass(frozen=True, slots=True)
class Sighting:
    """An address that a server has seen a user at, `age_s` seconds before it said so.

    It is *sure* where it is the other end of a connection that is there now. Any other is a weaker
    piece of evidence: it may speed a latch up, and is never the only way in.
    """

    ip: IPAddress
    via: Via = Via.TCP
    age_s: float = 0.0

    @property
    def is_sure(self) -> bool:
        """Whether the user is there now, for all that its server knows."""
        return self.via is Via.TCP and self.age_s <= 0


MOST_SIGHTINGS = 4
"""Weaker addresses of one party that are kept; the oldest makes room."""

LONGEST_AGE_S = 86400.0
"""After that an address says nothing of where a user is."""

PROBATION_PACKETS = 5
"""Packets in sequence that an unproven source sends before it is believed."""

LAPSE_S = 3.0
"""How long a party is silent before another port and stream may be its own."""


@dataclass(frozen=True, slots=True)
class IceKey:
    """What a check is named and signed with: USERNAME and the other party's pwd (RFC 8445).

    A username that ends with a colon is that of an agent which has not said its own name yet: it
    knows the pwd that it was offered, and may check before it answers (section 7.3).
    """

    username: str
    password: str = field(repr=False)

    @property
    def is_early(self) -> bool:
        """Whether the agent that makes checks with it has yet to say its name."""
        return self.username.endswith(":")

    def names(self, username: bytes) -> bool:
        """Whether a check of this USERNAME is of that agent."""
        own = self.username.encode()
        return username.startswith(own) if self.is_early else username == own

    def is_same_agents(self, before: "IceKey") -> bool:
        """Whether it is the same one's, who may have said its name meanwhile."""
        same = before.names(self.username.encode()) or before.username == self.username
        return same and before.password == self.password


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a source must show to teach a latch.

    `sources` are the networks it must come from, `refused` the networks it must not come from
    (checked first), `probation` the packets in sequence it must send (1 to 255); `likely` are the
    networks among the sources from which the first packet is enough. Where there are `keys`, only
    a check made with one of them is evidence (`ice-integrity`); the newest is first. Where there
    are `tags`, only an SRTP packet signed with one of them is (`srtp-auth`).
    `several` says that the party sends several RTP streams to one port, so that its first one does
    not tell which others are its own. `reports` says that the port is for RTCP alone. `lapse_s` is
    how long (seconds, at least 1) a party that was learned by clear RTP is silent before another
    source that the evidence admits may follow it without carrying on its stream. `events` are the
    payload types (0 to 127) by which the party signals key presses (RFC 4733): they may come as a
    stream of their own beside its media.
    """

    source_auth: SourceAuth
    sources: tuple[IPNetwork, ...]
    refused: tuple[IPNetwork, ...] = ()
    probation: int = 1
    keys: tuple[IceKey, ...] = ()
    several: bool = False
    tags: tuple[TagKey, ...] = ()
    likely: tuple[IPNetwork, ...] = ()
    reports: bool = False
    lapse_s: float = LAPSE_S
    events: tuple[int, ...] = ()

    @property
    def is_untold(self) -> bool:
        """Whether its party has yet to be told of the port: who sends there is no party."""
        return not self.sources

    def asks_for_bars(self, ip: IPAddress) -> bool:
        """Whether a source at this address is believed only if it has not barred itself."""
        return self.probation > 1 and not _within(ip, self.likely)

    def packets_needed(self, ip: IPAddress) -> int:
        """How many packets in sequence a source at this address has to send (1 to 255)."""
        return 1 if self.is_likely(ip) else self.probation

    def is_likely(self, ip: IPAddress) -> bool:
        """Whether the party was seen at this address, or named it."""
        return _within(ip, self.likely)

    def is_weaker_than(self, other: "Evidence") -> bool:
        """Whether it proves less of a source than the other; not where they prove as much."""
        return _strength(self) > _strength(other)

    def admits(self, ip: IPAddress) -> bool:
        """Whether a packet from this address may count at all."""
        return not _within(ip, self.refused) and _within(ip, self.sources)

    def for_reports(self) -> "Evidence":
        """The same at a port for RTCP alone, where RTP that was copied from its own is no proof."""
        tags = tuple(replace(tag, rtp=tag.rtcp) for tag in self.tags)
        return replace(self, tags=tags, reports=True)


UNTOLD = Evidence(SourceAuth.PROBATION, (), probation=PROBATION_PACKETS)
"""Nobody is believed; who sends is noted (see `relay.barring`)."""


_ORDER = {source_auth: place for place, source_auth in enumerate(SourceAuth)}


def _strength(evidence: Evidence) -> tuple[int, bool]:
    """Return a key for comparison; the lesser is the stronger."""
    return _ORDER[
        evidence.source_auth
    ], evidence.source_auth is SourceAuth.PROBATION and not evidence.likely


def _within(ip: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)
