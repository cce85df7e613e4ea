"""The operator's policy of calls, as small values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.policy import AlreadyRelayed, CallPolicy, GatePolicy, IceMode, Times
from jingle_hnt.jingle.budgets import BudgetPolicy
from jingle_hnt.jingle.rules import RulesPolicy, matches
from jingle_hnt.model.content import ICE, ICE_UDP
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.policy import PeerPolicy


class Fallback(StrEnum):
    """The treatment of a call that cannot be relayed."""

    REFUSE = "refuse"  # the caller is told resource-constraint
    PASS = "pass"  # it goes on unrelayed, and may connect where no NAT is in the way


@dataclass(frozen=True, slots=True)
class IceRule:
    """The treatment of ICE in calls of some parties. The first rule that fits applies.

    `parties` are patterns of bare JIDs, or of domains where they have no ``@``, of which one party
    at least must match one; `transports` are namespaces. Empty, either fits all.
    """

    mode: IceMode
    parties: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()

    def fits(self, parties: Iterable[JID], namespace: str) -> bool:
        """Return whether it holds for this transport between these parties."""
        if self.transports and namespace not in self.transports:
            return False
        return not self.parties or any(matches(self.parties, jid) for jid in parties)


@dataclass(frozen=True, slots=True)
class IcePolicy:
    """The policy of ICE transports.

    `rules` make exceptions from `mode`; `raw_udp` are patterns, as theirs, of the parties whose
    clients know raw UDP only. Agents have `direct_first_s` seconds to meet before our path is open
    to them; the ports of a relayed path that no agent has used for `idle_s` seconds are released.
    """

    mode: IceMode = IceMode.APPEND
    direct_first_s: float = 0.7
    idle_s: float = 60.0
    rules: tuple[IceRule, ...] = ()
    raw_udp: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """The policy of relaying calls, and of their ports.

    `exhausted` is the treatment of a call without free ports, `draining` that of new calls while
    the relay drains. A released port stays idle for `quarantine_s` seconds before it is free.
    """

    quarantine_s: float = 30.0
    exhausted: Fallback = Fallback.REFUSE
    draining: Fallback = Fallback.PASS
    already_relayed: AlreadyRelayed = AlreadyRelayed.PASS


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """Relay channels for clients that ask for them (XEP-0278).

    `per_user` bounds the channels that one bare JID has at a time, `per_minute` how often it may
    ask; a channel ends after `expire_s` seconds without a packet. `max_kbps` is what it carries
    each way, 0 where nothing limits it.
    """

    per_user: int = 4
    per_minute: int = 20
    expire_s: float = 60.0
    max_kbps: int = 0


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """Limits on calls; 0 means no limit.

    `per_user` and `per_domain` bound the calls that one bare JID and the users of one domain have
    made and that are going on, `calls` bounds all, `per_minute` how many calls one bare JID may
    make in a minute, `half_open` how many calls of one domain's users may be unanswered at a time.
    """

    per_user: int = 100
    per_domain: int = 0
    calls: int = 0
    per_minute: int = 60
    half_open: int = 0


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """The configuration of the session core.

    A field is named as the table of options that it is made of, and its fields as their options.
    `domains` are the local ones: a call is relayed only where one party is of such a domain; for
    calls by addresses at the component the `guests` are so, too. `relay_nodes` is None where
    clients may not ask for channels. `apart` has what calls follow instead of all this
    whose parties are of these domains.
    """

    domains: frozenset[str]
    peers: PeerPolicy = field(default_factory=PeerPolicy)
    relay: RelayPolicy = field(default_factory=RelayPolicy)
    relay_nodes: ChannelPolicy | None = None
    gate: GatePolicy = field(default_factory=GatePolicy)
    ice: IcePolicy = field(default_factory=IcePolicy)
    times: Times = field(default_factory=Times)
    limits: LimitPolicy = field(default_factory=LimitPolicy)
    calls: RulesPolicy = field(default_factory=RulesPolicy)
    budgets: BudgetPolicy = field(default_factory=BudgetPolicy)
    guests: frozenset[str] = frozenset()
    apart: Mapping[str, "SessionPolicy"] = field(default_factory=dict)

    def of_party(self, jid: JID) -> "SessionPolicy":
        """What calls follow that this party takes part in."""
        return self.apart.get(jid.domain, self)

    @property
    def terminates(self) -> bool:
        """Return whether ICE ends at the relay in some calls, which hides addresses."""
        return IceMode.TERMINATE in (self.ice.mode, *(rule.mode for rule in self.ice.rules))

    def ice_mode(self, parties: Iterable[JID], namespace: str) -> IceMode:
        """Return the treatment of an ICE transport of this namespace between these parties."""
        both = tuple(parties)
        return next((r.mode for r in self.ice.rules if r.fits(both, namespace)), self.ice.mode)

    def of_call(self, jids: tuple[JID, JID]) -> CallPolicy:
        """Return the policy for the media of a call between these parties."""
        raw_udp = self.ice.raw_udp
        return CallPolicy(
            peers=self.peers,
            gate=self.gate,
            already_relayed=self.relay.already_relayed,
            ice={each: self.ice_mode(jids, each) for each in (ICE_UDP, ICE)},
            raw_only=frozenset(leg for leg in Leg if raw_udp and matches(raw_udp, jids[leg])),
            direct_first_s=self.ice.direct_first_s,
            idle_s=self.ice.idle_s,
            times=self.times,
        )
