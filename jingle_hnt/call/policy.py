"""The operator's policy for the media of one call, as small values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jingle_hnt.call.leg import Leg
from jingle_hnt.relay.policy import PeerPolicy


class GateMode(StrEnum):
    """The time from which media may flow (media-path-middleboxes section 4)."""

    OPEN = "open"  # from the offer on
    ONE_STAGE = "one-stage"  # from the accept on; an offer without ports may pass unrelayed
    TWO_STAGE = "two-stage"  # reserved at the offer or refused, open from the accept on


class EarlyMedia(StrEnum):
    """The parties whose media may flow before the accept, unless the gate is open."""

    DROP = "drop"
    RESPONDER = "responder"
    BOTH = "both"


class AlreadyRelayed(StrEnum):
    """The treatment of an offer whose candidates are all a relay's (XEP-0278)."""

    PASS = "pass"
    RELAY = "relay"


class IceMode(StrEnum):
    """The treatment of ICE transports (RFC 7584)."""

    APPEND = "append"  # the relay is one more candidate, the last to be used
    TERMINATE = "terminate"  # the relay is each party's only peer, with credentials of its own
    PASS = "pass"  # they go on as they came


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """The policy of the gate."""

    policy: GateMode = GateMode.ONE_STAGE
    early_media: EarlyMedia = EarlyMedia.DROP


@dataclass(frozen=True, slots=True)
class Times:
    """Limits of a call's life, in seconds."""

    setup_s: float = 120.0  # from the offer to the accept
    first_media_s: float = 30.0  # from the accept to the first packet of either party
    consent_s: float = 30.0  # a party unheard for so long is sent nothing until it is heard again
    silence_s: float = 60.0  # both parties silent, RTCP included, not on hold
    hold_s: float = 3600.0  # the same while on hold
    call_s: float = 86400.0  # from the offer on, whatever flows


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """The operator's policy for one call.

    `ice` says by namespace what becomes of ICE in this call; of a namespace that it lacks nothing
    is rewritten. `raw_only` are the legs whose clients know raw UDP only. Agents have
    `direct_first_s` seconds to meet before our path is open to them; the ports of a relayed path
    that no agent has used for `idle_s` seconds are released.
    """

    peers: PeerPolicy = field(default_factory=PeerPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    already_relayed: AlreadyRelayed = AlreadyRelayed.PASS
    ice: Mapping[str, IceMode] = field(default_factory=dict)
    raw_only: frozenset[Leg] = frozenset()
    direct_first_s: float = 0.7
    idle_s: float = 60.0
    times: Times = field(default_factory=Times)

    def ice_mode(self, namespace: str) -> IceMode:
        """Return the treatment of an ICE transport of this namespace."""
        return self.ice.get(namespace, IceMode.PASS)
