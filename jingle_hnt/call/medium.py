"""One content of a session as we keep it: its proposer, its direction, its place on the relay."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.ice import Agents
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.sdes import Protection
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import (
    COMPONENTS,
    Candidate,
    CandidateType,
    ContentKey,
    Ice,
    RawUdp,
    Senders,
)


@dataclass(frozen=True, slots=True)
class Replacement:
    """A transport on offer in place of the one in use: what each of a `Medium`'s own would be.

    `asked_by` is the id of the request that offers it; empty where it is not known any more.
    """

    allocation: Allocation | None = None
    agents: Agents | None = None
    signalled: tuple[Candidate, ...] = ()
    asked_by: str = ""

    @property
    def is_optional(self) -> bool:
        """See `Medium.is_optional`."""
        return self.agents is not None and self.agents.stand_ins is None

    @property
    def remembered(self) -> int:
        """How many candidates are remembered of it."""
        agents = () if self.agents is None else self.agents.of
        return len(self.signalled) + sum(len(agent.candidates) for agent in agents)


@dataclass(slots=True)
class Medium:
    """A content of the session.

    `allocation` is None where it is not relayed (another transport, or already a relay's).
    `agents` is set where the transport is ICE and the relay takes part; the allocation comes and
    goes then, unless ICE ends at the relay. `protection` is what its media is signed with, whatever
    the transport. `signalled[leg]` are the candidates of this leg's raw UDP, `replacements[leg]` is
    the transport that it offers in place of the present one. `added_by` is the id of the
    content-add that brought it, empty where it is not known any more, None for what the offer had.
    `media` and `mux` are what it was described as (see `model.content.Content`). `agreed_at` is
    when it was agreed on, None where that is not known.
    """

    key: ContentKey
    proposer: Leg
    senders: Senders = Senders.BOTH
    added_by: str | None = None
    agreed: bool = False
    agreed_at: float | None = None
    allocation: Allocation | None = None
    agents: Agents | None = None
    protection: Protection = field(default_factory=lambda: Protection(Leg.INITIATOR))
    replacements: dict[Leg, Replacement] = field(default_factory=dict)
    signalled: dict[Leg, tuple[Candidate, ...]] = field(default_factory=dict)
    media: str | None = None
    mux: bool = False

    @property
    def is_optional(self) -> bool:
        """Whether the relay is one candidate among others, that the agents may do without."""
        return self.agents is not None and self.agents.stand_ins is None

    def is_raw(self, leg: Leg) -> bool:
        """Whether this leg is latched by its media, and not by its agent's checks."""
        return self.agents is None or leg in self.agents.raw

    @property
    def allocations(self) -> list[Allocation]:
        """What it holds of the relay: the transport in use and those on offer."""
        offered = (replacement.allocation for replacement in self.replacements.values())
        return [a for a in (self.allocation, *offered) if a is not None]

    def replace(self, proposer: Leg) -> None:
        """The transport that this leg offers is the one in use from now on."""
        new = self.replacements.pop(proposer)
        self.allocation, self.agents = new.allocation, new.agents
        self.signalled = {proposer: new.signalled}

    def is_on_offer(self, leg: Leg, transport: object) -> bool:
        """Whether this is of the ICE transport that this leg offers in place of the one in use."""
        offered = self.replacements.get(leg)
        if offered is None or offered.agents is None or not isinstance(transport, Ice):
            return False
        return offered.is_optional and offered.agents.of[leg].is_named(transport)

    @property
    def remembered(self) -> int:
        """How many candidates are remembered of it."""
        raw = sum(map(len, self.signalled.values()))
        offered = sum(r.remembered for r in self.replacements.values())
        agents = () if self.agents is None else self.agents.of
        return raw + offered + sum(len(agent.candidates) for agent in agents)

    def hear(self, leg: Leg, candidates: Iterable[Candidate], room: int = 1 << 16) -> set[int]:
        """Take note of signalled candidates; returns the components that have a new generation.

        A greater generation makes the older candidates of its component obsolete, a lesser one is
        stale and changes nothing (XEP-0177 section 5.3). `room` is how many more may be remembered:
        where there is none the oldest make it.
        """
        known = {c.component: c.generation for c in self.signalled.get(leg, ())}
        told = [c for c in candidates if c.generation >= known.get(c.component, 0)]
        fresh = dict.fromkeys(told)
        newest = {c.component: c.generation for c in fresh}
        kept = [
            c
            for c in self.signalled.get(leg, ())
            if newest.get(c.component, c.generation) == c.generation and c not in fresh
        ]
        most = max(len(self.signalled.get(leg, ())) + room, len(COMPONENTS))
        self.signalled[leg] = (*kept, *fresh)[-most:]
        return {c for c, generation in newest.items() if generation > known.get(c, generation)}


def is_relayed_already(transport: RawUdp) -> bool:
    """Whether every candidate is a relay's; a second relay would only add delay (XEP-0278)."""
    candidates = transport.candidates
    return bool(candidates) and all(c.type is CandidateType.RELAY for c in candidates)


def is_relayed_here(transport: RawUdp, own: Collection[IPAddress]) -> bool:
    """Whether every candidate is an address of ours: relaying it again would make a loop."""
    candidates = transport.candidates
    return bool(candidates) and all(c.address.ip in own for c in candidates)


def is_ours(transport: Ice, own: Collection[IPAddress]) -> bool:
    """Whether the relay has been at it already: a room showed us the stanza before (XEP-0045)."""
    return any(candidate.address.ip in own for candidate in transport.candidates)
