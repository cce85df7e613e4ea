"""What the two ICE agents of a content have signalled, and what the relay makes of it (RFC 7584).

The relay is one more candidate of each party, the last to be used. Everything that the agents say
to each other goes on as it came: the relay only needs to know with which credentials each of them
will name and sign its checks.
"""

from dataclasses import dataclass, field

from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import RTCP, RTP, Candidate, Content, Ice
from jingle_hnt.relay.evidence import IceKey
from jingle_hnt.session.table import Leg

REMEMBERED = 2
"""Credentials of an agent that are known at a time: those in force, and those before a restart."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an agent's peer names and signs its checks to it with (RFC 8445 section 5.3)."""

    ufrag: str
    pwd: str = field(repr=False)


@dataclass(slots=True)
class Agent:
    """One party's agent.

    `credentials` has the newest first. `shown` are our components that were put beside its
    candidates, since its last restart. `generation` is the greatest of its candidates.
    """

    credentials: tuple[Credentials, ...] = ()
    components: frozenset[int] = frozenset()
    generation: int = 0
    mux: bool = False
    shown: frozenset[int] = frozenset()

    def hear(self, transport: Ice, mux: bool | None) -> bool:
        """Take note of what the agent signals; tells whether its credentials are others now.

        `mux` is None where the stanza describes no media.
        """
        self.mux = self.mux if mux is None else mux
        self.components |= transport.components
        fresh = Credentials(transport.ufrag, transport.pwd)
        changed = bool(transport.ufrag) and self.credentials[:1] != (fresh,)
        if changed:
            self.generation += bool(self.credentials)
            self.credentials = (fresh, *self.credentials)[:REMEMBERED]
            self.shown = frozenset()
        self.generation = max(self.generation, transport.generation or 0)
        return changed


@dataclass(slots=True)
class Agents:
    """Both agents of one content. `quiet_since` is None while either is heard at the relay."""

    of: tuple[Agent, Agent] = field(default_factory=lambda: (Agent(), Agent()))
    has_media: bool = True
    quiet_since: float | None = None

    def hear(self, leg: Leg, content: Content) -> bool:
        """Take note of a content with an ICE transport; tells whether the latches need new keys."""
        assert isinstance(content.transport, Ice)
        described = content.media is not None
        return self.of[leg].hear(content.transport, content.mux if described else None)

    def keys(self, leg: Leg) -> tuple[IceKey, ...]:
        """What this leg's agent makes its checks with; empty while one agent is not known.

        A check is named by both agents, the one that is asked first, and signed with its pwd. The
        credentials in force come first; those before them hold until the plane has seen the new.
        """
        keys = (
            IceKey(f"{asked.ufrag}:{asking.ufrag}", asked.pwd)
            for asked in self.of[leg.other].credentials
            for asking in self.of[leg].credentials
        )
        return tuple(dict.fromkeys(keys))

    def shown(self, leg: Leg, components: tuple[int, ...]) -> None:
        """These components of ours are put beside this leg's candidates."""
        self.of[leg].shown |= frozenset(components)

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
