"""Settings: one TOML file, the environment over it, secrets from files of their own.

Precedence, highest first: a secret file (``$CREDENTIALS_DIRECTORY/secret`` or
``xmpp.secret_file``), the environment (``JINGLE_HNT_XMPP__SECRET`` sets ``xmpp.secret``), the file,
the default. Unknown keys are errors. The pure rooms never see these models; `wiring.py` makes
small values of them, whose fields have the names of the options.

A field is an option's only entry: the text below it is what the sample configuration and
docs/configuration.md say of it, an indented line being an example, and a mark of its type says when
a change of it takes effect. `examples` are shown by the sample where there is no default.
"""

import os
import re
from collections.abc import Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.fronts.ng.listening import SIP, Listening, demand_safe
from jingle_hnt.relay.policing import MediaLimits
from jingle_hnt.settings.defaults import ADMIN_SOCKET, ENVIRONMENT, RUNTIME_DIRECTORY
from jingle_hnt.settings.environment import Environment

MAX_SECRET_BYTES = 4096


def _address(value: object) -> IPv4Address | IPv6Address:
    try:
        return ip_address(str(value))
    except ValueError:
        raise ValueError(f'{value!r} is no IP address; write one such as "203.0.113.9"') from None


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError(f'{value!r} is no network; write one such as "192.168.0.0/16"') from None


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_host_name(text: str) -> bool:
    """Whether a resolver may know this name (RFC 1123 section 2.1, and what is beside the letters
    of DNS in the names of containers); no address that is misspelt."""
    labels = text.rstrip(".").split(".")
    known = all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels)
    return known and not labels[-1].isdecimal()


def _unusable(ip: IPv4Address | IPv6Address) -> str:
    """Why no host has this address; empty for one that a host may have."""
    if ip.is_unspecified:
        return "the unspecified address"
    if ip.is_multicast or str(ip) == "255.255.255.255":
        return "a multicast or broadcast address"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return f"IPv4 written as IPv6 (write {ip.ipv4_mapped})"
    return ""


# Unions would be told of one family at a time, three lines for one mistake.
IPAddress = Annotated[IPv4Address | IPv6Address, PlainValidator(_address)]
IPNetwork = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Seconds = Annotated[float, Field(gt=0)]


class TakesEffect(Enum):
    """When a change of an option takes effect. Without a mark new calls follow it: after a reload,
    or when an administrator sets it."""

    RELOAD = "after a reload of the file; nobody sets it otherwise"
    RESTART = "after a restart"


FILE, RESTART = TakesEffect.RELOAD, TakesEffect.RESTART


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class InterfaceOptions(_Section):
    """One address of the relay; `advertise` is what parties are told where it differs.

    `port_offset` is added to the ports that parties are told. `networks` are those whose parties
    the address faces; one without networks faces everybody else.
    """

    address: IPAddress
    """An IP address of this host, to which the relay binds its media ports."""
    advertise: IPAddress | None = None
    """What parties are told in its place, where a NAT in front of the relay translates it."""
    port_offset: Annotated[int, Field(ge=-64000, le=64000, multiple_of=2)] = 0
    """What is added to the ports that parties are told."""
    networks: tuple[IPNetwork, ...] = ()
    """The parties that the address faces: those in these networks. Without networks it faces all
    others."""

    @model_validator(mode="after")
    def _one_family(self) -> Self:
        if self.advertise is not None and self.advertise.version != self.address.version:
            raise ValueError("advertise must be of the same IP version as address")
        return self

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        for field, ip in (("address", self.address), ("advertise", self.advertise)):
            if ip is None:
                continue
            kind = _unusable(ip)
            if kind:
                raise ValueError(
                    f"{field} {ip} is {kind}, and no party can send to it; write the address that"
                    " parties reach this host by"
                )
        return self


class ServerOptions(_Section):
    """A connection to an XMPP server (XEP-0114)."""

    component: Annotated[str, Field(min_length=1), Field(examples=["hnt.example.org"]), RESTART]
    """The domain of the external component (XEP-0114), as the XMPP server knows it."""
    domains: Annotated[
        tuple[str, ...], Field(min_length=1), Field(examples=[["example.org"]]), RESTART
    ]
    """The domains whose users are served: the virtual hosts that load the server module."""
    server: Annotated[str, RESTART] = "127.0.0.1:5347"
    """The IP address or host name, and the port, where the XMPP server accepts components. A name
    is resolved for each connection. The stream is not encrypted: an address of another host is
    refused unless its network is in `xmpp.allow_plaintext_to`."""
    secret: Annotated[SecretStr | None, RESTART] = None
    """The component's secret, for the environment only."""
    secret_file: Annotated[Path | None, Field(examples=["/etc/jingle-hnt/secret"]), RESTART] = None
    """A file that holds the component's secret. The systemd credential `secret` takes precedence
    over it."""
    allow_plaintext_to: Annotated[tuple[IPNetwork, ...], RESTART] = ()
    """Networks that are trusted to carry the unencrypted stream to a server on another host."""
    ping_s: Annotated[Seconds, RESTART] = 10.0
    """Seconds between two pings to the server. After three without an answer the component
    reconnects."""

    @property
    def endpoint(self) -> tuple[str, int]:
        """The address or name, and the port, of the server's component listener."""
        host, _, port = self.server.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("server")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        known = port.isdecimal() and 1 <= int(port) <= 65535
        if not known or (_ip(host.strip("[]")) is None and not _is_host_name(host)):
            raise ValueError(
                'write an IP address or a host name, and a port, such as "127.0.0.1:5347"'
            )
        return value

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        host, _ = self.endpoint
        address = _ip(host)
        if address is None:
            known = host == "localhost" or bool(self.allow_plaintext_to)
        else:
            known = address.is_loopback or any(
                address.version == network.version and address in network
                for network in self.allow_plaintext_to
            )
        if not known:
            raise ValueError(
                f"XEP-0114 streams are not encrypted, and {host} is not this machine; use the"
                " loopback address, or list a network you trust in xmpp.allow_plaintext_to"
            )
        return self


class XmppOptions(ServerOptions):
    """The external component (XEP-0114)."""

    others: Annotated[tuple[ServerOptions, ...], RESTART] = ()
    """Further XMPP servers: for each one a table `[[xmpp.others]]` with the options above. Its
    systemd credential is `secret.` followed by the component's domain. Sessions, ports, limits and
    administrators are common to all servers."""

    @property
    def servers(self) -> tuple[ServerOptions, ...]:
        """All connections; the first is this one."""
        return (self, *self.others)

    @property
    def all_domains(self) -> tuple[str, ...]:
        """The domains of all connections."""
        return tuple(domain for server in self.servers for domain in server.domains)

    @model_validator(mode="after")
    def _are_served_once(self) -> Self:
        components = [server.component for server in self.servers]
        for names in (components, list(self.all_domains)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(
                    f"{', '.join(twice)} is served twice; write each component and each domain once"
                )
        return self


class RelayOptions(_Section):
    """Media addresses, ports, and who may be a peer."""

    interfaces: Annotated[
        tuple[InterfaceOptions, ...],
        Field(min_length=1),
        Field(examples=[[{"address": "203.0.113.9"}]]),
        RESTART,
    ]
    """The relay's addresses: tables with `address`, and if needed `advertise` (what parties are
    told instead), `port_offset` (added to the ports that they are told) and `networks` (the
    parties that the address faces; one without faces all others). A reload brings changes of what
    parties are told into force; other addresses need a restart.

    Behind a 1:1 NAT:

        [{ address = "10.0.0.9", advertise = "203.0.113.9" }]

    For an office's users and those on the internet:

        [{ address = "203.0.113.9" }, { address = "10.0.0.9", networks = ["10.0.0.0/8"] }]

    Behind a NAT without hairpin, where users of the LAN are told another address:

        [{ address = "192.168.1.5", advertise = "203.0.113.9" },
         { address = "192.168.1.5", networks = ["192.168.1.0/24"] }]
    """
    ports: Annotated[str, RESTART] = "24000-26767"
    """First and last media port; an audio call takes four. Stay outside
    `net.ipv4.ip_local_port_range`, and outside 30000-32767 on a Kubernetes node: those are its
    services' ports, and packets to them never reach a program."""
    quarantine_s: Annotated[float, Field(ge=0, le=600)] = 30.0
    """Seconds for which a port stays idle after a call, before another call may have it."""
    allow_networks: tuple[IPNetwork, ...] = ()
    """Private networks that callers may be in, such as an office's own. Without them the relay
    sends to public addresses only."""
    proxies: tuple[IPNetwork, ...] = ()
    """Networks of the reverse proxies in front of the XMPP server. An address in them says nothing
    about where a user is."""
    widen_v4: Annotated[int, Field(ge=16, le=32)] = 32
    """The prefix length of the IPv4 network around a user's XMPP address that counts as the
    user's: 32 is that address alone, 24 suits a carrier that gives its users changing addresses."""
    widen_v6: Annotated[int, Field(ge=48, le=128)] = 64
    """The prefix length of the IPv6 network around a user's XMPP address that counts as the
    user's: 64 is one household, 128 that address alone."""
    follow_after_s: Annotated[float, Field(ge=1, le=3600)] = 3.0
    """Seconds of silence after which a party that sends unencrypted RTP may continue from another
    port of its address with another stream, as muted clients do. A longer time protects it better
    from its neighbours behind the same NAT."""
    exhausted: Literal["refuse", "pass"] = "refuse"
    """What to do with a call when no media port is free: `refuse` it, or let it `pass` without the
    relay."""
    draining: Literal["refuse", "pass"] = "pass"
    """What to do with new calls after `jingle-hnt drain`: let them `pass` without the relay, or
    `refuse` them. A call whose addresses are to be hidden (`ice.mode = "terminate"`) is refused in
    either case."""
    already_relayed: Literal["pass", "relay"] = "pass"
    """What to do with an offer whose candidates are all of another relay: let it `pass`, or
    `relay` it once more."""
    early_stream: bool = False
    """Whether a party's first packets (at most 5, of at most 1000 bytes in all) may go to a public
    candidate from which nothing has been received. Two relays that face each other need it; see
    `relay.already_relayed`."""
    unknown_source: Literal["probation", "refuse"] = "probation"
    """What to do with a party whose address cannot be verified, such as a user of another server
    who offers only private addresses: `probation` accepts it after five consecutive packets,
    `refuse` rejects its calls."""
    engine: Annotated[Literal["auto", "native", "reference"], RESTART] = "auto"
    """What forwards media: `native` (C), `reference` (Python, for tests), or `auto`: native if it
    was built."""
    workers: Annotated[int, Field(ge=0, le=64), RESTART] = 0
    """Threads that forward media; 0 starts one for every two cores. One thread carries some
    thousand audio calls. More threads carry more calls, but cost more for each packet while there
    are few."""
    max_kbps: Annotated[int, Field(ge=0, le=10_000_000), RESTART] = 4000
    """How many thousand bits a second one party may send through one pair of ports. The amount of
    one second may come at once; the rest is dropped and counted. 0 means no limit."""
    max_pps: Annotated[int, Field(ge=0, le=1_000_000), RESTART] = 1000
    """How many packets a second one party may send through one pair of ports, counted as
    `relay.max_kbps` is. 0 means no limit."""
    dscp: Annotated[int, Field(ge=0, le=63), RESTART] = 46
    """The DSCP mark of the packets that the relay sends: 46 is EF, as for telephony; 0 leaves them
    unmarked."""
    stun_server: str = ""
    """The STUN server that `jingle-hnt check` asks for this host's public address, if the XMPP
    server names none (XEP-0215). It must be outside this network. Write host and port, such as
    `stun.example.org:3478`."""

    @property
    def limits(self) -> MediaLimits:
        """What each side of a call may send, and how it is marked."""
        return MediaLimits(self.max_kbps, self.max_pps, self.dscp)

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port, both inclusive."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)

    @field_validator("interfaces")
    @classmethod
    def _are_distinct(cls, value: tuple[InterfaceOptions, ...]) -> tuple[InterfaceOptions, ...]:
        faced = [(i.address, network) for i in value for network in i.networks or (None,)]
        twice = sorted({str(address) for address, _ in faced if faced.count((address, _)) > 1})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} is listed twice for the same parties; write each address once,"
                " or once more with the `networks` whose parties are told something else of it"
            )
        return value

    @model_validator(mode="after")
    def _ports_exist(self) -> Self:
        first, last = self.port_range
        for interface in self.interfaces:
            offset = interface.port_offset
            if not 1024 <= first + offset <= last + offset <= 65535:
                raise ValueError(
                    f"port_offset {offset} of {interface.address} leads to ports that are none;"
                    f" {self.ports} must stay between 1024 and 65535"
                )
        return self

    @field_validator("stun_server")
    @classmethod
    def _is_server(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError('write a host and a port, such as "stun.example.org:3478"')
        return value

    @field_validator("ports")
    @classmethod
    def _is_range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdecimal() and last.isdecimal()) or not (
            int(first) >= 1024 and int(first) % 2 == 0 and int(first) + 3 <= int(last) <= 65535
        ):
            raise ValueError(
                'write an even first and a last port with at least 4 ports, such as "24000-26767"'
            )
        return value


class RelayNodesOptions(_Section):
    """Relay channels for clients that ask for them (XEP-0278)."""

    enabled: Annotated[bool, RESTART] = False
    """Whether clients may ask for relay channels themselves (XEP-0278, Jingle Nodes)."""
    per_user: Annotated[int, Field(ge=1, le=1000)] = 4
    """How many relay channels one user may have at a time."""
    per_minute: Annotated[int, Field(ge=1, le=6000)] = 20
    """How many relay channels one user may ask for in a minute."""
    expire_s: Annotated[float, Field(ge=10, le=3600)] = 60.0
    """Seconds without a packet after which a relay channel ends."""


class AddressesOptions(_Section):
    """Calls without a server module, by addresses at the component (XEP-0106)."""

    enabled: Annotated[bool, RESTART] = False
    r"""Whether users may call through addresses at the component that stand for those of the people
    they call: alice calls `bob\40example.org@hnt.example.org`. No server module is needed;
    docs/addresses.md names the limits."""
    domains: Annotated[tuple[str, ...], RESTART] = ()
    """The domains whose users may call that way. If it is empty, they are those of `xmpp.domains`.
    """


class NgOptions(_Section):
    """SIP calls, by the NG control protocol of rtpengine, for Kamailio and OpenSIPS."""

    enabled: Annotated[bool, RESTART] = False
    """Whether SIP proxies may have calls relayed; docs/sip.md has the other half of the
    configuration, that of the proxy."""
    listen: Annotated[tuple[str, ...], Field(min_length=1), RESTART] = ("127.0.0.1:2223",)
    """Where proxies reach us: UDP addresses with a port, or `unix:` and the path of a socket. NG
    has no authentication: an address that is not loopback needs `ng.networks`."""
    networks: Annotated[tuple[IPNetwork, ...], RESTART] = ()
    """The addresses of SIP proxies on other hosts; what comes from elsewhere is dropped unread."""
    calls: Annotated[int, Field(ge=0)] = 0
    """How many SIP calls there may be at a time; the proxy is told to take another node then. 0
    means that there is no limit."""
    ice: Literal["remove", "append", "terminate"] = "remove"
    """What becomes of ICE in SIP calls: it is taken out (`remove`), the relay is added as the last
    candidate (`append`), or it ends at the relay (`terminate`). The latter two are for phones that
    all speak ICE."""
    early_media: Literal["both", "responder", "drop"] = "both"
    """Whose media may flow before a call is answered, where the proxy tells the code of a response:
    that of `both`, the `responder`'s, or nobody's (`drop`)."""

    @property
    def listening(self) -> tuple[Listening, ...]:
        """Where to listen."""
        return tuple(map(Listening.of, self.listen))

    @model_validator(mode="after")
    def _is_for_proxies_alone(self) -> Self:
        demand_safe(self.listening, self.networks)
        return self


class GateOptions(_Section):
    """The gate: when media may flow."""

    policy: Literal["open", "one-stage", "two-stage"] = "one-stage"
    """When media may flow: `open` from the offer on; `one-stage` from the accept on; `two-stage`
    from the accept on, and an offer for which no port is free is refused whatever
    `relay.exhausted` says."""
    early_media: Literal["drop", "responder", "both"] = "drop"
    """Whose media may flow before the accept: nobody's (`drop`), the `responder`'s, or that of
    `both`."""


def _pattern(text: str) -> str:
    """A bare JID or a domain, in which ``*`` stands for any number of characters."""
    if not text or "/" in text or any(c.isspace() for c in text):
        raise ValueError('write a bare JID or a domain, such as "*@example.org" or "*.example.org"')
    return text.lower()


Pattern = Annotated[str, AfterValidator(_pattern)]


class IceRuleOptions(_Section):
    """The treatment of ICE in calls of some parties."""

    mode: Literal["append", "terminate", "pass"]
    """What to do with ICE in these calls, as `ice.mode`."""
    parties: tuple[Pattern, ...] = ()
    """Patterns of which one party must match one; empty, all calls."""
    transports: tuple[Literal["ice-udp", "ice"], ...] = ()
    """The transports that are meant; empty, both."""


class IceOptions(_Section):
    """The treatment of ICE transports."""

    mode: Literal["append", "terminate", "pass"] = "append"
    """What to do with calls that use ICE: `append` the relay to the candidates of both parties
    with the lowest priority, so that a direct path wins if there is one; `terminate` ICE at the
    relay, which then is the only peer of each party: neither learns the other's addresses, and all
    media goes through the relay; or let them `pass` unchanged."""
    direct_first_s: Annotated[float, Field(ge=0, le=5)] = 0.7
    """Seconds that two parties have to find a direct path before the relay's path is open to them
    too. 0.7 is enough for a check that has to be sent twice. A call that needs the relay begins
    that much later, except where both parties' NATs are seen to rule a direct path out. 0 lets the
    fastest path win."""
    idle_s: Seconds = 60.0
    """Seconds after which the ports of a relayed path that neither party uses are released."""
    rules: tuple[IceRuleOptions, ...] = ()
    """Exceptions from `ice.mode`: tables with `mode`, and if wanted `parties` and `transports`.
    The first rule that fits a call applies; what a rule leaves out fits every call. `parties` are
    patterns of which one party must match one: a bare JID or a domain, in which `*` stands for any
    characters.

    Guests are hidden from each other:

        [{ mode = "terminate", parties = ["*@guests.example.org"], transports = ["ice-udp"] }]
    """
    raw_udp: tuple[Pattern, ...] = ()
    """Patterns (as in `ice.rules`) of parties whose clients know raw UDP only, such as gateways.
    In their calls the relay terminates ICE: it offers them raw UDP, and ICE to the other party.
    The media itself must match: a client that encrypts it (DTLS-SRTP) and one that sends plain RTP
    cannot talk."""


class TimesOptions(_Section):
    """Limits of a call's life, in seconds."""

    setup_s: Seconds = 120.0
    """Seconds after which an unanswered offer may be given up if one of its parties has left the
    server or ports are scarce. Nobody is told then. Otherwise a phone rings for as long as its
    user likes."""
    first_media_s: Seconds = 30.0
    """Seconds from the accept after which a call ends if no packet of either party has come."""
    silence_s: Seconds = 60.0
    """Seconds after which a call ends if both parties have been silent, RTCP included."""
    hold_s: Seconds = 3600.0
    """Seconds after which a call on hold ends if both parties have been silent."""
    call_s: Seconds = 86400.0
    """Seconds after which any call ends, counted from the offer."""
    consent_s: Seconds = 30.0
    """Seconds without a packet, RTCP included, after which a party is sent nothing until it is
    heard again: its address may be somebody else's by now. ICE checks go on."""


class CallLimitsOptions(_Section):
    """Limits on calls: per user, per domain, and in total. 0 means no limit."""

    per_user: Annotated[int, Field(ge=0)] = 100
    """How many calls made by one user (bare JID) may go on at a time. 0 means no limit. A call
    above the limit is refused at once. A member of a group call (XEP-0272) has one call with each
    other member."""
    per_domain: Annotated[int, Field(ge=0)] = 0
    """How many calls made by the users of one domain may go on at a time. 0 means no limit."""
    calls: Annotated[int, Field(ge=0)] = 0
    """How many calls may go on at a time in all. 0 means no limit."""
    per_minute: Annotated[int, Field(ge=0)] = 60
    """How many calls one user may make in a minute. 0 means no limit."""
    half_open: Annotated[int, Field(ge=0)] = 0
    """How many unanswered calls made by the users of one domain there may be at a time. 0 means no
    limit."""


class CallRuleOptions(_Section):
    """What becomes of the calls of some callers to some callees."""

    verdict: Literal["allow", "refuse"]
    """`allow` the call, or `refuse` it: the caller is told what a server says of a user who does
    not exist, and the callee hears nothing."""
    name: Annotated[str, Field(max_length=64)] = ""
    """What `history` and `explain` call the rule. If it is empty, its place: `calls.rules[1]`."""
    callers: tuple[Pattern, ...] = ()
    """Patterns of which the caller must match one; empty, all callers."""
    callees: tuple[Pattern, ...] = ()
    """Patterns of which the callee must match one; empty, all callees."""
    contact: bool | None = None
    """Whether the caller must be a contact of the callee (`true`), or must not be one (`false`). If
    it is left out, either fits."""
    other_server: bool | None = None
    """Whether one of the two must be of a domain that is not in `xmpp.domains` (`true`), or both
    must be of ours (`false`). If it is left out, either fits."""


class CallsOptions(_Section):
    """Who may call whom."""

    rings: bool = False
    """Ask before a phone rings, too: the server modules hold proposals (XEP-0353) and invitations
    (XEP-0482) until jingle-hnt has answered, and blocks, `limits` and a drain that refuses apply to
    them. Rules and `strangers` imply it. If it is off, they apply when the call itself is offered,
    after the phone rang. If jingle-hnt is away, everything rings."""
    strangers: Literal["allow", "refuse"] = "allow"
    """What becomes of calls to a user from somebody who is not a contact: who is not in the user's
    roster with a subscription. `refuse` tells the caller what a server says of a user who does not
    exist. `rules` come first. Of a callee on another server the caller's own roster counts."""
    rules: tuple[CallRuleOptions, ...] = ()
    """Rules about pairs of caller and callee: tables with `verdict`, and if wanted `name`,
    `callers`, `callees`, `contact` and `other_server`. The first rule that fits a call applies;
    what a rule leaves out fits every call. docs/policy.md has examples.

    Guests may call the help desk only:

        [
          { callers = ["*@guests.example.org"], callees = ["help@example.org"], verdict = "allow" },
          { callers = ["*@guests.example.org"], verdict = "refuse", name = "guests" },
        ]
    """


class BudgetsOptions(_Section):
    """How much of each resource one user, domain, or session may use; 0 means no budget."""

    ports_per_user: Annotated[int, Field(ge=0)] = 160
    """How many media ports the calls of one user may hold, ports in quarantine included. A call
    takes four for each of its contents."""
    ports_per_domain: Annotated[int, Field(ge=0)] = 0
    """How many media ports the calls of the users of one of our domains may hold together."""
    ports_per_remote_domain: Annotated[int, Field(ge=0)] = 640
    """How many media ports the calls of the users of one domain of another server may hold
    together."""
    remote_ports_percent: Annotated[int, Field(ge=0, le=100)] = 50
    """The share of `relay.ports`, in percent, that the users of all other servers may hold
    together. The rest is kept for our users."""
    contents: Annotated[int, Field(ge=0)] = 16
    """How many contents one session may have."""
    candidates: Annotated[int, Field(ge=0)] = 256
    """How many candidates of one session are remembered. Further ones are passed on all the same.
    """
    name_bytes: Annotated[int, Field(ge=0)] = 256
    """How many bytes the sid of a session, and the name of a content, may have."""
    stanzas_per_s: Annotated[int, Field(ge=0)] = 20
    """How many stanzas a second one party may send for one session. The amount of ten seconds may
    come at once. A stanza that ends the session is always accepted."""
    user_stanzas_per_s: Annotated[int, Field(ge=0)] = 100
    """How many stanzas a second one user may send for all sessions together, counted as
    `budgets.stanzas_per_s` is."""
    write_downs_per_s: Annotated[int, Field(ge=0)] = 2
    """How many records of one session are written to the journal in a second. Faster changes are
    written together, a moment later."""


def _existing_parent(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path")
    return path


class StateOptions(_Section):
    """Directories of the journal, the history and the local sockets."""

    directory: Annotated[Path, AfterValidator(_existing_parent), RESTART] = Path(
        "/var/lib/jingle-hnt"
    )
    """The directory of the journal of live calls and of the history of calls that are over."""
    runtime_directory: Annotated[Path, AfterValidator(_existing_parent), RESTART] = (
        RUNTIME_DIRECTORY
    )
    """The directory of the local sockets."""
    history_calls: Annotated[int, Field(ge=0, le=10_000_000), RESTART] = 10_000
    """How many calls the history keeps, and as many that were refused. The oldest make room. 0
    turns the history off, and deletes what it holds."""
    history_days: Annotated[float, Field(ge=0, le=36500), RESTART] = 90.0
    """Days after which the history forgets a call. 0 means that only `state.history_calls` bounds
    it."""
    history_addresses: Annotated[Literal["whole", "redacted"], RESTART] = "whole"
    """How the history keeps IP addresses: `whole`, or `redacted`, which is without their last
    part."""

    @property
    def journal(self) -> Path:
        return self.directory / "journal.sqlite"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def history(self) -> Path:
        return self.directory / "history.sqlite"

    @property
    def plane_socket(self) -> Path:
        return self.runtime_directory / "plane.sock"

    @property
    def kept(self) -> Path:
        return self.runtime_directory / "kept"

    @property
    def admin_socket(self) -> Path:
        return self.runtime_directory / ADMIN_SOCKET


class MetricsOptions(_Section):
    """The HTTP listener for Prometheus and for probes."""

    listen: Annotated[str, RESTART] = ""
    """The IP address and port, such as `127.0.0.1:9399`, where Prometheus finds /metrics, and
    probes find /healthz and /readyz. Empty: nowhere."""

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """The address and port to listen on; None where nobody asked for it."""
        if not self.listen:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("listen")
    @classmethod
    def _is_place(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip_address(host.strip("[]"))
            known = 0 <= int(port) <= 65535
        except ValueError:
            known = False
        if value and not known:
            raise ValueError('write an IP address and a port, such as "127.0.0.1:9399"')
        return value


class StopOptions(_Section):
    """Stopping: the first SIGTERM may wait for calls, the second ends everything at once."""

    drain_s: Annotated[float, Field(ge=0, le=86400), RESTART] = 0.0
    """Seconds for which the first SIGTERM waits for live calls to end, while new ones are treated
    as after `jingle-hnt drain`. A second SIGTERM ends everything at once. `TimeoutStopSec=` of the
    systemd unit must be longer."""


def _alike(domain: str) -> str:
    """The same for the same domain, however it is typed (see `xmpp.jids` for the whole truth)."""
    return domain.rstrip(".").casefold()


class AdminOptions(_Section):
    """Administrators that use ad-hoc commands from an XMPP client (XEP-0050)."""

    jids: Annotated[tuple[str, ...], FILE] = ()
    """Who may use ad-hoc commands from an XMPP client (XEP-0050): bare JIDs, such as
    `alice@example.org`."""
    other_domains: Annotated[bool, FILE] = False
    """Whether administrators may be of other domains than `xmpp.domains`. For them the other
    server vouches that a command is theirs."""
    addresses: Annotated[Literal["whole", "redacted"], FILE] = "whole"
    """How IP addresses are shown to them: `whole`, or `redacted`, which is without their last
    part."""

    @field_validator("jids")
    @classmethod
    def _are_bare(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for jid in value:
            user, at, domain = jid.partition("@")
            if not (user and at and domain) or "/" in jid or "@" in domain:
                raise ValueError(f'{jid!r} is no bare JID; write one such as "alice@example.org"')
        return value


class LogOptions(_Section):
    """The log: its level and its form."""

    level: Annotated[Literal["debug", "info", "warning", "error"], FILE] = "info"
    """The least severe lines that are logged."""
    format: Annotated[Literal["text", "json"], FILE] = "text"
    """How lines are written: as `text`, or as one `json` object each."""
    redact: Annotated[bool, FILE] = True
    """Whether IP addresses are logged without their last part."""


class Settings(BaseSettings):
    """The whole configuration; made by `reading.load`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT,
        env_nested_delimiter="__",
    )

    xmpp: XmppOptions
    relay: RelayOptions
    relay_nodes: RelayNodesOptions = RelayNodesOptions()
    addresses: AddressesOptions = AddressesOptions()
    ng: NgOptions = NgOptions()
    gate: GateOptions = Field(default_factory=GateOptions)
    ice: IceOptions = Field(default_factory=IceOptions)
    times: TimesOptions = Field(default_factory=TimesOptions)
    limits: CallLimitsOptions = Field(default_factory=CallLimitsOptions)
    calls: CallsOptions = Field(default_factory=CallsOptions)
    budgets: BudgetsOptions = Field(default_factory=BudgetsOptions)
    state: StateOptions = Field(default_factory=StateOptions)
    stop: StopOptions = Field(default_factory=StopOptions)
    admin: AdminOptions = Field(default_factory=AdminOptions)
    metrics: MetricsOptions = Field(default_factory=MetricsOptions)
    log: LogOptions = Field(default_factory=LogOptions)

    @model_validator(mode="after")
    def _administrators_are_ours(self) -> Self:
        ours = {_alike(domain) for domain in self.xmpp.all_domains}
        strangers = [j for j in self.admin.jids if _alike(j.partition("@")[2]) not in ours]
        if strangers and not self.admin.other_domains:
            raise ValueError(
                f"admin.jids: {', '.join(strangers)} is of no domain in xmpp.domains; write"
                " admin.other_domains = true where you trust the XMPP server's word about them"
            )
        return self

    @model_validator(mode="after")
    def _sip_is_no_domain(self) -> Self:
        if self.ng.enabled and SIP in map(_alike, self.xmpp.all_domains):
            raise ValueError(
                f'xmpp.domains: "{SIP}" stands for the parties of SIP calls; serve its users from a'
                " second relay, or write ng.enabled = false"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes over the file, which comes as keyword arguments."""
        return (Environment(settings_cls), init_settings)

    @property
    def secret(self) -> str:
        """The component's secret. Raises ConfigurationError where there is none."""
        return self.secret_of(self.xmpp)

    def secret_of(self, server: ServerOptions) -> str:
        """The secret for one of the connections. Raises ConfigurationError where there is none."""
        for path in self._secret_files(server):
            return _read_secret(path)
        if server.secret is not None:
            return server.secret.get_secret_value()
        where = "xmpp" if server is self.xmpp else "xmpp.others"
        raise ConfigurationError(
            f"{where}.secret_file: no secret is configured for {server.component}; write the path"
            " of a file that holds the component_secret of the XMPP server"
        )

    def _secret_files(self, server: ServerOptions) -> Iterator[Path]:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        name = "secret" if server is self.xmpp else f"secret.{server.component}"
        if credentials and (Path(credentials) / name).exists():
            yield Path(credentials) / name
        if server.secret_file is not None:
            yield server.secret_file


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8-sig")[:MAX_SECRET_BYTES].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"secret file {path} cannot be read: {error}") from None
    if not secret:
        raise ConfigurationError(f"secret file {path} is empty; write the component_secret into it")
    return secret
