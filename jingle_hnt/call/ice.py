"""The two ICE agents of a content, and the relay's part between them (RFC 7584).

Either the relay is one more candidate of each party, the last to be used. Everything that the
agents say to each other goes on as it came then: the relay only needs to know with which
credentials each of them will name and sign its checks.

Or ICE ends at the relay: towards each party it is the other's agent, with credentials of its own,
and nothing that one agent signals of itself reaches the other one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from jingle_hnt.call.leg import Leg
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import RTCP, RTP, Candidate, CandidateType, Content, Ice
from jingle_hnt.relay.evidence import IceKey
from jingle_hnt.relay.ice_agent import Checks

DRAWN = 88
"""Random hexadecimal digits that a relay agent is made of: ufrag, pwd, secret, tie-breaker."""

PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""What is reached from one network only (RFC 1918, 3927, 4193, 4291, 6598)."""

MOST_CANDIDATES = 64
"""Of one agent that are known at a time."""

REMEMBERED = 2
"""Credentials of an agent that are known at a time: those in force, and those before a restart."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An agent's ufrag and password, which name and sign checks to it (RFC 8445 section 5.3)."""

    ufrag: str
    pwd: str = field(repr=False)


@dataclass(slots=True)
class Agent:
    """One party's agent.

    `credentials` has the newest first; they have changed `lives` times. `candidates` are those that
    came with the newest. `shown` are our components that were put beside its candidates, since its
    last restart. `generation` is the greatest of its candidates. `outdated` are the credentials
    that the other agent had when this one restarted, and that it replaces in its answer.
    """

    credentials: tuple[Credentials, ...] = ()
    components: frozenset[int] = frozenset()
    generation: int = 0
    mux: bool = False
    shown: frozenset[int] = frozenset()
    candidates: tuple[Candidate, ...] = ()
    lives: int = 0
    outdated: Credentials | None = None

    def record(self, transport: Ice, mux: bool | None, room: int = MOST_CANDIDATES) -> bool:
        """Record what the agent signals; tells whether its credentials are others now.

        `mux` is None where the stanza describes no media; `room` is how many more candidates may be
        remembered. A late candidate may carry the credentials of before a restart: it begins no
        other one, and is no candidate of the agent as it is now (RFC 8838 section 8).
        """
        self.mux = self.mux if mux is None else mux
        self.components |= transport.components
        fresh = Credentials(transport.ufrag, transport.pwd)
        if fresh in self.credentials[1:]:
            return False
        changed = bool(transport.ufrag) and self.credentials[:1] != (fresh,)
        if changed:
            self.generation += bool(self.credentials)
            self.candidates = () if self.credentials else self.candidates
            self.credentials = (fresh, *self.credentials)[:REMEMBERED]
            self.shown = frozenset()
            self.lives += 1
        told = (c for c in transport.candidates if c not in self.candidates)
        most = min(MOST_CANDIDATES, len(self.candidates) + room)
        self.candidates = (*self.candidates, *told)[:most]
        self.generation = max(self.generation, transport.generation or 0)
        return changed

    def is_named(self, transport: Ice) -> bool:
        """Return whether a transport has the credentials that this agent has now."""
        return self.credentials[:1] == (Credentials(transport.ufrag, transport.pwd),)

    @property
    def is_private_only(self) -> bool:
        """Return whether nobody beyond its own network can reach an address that it has said."""
        own = [c.address.ip for c in self.candidates if c.type is not CandidateType.RELAY]
        return bool(own) and all(any(ip in n for n in PRIVATE) for ip in own)

    def is_mapped_anew(self, source: TransportAddress) -> bool:
        """Return whether `source` is none of its server-reflexive candidates (RFC 4787 REQ-1)."""
        told = any(c.type is CandidateType.SRFLX for c in self.candidates)
        return told and all(c.address != source for c in self.candidates)


@dataclass(slots=True)
class RelayAgent:
    """The relay's ICE agent in the place of one party, towards the other (RFC 7584 section 4.2).

    It gets new credentials whenever that party's agent does, so that an ICE restart goes through.
    """

    credentials: tuple[Credentials, ...] = ()
    secret: str = field(default="", repr=False)
    tie_breaker: int = 0

    def renew(self, drawn: str, shared: Credentials | None = None) -> None:
        """Take credentials out of `DRAWN` random hexadecimal digits (RFC 8445 section 5.3).

        `shared` are those of the contents with which this one is bundled.
        """
        fresh = shared or Credentials(drawn[:8], drawn[8:40])
        self.credentials = (fresh, *self.credentials)[:REMEMBERED]
        self.secret = drawn[40:72]
        self.tie_breaker = self.tie_breaker or int(drawn[72:88], 16)

    def take(self, told: Credentials) -> bool:
        """Take the party's own credentials, which have passed to the other one in the place of
        ours; tells whether they are others than those in force."""
        if self.credentials[:1] == (told,):
            return False
        self.credentials = (told, *self.credentials[1:])
        return True


@dataclass(slots=True)
class Agents:
    """Both agents of one content. `quiet_since` is None while either is heard at the relay.

    `waits` tells that no check goes by way of the relay yet, so that a direct path is found first;
    `waits_until` is None until the one that begins last has asked there; `began_early` tells that
    the other one has asked since before it answered.
    `relay_agents` is set where ICE ends at the relay: the agent in the place of each leg. `raw` are
    the legs that speak raw UDP then, and `namespace` is the transport of the others.
    """

    of: tuple[Agent, Agent] = field(default_factory=lambda: (Agent(), Agent()))
    has_media: bool = True
    quiet_since: float | None = None
    waits: bool = False
    waits_until: float | None = None
    began_early: bool = False
    relay_agents: tuple[RelayAgent, RelayAgent] | None = None
    raw: frozenset[Leg] = frozenset()
    namespace: str = ""

    def record(self, leg: Leg, content: Content, room: int = MOST_CANDIDATES) -> bool:
        """Record a content with an ICE transport; tells whether the latches need new keys."""
        assert isinstance(content.transport, Ice)
        described = content.media is not None
        agent, other = self.of[leg], self.of[leg.other]
        before, known = agent.credentials[:1], other.credentials[:1]
        changed = agent.record(content.transport, content.mux if described else None, room)
        if changed:
            # Who answers a restart has new credentials as well (RFC 8445 section 9).
            answers = other.outdated is not None and before == (other.outdated,)
            agent.outdated = known[0] if known and before and not answers else None
        return changed

    def keys(self, leg: Leg) -> tuple[IceKey, ...]:
        """Return the keys of this leg's checks; empty while neither agent is known.

        One that has not answered yet may check with what it was offered (RFC 8445 section 7.3).
        A check is named by both agents, the one that is asked first, and signed with its pwd. The
        credentials in force come first; those before them hold until the plane has seen the new.

        No check goes on from the new life of one agent to the old one of the other. Chromium makes
        such at once when it restarts, and an old socket of Firefox answers. Chromium then keeps
        that pair, and passes over our candidate of the new life, since it has the same port.
        """
        asked_agent = (
            self.of[leg.other] if self.relay_agents is None else self.relay_agents[leg.other]
        )
        if not self.of[leg].credentials:
            return tuple(IceKey(f"{asked.ufrag}:", asked.pwd) for asked in asked_agent.credentials)
        known, outdated = asked_agent.credentials, self.of[leg].outdated
        renewed = known[: known.index(outdated)] if outdated in known else known
        keys = (
            IceKey(f"{asked.ufrag}:{asking.ufrag}", asked.pwd)
            for asked in known
            for n, asking in enumerate(self.of[leg].credentials)
            if n > 0 or asked in renewed
        )
        return tuple(dict.fromkeys(keys))

    def renew_relay_agent(
        self, leg: Leg, restarted: bool, drawn: Callable[[], str], others: Iterable["Agents"]
    ) -> bool:
        """Give the relay's agent for this leg credentials if it needs new ones.

        Returns whether they are its first.

        `restarted` says that the leg's agent has new ones. Where it has the same in `others`, those
        of the session's other contents, ours are the same as well (BUNDLE, RFC 8843 section 7).
        """
        assert self.relay_agents is not None
        relay_agent = self.relay_agents[leg]
        is_first = not relay_agent.credentials
        if is_first or (restarted and self.of[leg].lives > 1):
            same = (a for a in others if a is not self and a.credentials(leg) is not None)
            known = {a.of[leg].credentials[:1]: a.credentials(leg) for a in same}
            relay_agent.renew(drawn(), known.get(self.of[leg].credentials[:1]))
        return is_first

    def credentials(self, leg: Leg) -> Credentials | None:
        """Return the credentials that replace the newest ones of this leg, if any."""
        if self.relay_agents is None or not self.of[leg].credentials:
            return None
        return next(iter(self.relay_agents[leg].credentials), None)

    def checks(
        self, leg: Leg, component: int, targets: tuple[TransportAddress, ...]
    ) -> Checks | None:
        """Return the checks that the relay makes towards this leg; None if it makes none.

        After a restart of this leg's agent the credentials before it stay in force until the other
        one has restarted, too: until then the agent cannot know ours. Jingle's initiator controls.
        """
        theirs = self.of[leg].credentials
        if self.relay_agents is None or leg in self.raw or not theirs:
            return None
        relay_agent = self.relay_agents[leg.other]
        if not relay_agent.credentials:
            return None
        ahead = 0 if leg.other in self.raw else self.of[leg].lives - self.of[leg.other].lives
        asked = theirs[min(max(ahead, 0), len(theirs) - 1)]
        ours = relay_agent.credentials[min(max(-ahead, 0), len(relay_agent.credentials) - 1)]
        return Checks(
            username=f"{asked.ufrag}:{ours.ufrag}",
            password=asked.pwd,
            secret=f"{relay_agent.secret}{component}",
            tie_breaker=relay_agent.tie_breaker,
            controlling=leg is Leg.RESPONDER,
            targets=targets if ahead <= 0 else (),
        )

    def may_meet(self, sources: tuple[TransportAddress, TransportAddress]) -> bool:
        """Return whether a direct path is possible between agents with these `sources`.

        They do not where they have no IP version in common, nor where two NATs map each of them to
        another port for everybody: what it was told by its STUN server is not where it asks from;
        nor behind different NATs where neither has any address but private ones.
        """
        one, other = ({c.address.ip.version for c in agent.candidates} for agent in self.of)
        if one and other and one.isdisjoint(other):
            return False
        if sources[0].ip == sources[1].ip:
            return True
        if all(agent.is_private_only for agent in self.of):
            return False
        return not all(a.is_mapped_anew(s) for a, s in zip(self.of, sources, strict=True))

    def shown(self, leg: Leg, components: tuple[int, ...]) -> None:
        """These components of ours are put beside this leg's candidates."""
        self.of[leg].shown |= frozenset(components)

    def forget_shown(self, leg: Leg) -> None:
        """This leg says all of its transport once more, and ours beside it is to be there again."""
        self.of[leg].shown = frozenset()

    def components_beside(self, leg: Leg) -> tuple[int, ...]:
        """Return the components to offer an agent for a raw UDP party."""
        agent = self.of[leg]
        return (RTP,) if agent.mux and RTCP not in agent.components else (RTP, RTCP)

    def missing(self, leg: Leg) -> tuple[int, ...]:
        """Our components that belong beside this leg's candidates and are not there yet.

        RTCP has none where it is known to go with RTP: the offerer has no candidate for it either,
        or both have agreed on it (RFC 5761 section 5.1.1).
        """
        agent = self.of[leg]
        if not agent.credentials:
            return ()
        agreed = agent.mux and self.of[leg.other].mux
        alone = agreed or ((agent.mux or not self.has_media) and RTCP not in agent.components)
        wanted = (RTP,) if alone else (RTP, RTCP)
        return tuple(c for c in wanted if c not in agent.shown)


def usable(candidates: tuple[Candidate, ...], party: IPAddress | None) -> tuple[Candidate, ...]:
    """The candidates that tell what an agent can reach: those of its connection's family first."""
    routed = [c for c in candidates if not c.address.ip.is_link_local]
    version = 4 if party is None else party.version
    return tuple(sorted(routed, key=lambda c: c.address.ip.version != version))


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the order in which they are to be asked."""
    return sorted(candidates, key=lambda c: -c.priority)


def likely_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The most likely to work, unasked, at first (RFC 8839 section 5.1)."""
    order = (CandidateType.RELAY, CandidateType.SRFLX, CandidateType.PRFLX, CandidateType.HOST)
    return sorted(candidates, key=lambda c: order.index(c.type or CandidateType.HOST))
