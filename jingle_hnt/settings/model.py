"""Settings: one TOML file, the environment over it, secrets from files of their own.

Precedence, highest first: a secret file (``$CREDENTIALS_DIRECTORY/secret`` or
``xmpp.secret_file``), the environment (``JINGLE_HNT_XMPP__SECRET`` sets ``xmpp.secret``), the file,
the default. Unknown keys are errors. The pure rooms never see these models; `wiring.py` makes
small values of them.
"""

import os
from collections.abc import Iterator
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
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from jingle_hnt.errors import ConfigurationError
from jingle_hnt.relay.policing import Limits
from jingle_hnt.settings.defaults import ADMIN_SOCKET, ENVIRONMENT, RUNTIME_DIRECTORY

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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Interface(_Section):
    """One address of the relay; `advertise` is what parties are told where it differs.

    `port_offset` is added to the ports that parties are told. `networks` are those whose parties
    the address faces; one without networks faces everybody else.
    """

    address: IPAddress
    advertise: IPAddress | None = None
    port_offset: Annotated[int, Field(ge=-64000, le=64000, multiple_of=2)] = 0
    networks: tuple[IPNetwork, ...] = ()

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


class Server(_Section):
    """A connection to an XMPP server (XEP-0114)."""

    component: Annotated[str, Field(min_length=1)]
    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    server: str = "127.0.0.1:5347"
    secret: SecretStr | None = None
    secret_file: Path | None = None
    allow_plaintext_to: tuple[IPNetwork, ...] = ()
    ping_s: Seconds = 10.0

    @property
    def endpoint(self) -> tuple[IPAddress, int]:
        """The address and port of the server's component listener."""
        host, _, port = self.server.rpartition(":")
        return ip_address(host.strip("[]")), int(port)

    @field_validator("server")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip_address(host.strip("[]"))
            known = 1 <= int(port) <= 65535
        except ValueError:
            known = False
        if not known:
            raise ValueError('write an IP address and a port, such as "127.0.0.1:5347"')
        return value

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        address, _ = self.endpoint
        listed = any(
            address.version == network.version and address in network
            for network in self.allow_plaintext_to
        )
        if not address.is_loopback and not listed:
            raise ValueError(
                f"XEP-0114 streams are not encrypted, and {address} is not this machine; use the"
                " loopback address, or list a network you trust in xmpp.allow_plaintext_to"
            )
        return self


class Xmpp(Server):
    """The external component (XEP-0114)."""

    others: tuple[Server, ...] = ()

    @property
    def servers(self) -> tuple[Server, ...]:
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


class Relay(_Section):
    """Media addresses, ports, and who may be a peer."""

    interfaces: Annotated[tuple[Interface, ...], Field(min_length=1)]
    ports: str = "24000-26767"
    quarantine_s: Annotated[float, Field(ge=0, le=600)] = 30.0
    allow_networks: tuple[IPNetwork, ...] = ()
    proxies: tuple[IPNetwork, ...] = ()
    widen_v4: Annotated[int, Field(ge=16, le=32)] = 32
    widen_v6: Annotated[int, Field(ge=48, le=128)] = 64
    follow_after_s: Annotated[float, Field(ge=1, le=3600)] = 3.0
    exhausted: Literal["refuse", "pass"] = "refuse"
    draining: Literal["refuse", "pass"] = "pass"
    already_relayed: Literal["pass", "relay"] = "pass"
    early_stream: bool = False
    unknown_source: Literal["probation", "refuse"] = "probation"
    engine: Literal["auto", "native", "reference"] = "auto"
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    max_kbps: Annotated[int, Field(ge=0, le=10_000_000)] = 4000
    max_pps: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    dscp: Annotated[int, Field(ge=0, le=63)] = 46
    stun_server: str = ""

    @property
    def limits(self) -> Limits:
        """What each side of a call may send, and how it is marked."""
        return Limits(self.max_kbps, self.max_pps, self.dscp)

    @property
    def port_range(self) -> tuple[int, int]:
        """First and last port, both inclusive."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last)

    @field_validator("interfaces")
    @classmethod
    def _are_distinct(cls, value: tuple[Interface, ...]) -> tuple[Interface, ...]:
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


class RelayNodes(_Section):
    """Relay channels for clients that ask for them (XEP-0278)."""

    enabled: bool = False
    per_user: Annotated[int, Field(ge=1, le=1000)] = 4
    per_minute: Annotated[int, Field(ge=1, le=6000)] = 20
    expire_s: Annotated[float, Field(ge=10, le=3600)] = 60.0


class Addresses(_Section):
    """Calls without a server module, by addresses at the component (XEP-0106)."""

    enabled: bool = False
    domains: tuple[str, ...] = ()


class Gate(_Section):
    """When media may flow."""

    policy: Literal["open", "one-stage", "two-stage"] = "one-stage"
    early_media: Literal["drop", "responder", "both"] = "drop"


def _pattern(text: str) -> str:
    """A bare JID or a domain, in which ``*`` stands for any number of characters."""
    if not text or "/" in text or any(c.isspace() for c in text):
        raise ValueError('write a bare JID or a domain, such as "*@example.org" or "*.example.org"')
    return text.lower()


Pattern = Annotated[str, AfterValidator(_pattern)]


class IceRule(_Section):
    """What becomes of ICE in the calls of some parties."""

    mode: Literal["append", "terminate", "pass"]
    parties: tuple[Pattern, ...] = ()
    transports: tuple[Literal["ice-udp", "ice"], ...] = ()


class Ice(_Section):
    """What becomes of ICE transports."""

    mode: Literal["append", "terminate", "pass"] = "append"
    direct_first_s: Annotated[float, Field(ge=0, le=5)] = 0.7
    idle_s: Seconds = 60.0
    rules: tuple[IceRule, ...] = ()
    raw_udp: tuple[Pattern, ...] = ()


class Times(_Section):
    """Limits of a call's life, in seconds."""

    setup_s: Seconds = 120.0
    first_media_s: Seconds = 30.0
    silence_s: Seconds = 60.0
    hold_s: Seconds = 3600.0
    call_s: Seconds = 86400.0
    consent_s: Seconds = 30.0


class CallLimits(_Section):
    """How many calls there may be, by who makes them; 0 means that there is no limit."""

    per_user: Annotated[int, Field(ge=0)] = 100
    per_domain: Annotated[int, Field(ge=0)] = 0
    calls: Annotated[int, Field(ge=0)] = 0
    per_minute: Annotated[int, Field(ge=0)] = 60
    half_open: Annotated[int, Field(ge=0)] = 0


class Budgets(_Section):
    """How much of each resource one user, domain, or session may use; 0 means no budget."""

    ports_per_user: Annotated[int, Field(ge=0)] = 160
    ports_per_domain: Annotated[int, Field(ge=0)] = 0
    ports_per_remote_domain: Annotated[int, Field(ge=0)] = 640
    remote_ports_percent: Annotated[int, Field(ge=0, le=100)] = 50
    contents: Annotated[int, Field(ge=0)] = 16
    candidates: Annotated[int, Field(ge=0)] = 256
    name_bytes: Annotated[int, Field(ge=0)] = 256
    stanzas_per_s: Annotated[int, Field(ge=0)] = 20
    user_stanzas_per_s: Annotated[int, Field(ge=0)] = 100
    write_downs_per_s: Annotated[int, Field(ge=0)] = 2


def _existing_parent(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path")
    return path


class State(_Section):
    """Where the journal and the sockets are."""

    directory: Annotated[Path, AfterValidator(_existing_parent)] = Path("/var/lib/jingle-hnt")
    runtime_directory: Annotated[Path, AfterValidator(_existing_parent)] = RUNTIME_DIRECTORY
    history_calls: Annotated[int, Field(ge=0, le=10_000_000)] = 10_000
    history_days: Annotated[float, Field(ge=0, le=36500)] = 90.0
    history_addresses: Literal["whole", "redacted"] = "whole"

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


class Metrics(_Section):
    """The HTTP listener for Prometheus and for probes."""

    listen: str = ""

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


class Stop(_Section):
    """What the first SIGTERM does; the second ends everything at once."""

    drain_s: Annotated[float, Field(ge=0, le=86400)] = 0.0


def _alike(domain: str) -> str:
    """The same for the same domain, however it is typed (see `xmpp.jids` for the whole truth)."""
    return domain.rstrip(".").casefold()


class Admin(_Section):
    """Who may use ad-hoc commands from an XMPP client (XEP-0050)."""

    jids: tuple[str, ...] = ()
    other_domains: bool = False
    addresses: Literal["whole", "redacted"] = "whole"

    @field_validator("jids")
    @classmethod
    def _are_bare(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for jid in value:
            user, at, domain = jid.partition("@")
            if not (user and at and domain) or "/" in jid or "@" in domain:
                raise ValueError(f'{jid!r} is no bare JID; write one such as "alice@example.org"')
        return value


class Log(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    redact: bool = True


class Settings(BaseSettings):
    """The whole configuration; made by `reading.load`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT,
        env_nested_delimiter="__",
    )

    xmpp: Xmpp
    relay: Relay
    relay_nodes: RelayNodes = RelayNodes()
    addresses: Addresses = Addresses()
    gate: Gate = Field(default_factory=Gate)
    ice: Ice = Field(default_factory=Ice)
    times: Times = Field(default_factory=Times)
    limits: CallLimits = Field(default_factory=CallLimits)
    budgets: Budgets = Field(default_factory=Budgets)
    state: State = Field(default_factory=State)
    stop: Stop = Field(default_factory=Stop)
    admin: Admin = Field(default_factory=Admin)
    metrics: Metrics = Field(default_factory=Metrics)
    log: Log = Field(default_factory=Log)

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
        return (EnvSettingsSource(settings_cls), init_settings)

    @property
    def secret(self) -> str:
        """The component's secret. Raises ConfigurationError where there is none."""
        return self.secret_of(self.xmpp)

    def secret_of(self, server: Server) -> str:
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

    def _secret_files(self, server: Server) -> Iterator[Path]:
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
