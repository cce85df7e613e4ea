"""From settings to the small values that the signalling process is made of."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from jingle_hnt.config import RelayNodes, Settings
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from jingle_hnt.relay.ports import PortPool
from jingle_hnt.session.policy import (
    AlreadyRelayed,
    ChannelPolicy,
    EarlyMedia,
    Fallback,
    GatePolicy,
    IceMode,
    LimitPolicy,
    SessionPolicy,
    Times,
)
from jingle_hnt.xmpp.component import ComponentSettings


@dataclass(frozen=True, slots=True)
class Wiring:
    """All that the signalling process needs of the configuration, as small values."""

    component: ComponentSettings
    policy: SessionPolicy
    pool: PortPool
    plane_socket: Path
    admin_socket: Path
    journal: Path
    history: Path
    history_calls: int
    metrics: tuple[str, int] | None


def wire(settings: Settings) -> Wiring:
    """Small values out of the settings. Raises ConfigurationError where the secret is missing."""
    relay, state = settings.relay, settings.state
    interfaces = [
        Interface(i.address, i.advertise or i.address, i.port_offset, i.networks)
        for i in relay.interfaces
    ]
    host, port = settings.xmpp.endpoint
    component = ComponentSettings(
        jid=settings.xmpp.component,
        secret=settings.secret,
        domains=settings.xmpp.domains,
        host=str(host),
        port=port,
        ping_s=settings.xmpp.ping_s,
        channels=settings.relay_nodes.enabled,
        administrators=administrators(settings),
    )
    pool = PortPool(interfaces, *relay.port_range, secrets.randbelow)
    return Wiring(
        component,
        session_policy(settings),
        pool,
        state.plane_socket,
        state.admin_socket,
        state.journal,
        state.history,
        state.history_calls,
        settings.metrics.endpoint,
    )


def session_policy(settings: Settings) -> SessionPolicy:
    """What the session core needs of the settings; all of it may change for new calls."""
    relay = settings.relay
    own = {ip for i in relay.interfaces for ip in (i.address, i.advertise or i.address)}
    peers = PeerPolicy(
        own=tuple(sorted(own, key=str)),
        allowed=relay.allow_networks,
        proxies=relay.proxies,
        widen_v4=relay.widen_v4,
        widen_v6=relay.widen_v6,
        early_stream=relay.early_stream,
        unknown=UnknownSource(relay.unknown_source),
    )
    return SessionPolicy(
        domains=frozenset(settings.xmpp.domains),
        peers=peers,
        gate=GatePolicy(settings.gate.policy),
        early_media=EarlyMedia(settings.gate.early_media),
        exhausted=Fallback(relay.exhausted),
        already_relayed=AlreadyRelayed(relay.already_relayed),
        ice=IceMode(settings.ice.mode),
        times=Times(
            **settings.times.model_dump(),
            ice_idle_s=settings.ice.idle_s,
            linger_s=relay.quarantine_s,
        ),
        channels=_channels(settings.relay_nodes),
        limits=LimitPolicy(**settings.limits.model_dump()),
        draining=Fallback(relay.draining),
    )


def administrators(settings: Settings) -> tuple[JID, ...]:
    """Who may use ad-hoc commands."""
    return tuple(JID.of(jid) for jid in settings.admin.jids)


def _channels(nodes: RelayNodes) -> ChannelPolicy | None:
    if not nodes.enabled:
        return None
    return ChannelPolicy(nodes.per_user, nodes.per_minute, nodes.expire_s)
