"""From settings to the small values that the signalling process is made of."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import EnumType
from functools import partial
from pathlib import Path
from typing import TypeVar, get_type_hints

from pydantic import BaseModel

from jingle_hnt.call.policy import EarlyMedia, GatePolicy, IceMode, Times
from jingle_hnt.errors import ConfigurationError
from jingle_hnt.fronts.ng.calls import NgPolicy, sip_policy
from jingle_hnt.fronts.ng.listening import SIP
from jingle_hnt.fronts.ng.service import NgSettings
from jingle_hnt.fronts.xmpp.component import ComponentSettings
from jingle_hnt.fronts.xmpp.jids import normalised, normalised_pattern
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.policy import (
    ChannelPolicy,
    IcePolicy,
    IceRule,
    LimitPolicy,
    RelayPolicy,
    SessionPolicy,
)
from jingle_hnt.jingle.rules import CallRule, CallVerdict, RulesPolicy
from jingle_hnt.model.content import ICE, ICE_UDP
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy
from jingle_hnt.relay.ports import PortPool
from jingle_hnt.settings.model import CallsOptions, RelayNodesOptions, ServerOptions, Settings
from jingle_hnt.settings.model import IceRuleOptions as IceRuleSettings

Policy = TypeVar("Policy")

ICE_NAMESPACES = {"ice-udp": ICE_UDP, "ice": ICE}


@dataclass(frozen=True, slots=True)
class Wiring:
    """The configuration of the signalling process, as small values."""

    components: tuple[ComponentSettings, ...]
    policy: SessionPolicy
    pool: PortPool
    plane_socket: Path
    admin_socket: Path
    journal: Path
    history: Path
    history_calls: int
    history_days: float
    history_is_redacted: bool
    spills: tuple[Path, Path]
    """Where journal and history keep what their disk does not take."""
    metrics: tuple[str, int] | None
    fronts: tuple[object, ...] = ()
    """What the operator has set for each front of `fronts.table`, as a value of a class of it."""


def wire(settings: Settings) -> Wiring:
    """Make the values of the settings. Raises ConfigurationError if the secret is missing."""
    relay, state = settings.relay, settings.state
    pool = PortPool(interfaces(settings), *relay.port_range, secrets.randbelow)
    return Wiring(
        component_settings(settings),
        session_policy(settings),
        pool,
        state.plane_socket,
        state.admin_socket,
        state.journal,
        state.history,
        state.history_calls,
        state.history_days,
        state.history_addresses == "redacted",
        (state.runtime_directory / "journal.spill", state.runtime_directory / "history.spill"),
        settings.metrics.endpoint,
        front_options(settings),
    )


def front_options(settings: Settings) -> tuple[object, ...]:
    """What is set for the fronts that are on."""
    return tuple(each for each in (ng_settings(settings),) if each is not None)


def ng_settings(settings: Settings) -> NgSettings | None:
    """Where SIP proxies are listened for; None where they are not."""
    ng = settings.ng
    return NgSettings(ng.listening, ng.networks, ng_policy(settings)) if ng.enabled else None


def ng_policy(settings: Settings) -> NgPolicy:
    """What new SIP calls follow."""
    ng = settings.ng
    ice = IceMode.PASS if ng.ice == "remove" else IceMode(ng.ice)
    return NgPolicy(ng.calls, ice, EarlyMedia(ng.early_media))


def interfaces(settings: Settings) -> list[Interface]:
    """Return the relay's addresses, with their advertised ones."""
    return [
        Interface(i.address, i.advertise or i.address, i.port_offset, i.networks)
        for i in settings.relay.interfaces
    ]


def component_settings(settings: Settings) -> tuple[ComponentSettings, ...]:
    """One for each server. Raises ConfigurationError where no server's secret can be read.

    A secret that cannot be read stops its own server only: it is read again before each attempt to
    connect, and until then that server is not connected for that reason.
    """
    every = frozenset(_domains(settings.xmpp.all_domains))
    secrets_read = [_secret(settings, server) for server in settings.xmpp.servers]
    if not any(secrets_read):
        settings.secret_of(settings.xmpp)  # it raises, and says what to write
    return tuple(
        ComponentSettings(
            jid=server.component,
            secret=secret,
            domains=tuple(_domains(server.domains)),
            host=server.endpoint[0],
            port=server.endpoint[1],
            ping_s=server.ping_s,
            trusted=server.allow_plaintext_to,
            channels=settings.relay_nodes.enabled,
            callers=callers(settings),
            elsewhere=every - frozenset(_domains(server.domains)),
            administrators=administrators(settings),
            rings=calls_policy(settings.calls).asks_about_rings,
            redacts=settings.admin.addresses == "redacted",
            read_secret=partial(settings.secret_of, server),
        )
        for server, secret in zip(settings.xmpp.servers, secrets_read, strict=True)
    )


def _secret(settings: Settings, server: ServerOptions) -> str:
    """Return the secret for one of the servers; empty if it cannot be read now."""
    try:
        return settings.secret_of(server)
    except ConfigurationError:
        return ""


def session_policy(settings: Settings) -> SessionPolicy:
    """Return the policy of sessions. All of it may change for new calls."""
    relay = settings.relay
    own = {ip for i in relay.interfaces for ip in (i.address, i.advertise or i.address)}
    policy = SessionPolicy(
        domains=frozenset(_domains(settings.xmpp.all_domains)),
        peers=taken(PeerPolicy, relay, own=tuple(sorted(own, key=str))),
        relay=taken(RelayPolicy, relay),
        relay_nodes=_channels(settings.relay_nodes, relay.max_kbps),
        gate=taken(GatePolicy, settings.gate),
        ice=taken(
            IcePolicy,
            settings.ice,
            rules=tuple(_ice_rule(rule) for rule in settings.ice.rules),
            raw_udp=tuple(map(normalised_pattern, settings.ice.raw_udp)),
        ),
        times=taken(Times, settings.times),
        limits=taken(LimitPolicy, settings.limits),
        calls=calls_policy(settings.calls),
        budgets=taken(BudgetPolicy, settings.budgets),
        guests=callers(settings) | ({SIP} if settings.ng.enabled else set()),
    )
    if not settings.ng.enabled:
        return policy
    return replace(policy, apart={SIP: sip_policy(policy, ng_policy(settings))})


def taken(kind: type[Policy], options: BaseModel, **computed: object) -> Policy:
    """A policy whose fields are the options of the same names, and what is computed of others."""
    types = get_type_hints(kind)
    values = dict(computed)
    for own in fields(kind):  # type: ignore[arg-type]
        if own.init and own.name not in computed:
            value = getattr(options, own.name)
            choice = types[own.name]
            values[own.name] = choice(value) if isinstance(choice, EnumType) else value
    return kind(**values)


def callers(settings: Settings) -> frozenset[str]:
    """Return the domains whose users may call by addresses; none if that is off."""
    if not settings.addresses.enabled:
        return frozenset()
    return frozenset(_domains(settings.addresses.domains or settings.xmpp.all_domains))


def _domains(typed: Iterable[str]) -> list[str]:
    """Domains as the server writes them. Raises ConfigurationError for what is none."""
    try:
        return [normalised(domain) for domain in typed]
    except ValueError as error:
        raise ConfigurationError(f"domains: {error}") from None


def _ice_rule(rule: IceRuleSettings) -> IceRule:
    transports = tuple(ICE_NAMESPACES[name] for name in rule.transports)
    return taken(
        IceRule, rule, parties=tuple(map(normalised_pattern, rule.parties)), transports=transports
    )


def calls_policy(calls: CallsOptions) -> RulesPolicy:
    """The rules about who may call whom, each with a name."""
    rules = tuple(
        taken(
            CallRule,
            rule,
            name=rule.name or f"calls.rules[{number}]",
            verdict=CallVerdict(rule.verdict),
            callers=tuple(map(normalised_pattern, rule.callers)),
            callees=tuple(map(normalised_pattern, rule.callees)),
        )
        for number, rule in enumerate(calls.rules, 1)
    )
    return taken(RulesPolicy, calls, rules=rules)


def administrators(settings: Settings) -> tuple[JID, ...]:
    """Return the bare JIDs that may use ad-hoc commands."""
    try:
        return tuple(JID.of(normalised(jid)) for jid in settings.admin.jids)
    except ValueError as error:
        raise ConfigurationError(f"admin.jids: {error}") from None


def _channels(nodes: RelayNodesOptions, max_kbps: int) -> ChannelPolicy | None:
    if not nodes.enabled:
        return None
    return taken(ChannelPolicy, nodes, max_kbps=max_kbps)
