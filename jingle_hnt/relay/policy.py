"""Who may be a peer of the relay, and what is believed of where a party sends from.

A relay that sends wherever it is told is a weapon: candidates that name loopback, the relay itself
or an operator's internal network turn it against them. Addresses are compared as values, never as
text, after `model.address.literal` has refused every form that two readers could read differently.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from jingle_hnt.model.address import IPAddress, IPNetwork, TransportAddress, host_network
from jingle_hnt.model.content import Candidate, CandidateType, TagKey
from jingle_hnt.relay.evidence import LAPSE_S, PROBATION_PACKETS, Evidence, IceKey, SourceAuth


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


NEVER = _networks(
    "0.0.0.0/8",  # this network (RFC 791)
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, and the metadata services that live there
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and limited broadcast
    "::/96",  # unspecified, loopback and v4-compatible (deprecated, RFC 4291)
    "::ffff:0:0/96",  # v4-mapped: the IPv4 address is judged instead
    "64:ff9b::/96",  # NAT64: an IPv4 address in disguise (RFC 6052)
    "64:ff9b:1::/48",
    "2001::/32",  # Teredo: likewise (RFC 4380)
    "2002::/16",  # 6to4: likewise (RFC 3056)
    "fe80::/10",  # link-local
    "fec0::/10",  # site-local (deprecated)
    "ff00::/8",  # multicast
)
"""Networks that are never a peer; no allow-list overrides them."""

NOT_GLOBAL = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
)
"""Networks that are not globally reachable (IANA special-purpose registries); an operator may list
parts of them as peers, such as the LAN of an office deployment."""

SIGNALLED_SOURCES = 4
"""Addresses of one party that are believed on the strength of its candidates alone."""

ANYWHERE: dict[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class UnknownSource(StrEnum):
    """What becomes of a party of whom nothing is known before its first packet (`probation`)."""

    PROBATION = "probation"  # it is believed after some packets in sequence, if nobody competes
    REFUSE = "refuse"  # its calls are not relayed


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """What the operator says of peers.

    `own` are the relay's addresses, bound and advertised; `allow_networks` those of NOT_GLOBAL that
    may be peers after all; `proxies` the networks whose XMPP connections say nothing of where a
    user is (reverse proxies); `widen_v4` and `widen_v6` the prefix length around a signalling
    address that counts as the party's (RFC 7362 section 4 restricted latching, 32 and 128 for the
    address itself). A household has an IPv6 /64, and its devices take another address of it each
    day (RFC 8981). `early_stream` allows a few packets to a public candidate before it is heard
    from; `unknown_source` says whether a party of whom nothing is known may take part in a relayed
    call. `follow_after_s` is how long a party is silent before another port and stream may be its
    own.
    """

    own: tuple[IPAddress, ...] = ()
    allow_networks: tuple[IPNetwork, ...] = ()
    proxies: tuple[IPNetwork, ...] = ()
    widen_v4: int = 32
    widen_v6: int = 64
    early_stream: bool = False
    unknown_source: UnknownSource = UnknownSource.PROBATION
    follow_after_s: float = LAPSE_S
    _refused: dict[int, tuple[IPNetwork, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refused = {version: self._refused_networks(version) for version in (4, 6)}
        object.__setattr__(self, "_refused", refused)

    def refuses(self, ip: IPAddress) -> bool:
        """Whether media must never be sent to, or learned from, this address."""
        return any(ip in network for network in self._refused[ip.version])

    def evidence(
        self,
        version: int,
        signalling: IPAddress | None,
        candidates: Iterable[Candidate],
        weaker: Iterable[IPAddress] = (),
    ) -> Evidence:
        """What a source must show to teach a latch of this IP version (4 or 6).

        The strongest source authentication for which there is evidence wins: `signalling-address`,
        then `candidate-address` (public candidates), then `probation`. A party whose candidates
        are all a relay's sends from there, wherever its XMPP connection comes from.

        `weaker` are addresses that the party was seen at, newest first, and may have left. They are
        believed beside its candidates; alone they spare a source the probation, and refuse nobody,
        unless the operator refuses whom nothing is known of.
        """
        known = [c for c in candidates if c.address.ip.version == version]
        public = [c for c in known if not self.refuses(c.address.ip)]
        behind_a_relay = bool(public) and all(c.type is CandidateType.RELAY for c in known)
        told = signalling is not None and signalling.version == version and self._tells(signalling)
        if signalling is not None and told and not behind_a_relay:
            return Evidence(SourceAuth.SIGNALLING_ADDRESS, (self._around(signalling),))
        likely = self._likely(version, weaker)
        if public:
            sources = dict.fromkeys(host_network(c.address.ip) for c in public)
            named = tuple(sources)[:SIGNALLED_SOURCES]
            return Evidence(
                SourceAuth.CANDIDATE_ADDRESS, named if behind_a_relay else _each_once(named, likely)
            )
        if likely and self.unknown_source is UnknownSource.REFUSE:
            return Evidence(SourceAuth.SIGNALLING_ADDRESS, likely)
        return Evidence(
            SourceAuth.PROBATION,
            (ANYWHERE[version],),
            self._refused[version],
            probation=PROBATION_PACKETS,
            likely=likely,
        )

    def signed(
        self, version: int, keys: tuple[IceKey, ...], seen: Iterable[IPAddress] = ()
    ) -> Evidence:
        """What an ICE agent must show: checks made with a key, from anywhere (`ice-integrity`).

        `seen` are addresses that it was seen at or has named: its packets from there are always
        looked at, while those of strangers are when there is time.
        """
        likely = self._likely(version, seen)
        sources, refused = (ANYWHERE[version],), self._refused[version]
        return Evidence(SourceAuth.ICE_INTEGRITY, sources, refused, keys=keys, likely=likely)

    def tagged(
        self, version: int, tags: tuple[TagKey, ...], seen: Iterable[IPAddress] = ()
    ) -> Evidence:
        """What a party with SDES keys must show: a tag made with one (`srtp-auth`).

        `seen` are as in `signed`.
        """
        likely = self._likely(version, seen)
        sources, refused = (ANYWHERE[version],), self._refused[version]
        return Evidence(SourceAuth.SRTP_AUTH, sources, refused, tags=tags, likely=likely)

    def early(
        self, evidence: Evidence, component: int, candidates: Iterable[Candidate]
    ) -> TransportAddress | None:
        """Where a component's first packets may go unasked (RFC 7362 section 4).

        Only to a public address that the party itself signalled, and only where such an address is
        evidence (`candidate-address`) or its checks are going to be signed (`ice-integrity`).
        """
        if not self.early_stream or evidence.source_auth not in (
            SourceAuth.ICE_INTEGRITY,
            SourceAuth.CANDIDATE_ADDRESS,
        ):
            return None
        fitting = (
            c.address
            for c in candidates
            if c.component == component and evidence.admits(c.address.ip)
        )
        return next(fitting, None)

    def near(self, learned: TransportAddress, source_auth: SourceAuth) -> Evidence:
        """Evidence for a component whose sibling has been learned: the same address, no other."""
        return Evidence(source_auth, (host_network(learned.ip),))

    def _likely(self, version: int, seen: Iterable[IPAddress]) -> tuple[IPNetwork, ...]:
        """Around these addresses, as far as they say where a party is."""
        told = (ip for ip in seen if ip.version == version and self._tells(ip))
        return tuple(dict.fromkeys(self._around(ip) for ip in told))[:SIGNALLED_SOURCES]

    def _tells(self, signalling: IPAddress) -> bool:
        proxied = any(
            signalling.version == network.version and signalling in network
            for network in self.proxies
        )
        return not proxied and not self.refuses(signalling)

    def _around(self, ip: IPAddress) -> IPNetwork:
        prefix = self.widen_v4 if ip.version == 4 else self.widen_v6
        return ip_network((ip, prefix), strict=False)

    def _refused_networks(self, version: int) -> tuple[IPNetwork, ...]:
        negotiable = [n for n in NOT_GLOBAL if n.version == version]
        for allowed in self.allow_networks:
            if allowed.version == version:
                negotiable = [part for n in negotiable for part in _without(n, allowed)]
        own = [host_network(ip) for ip in self.own if ip.version == version]
        never = [n for n in NEVER if n.version == version]
        return tuple(_collapse([*never, *own, *negotiable]))


def _each_once(*groups: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
    return tuple(dict.fromkeys(network for group in groups for network in group))


def _without(network: IPNetwork, hole: IPNetwork) -> list[IPNetwork]:
    """The parts of a network that lie outside another one of the same version."""
    if not network.overlaps(hole):
        return [network]
    if isinstance(network, IPv4Network) and isinstance(hole, IPv4Network):
        return [] if network.subnet_of(hole) else list(network.address_exclude(hole))
    assert isinstance(network, IPv6Network)
    assert isinstance(hole, IPv6Network)
    return [] if network.subnet_of(hole) else list(network.address_exclude(hole))


def _collapse(networks: list[IPNetwork]) -> list[IPNetwork]:
    v4 = [n for n in networks if isinstance(n, IPv4Network)]
    v6 = [n for n in networks if isinstance(n, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]
