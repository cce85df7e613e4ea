"""The reply to a request: its rewrites, and the allocations that must be bound before it leaves."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.effects import OwnTransports, Substitution
from jingle_hnt.call.leg import Leg
from jingle_hnt.model.content import COMPONENTS, Candidate, ContentKey, OwnTransport


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The relay's candidates for one content of a stanza to `towards`.

    They are made when the stanza leaves: until then the plane may have found a port taken. `own` is
    set where the whole transport is ours.
    """

    allocation: Allocation
    towards: Leg
    generation: int
    components: tuple[int, ...] = COMPONENTS
    own: OwnTransport | None = None

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the relay's candidates, one for each component, with the ports bound by now."""
        return self.allocation.candidates(self.towards, self.generation, self.components)


@dataclass(slots=True)
class Reply:
    """The reply to a request: its rewrites, which leave when the allocations are bound.

    Both are named as in the stanza. `hidden` are transports that would tell addresses which are to
    be hidden, and that nothing better than an empty one of ours can be put in the place of.
    """

    rewrites: dict[ContentKey, Rewrite] = field(default_factory=dict)
    hidden: dict[ContentKey, OwnTransport] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)

    @property
    def substitution(self) -> Substitution:
        """Return candidates for transports that stay their sender's."""
        return {k: p.candidates() for k, p in self.rewrites.items() if p.own is None}

    @property
    def transports(self) -> OwnTransports:
        """Return the transports that are wholly the relay's."""
        own = {k: (p.own, p) for k, p in self.rewrites.items()}
        ours = {k: replace(o, candidates=p.candidates()) for k, (o, p) in own.items() if o}
        return {**self.hidden, **ours}

    @property
    def changes_nothing(self) -> bool:
        """Return whether the stanza goes on as it came."""
        return not self.rewrites and not self.hidden

    def lose(self, lost: Collection[Allocation]) -> dict[ContentKey, OwnTransport]:
        """Drop the rewrites of these; returns an empty transport for each content that had one."""
        broken = {k: p for k, p in self.rewrites.items() if p.allocation in lost}
        self.rewrites = {k: p for k, p in self.rewrites.items() if k not in broken}
        return {k: replace(p.own or OwnTransport(), candidates=()) for k, p in broken.items()}

    def drop_rewrites(self) -> None:
        """Drop the rewrites whose allocations could not be bound."""
        kept = {k: p for k, p in self.rewrites.items() if p.allocation not in self.allocations}
        self.rewrites, self.allocations = kept, []
