"""One content of a session as we keep it: its proposer, its direction, its place on the relay."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.ice import Agents
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.sdes import Protection
from jingle_hnt.model.content import (
    COMPONENTS,
    Candidate,
    Content,
    ContentKey,
    Senders,
)


class TransportKind:
    """The relay's part in contents of one kind of transport. This one lets them pass.

    What it knows of a content is in the `Medium`. Each kind is a file of `transports/`, which is
    found by the namespaces that `transports/table.py` names it for.

    `name` is what records call it. One that `needs_relay` has no media but by way of the relay. An
    `is_optional` relay is one path among others: the parties may do without it, its ports come and
    go, and no call ends because nothing is heard there. With `has_agents` the parties ask each
    other before they send (RFC 8445).
    """

    __slots__ = ()

    name = "passing"
    needs_relay = False
    is_optional = False
    has_agents = False

    def suits(self, leg: Leg, content: Content) -> bool:
        """Return whether a content that this leg proposes is one of these."""
        return False

    def reserve(self, leg: Leg, content: Content, now: float) -> "Allocation | None":
        """Ports, where the content cannot be proposed without. Raises NoPorts."""
        return None

    def demand(self, medium: "Medium", leg: Leg, content: Content) -> None:
        """Raise MalformedJingle for what cannot be understood of this content."""

    def propose(
        self, reply: Reply, medium: "Medium", leg: Leg, content: Content, now: float
    ) -> None:
        """This leg proposes the content: arm what is known, and put ours into the reply."""

    def accept(
        self, reply: Reply, medium: "Medium", leg: Leg, content: Content, now: float
    ) -> None:
        """This leg accepts it, perhaps once more."""

    def replaced(
        self, reply: Reply, medium: "Medium", leg: Leg, content: Content, now: float
    ) -> None:
        """This leg accepts the transport that the other has offered in place of another."""
        self.accept(reply, medium, leg, content, now)

    def trickle(
        self, reply: Reply, medium: "Medium", leg: Leg, content: Content, now: float
    ) -> None:
        """This leg signals more of the transport in use."""

    def rewrite(self, medium: "Medium", leg: Leg, content: Content) -> Rewrite | None:
        """Our candidates in place of those of this leg, where it is relayed already."""
        return None

    def take_over(self, reply: Reply, medium: "Medium", leg: Leg, content: Content) -> None:
        """Follow a content of this leg that has passed unchanged to the other party."""

    def is_latched_by_media(self, medium: "Medium", leg: Leg) -> bool:
        """Return whether this leg is latched by its media, and not by its agent's checks."""
        return True

    def waits(self, medium: "Medium") -> bool:
        """Return whether nothing but checks goes by way of the relay yet."""
        return False

    def is_on_offer(self, offered: "Replacement", leg: Leg, content: Content) -> bool:
        """Return whether a content names the transport on offer, not the one in use."""
        return False


PASSING = TransportKind()
"""The kind of what is not relayed."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A transport on offer in place of the one in use: what each of a `Medium`'s own would be.

    `asked_by` is the id of the request that offers it; empty where it is not known any more.
    """

    allocation: Allocation | None = None
    agents: Agents | None = None
    signalled: tuple[Candidate, ...] = ()
    asked_by: str = ""
    kind: TransportKind = PASSING

    @property
    def remembered(self) -> int:
        """Return the number of its remembered candidates."""
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
    `kind` says what is done for its transport. `media` and `mux` are what it was described as (see
    `model.content.Content`). `agreed_at` is when it was agreed on, None where that is not known.
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
    kind: TransportKind = PASSING

    def is_latched_by_media(self, leg: Leg) -> bool:
        """See `TransportKind.is_latched_by_media`."""
        return self.kind.is_latched_by_media(self, leg)

    @property
    def allocations(self) -> list[Allocation]:
        """Return the allocations of the transport in use and of those on offer."""
        offered = (replacement.allocation for replacement in self.replacements.values())
        return [a for a in (self.allocation, *offered) if a is not None]

    def replace(self, proposer: Leg) -> None:
        """The transport that this leg offers is the one in use from now on."""
        new = self.replacements.pop(proposer)
        self.allocation, self.agents, self.kind = new.allocation, new.agents, new.kind
        self.signalled = {proposer: new.signalled}

    def is_on_offer(self, leg: Leg, content: Content) -> bool:
        """See `TransportKind.is_on_offer`."""
        offered = self.replacements.get(leg)
        return offered is not None and offered.kind.is_on_offer(offered, leg, content)

    @property
    def remembered(self) -> int:
        """Return the number of its remembered candidates."""
        raw = sum(map(len, self.signalled.values()))
        offered = sum(r.remembered for r in self.replacements.values())
        agents = () if self.agents is None else self.agents.of
        return raw + offered + sum(len(agent.candidates) for agent in agents)

    def record(self, leg: Leg, candidates: Iterable[Candidate], room: int = 1 << 16) -> set[int]:
        """Record signalled candidates; returns the components that have a new generation.

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
