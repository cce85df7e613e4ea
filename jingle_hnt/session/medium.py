"""One content of a session as we keep it: its proposer, its direction, its place on the relay."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import Candidate, CandidateType, ContentKey, RawUdp, Senders
from jingle_hnt.session.allocation import Allocation
from jingle_hnt.session.ice import Agents
from jingle_hnt.session.sdes import Protection
from jingle_hnt.session.table import Leg


@dataclass(slots=True)
class Medium:
    """A content of the session.

    `allocation` is None where it is not relayed (another transport, or already a relay's).
    `agents` is set where the transport is ICE and the relay takes part; the allocation comes and
    goes then. `protection` is what its media is signed with, whatever the
    transport. `replacements[leg]` is the transport that this leg offers in place of the present
    one.
    """

    key: ContentKey
    proposer: Leg
    senders: Senders = Senders.BOTH
    agreed: bool = False
    added: bool = False
    allocation: Allocation | None = None
    agents: Agents | None = None
    protection: Protection = field(default_factory=lambda: Protection(Leg.INITIATOR))
    replacements: dict[Leg, Allocation | None] = field(default_factory=dict)
    signalled: dict[Leg, tuple[Candidate, ...]] = field(default_factory=dict)

    @property
    def allocations(self) -> list[Allocation]:
        """What it holds of the relay: the transport in use and those on offer."""
        return [a for a in (self.allocation, *self.replacements.values()) if a is not None]

    def hear(self, leg: Leg, candidates: Iterable[Candidate]) -> set[int]:
        """Take note of signalled candidates; returns the components that have a new generation.

        A greater generation makes the older candidates of its component obsolete, a lesser one is
        stale and changes nothing (XEP-0177 section 5.3).
        """
        known = {c.component: c.generation for c in self.signalled.get(leg, ())}
        fresh = [c for c in candidates if c.generation >= known.get(c.component, 0)]
        newest = {c.component: c.generation for c in fresh}
        kept = [
            c
            for c in self.signalled.get(leg, ())
            if newest.get(c.component, c.generation) == c.generation and c not in fresh
        ]
        self.signalled[leg] = (*kept, *fresh)
        return {c for c, generation in newest.items() if generation > known.get(c, generation)}


def is_relayed_already(transport: RawUdp) -> bool:
    """Whether every candidate is a relay's; a second relay would only add delay (XEP-0278)."""
    candidates = transport.candidates
    return bool(candidates) and all(c.type is CandidateType.RELAY for c in candidates)


def is_relayed_here(transport: RawUdp, own: Collection[IPAddress]) -> bool:
    """Whether every candidate is an address of ours: relaying it again would make a loop."""
    candidates = transport.candidates
    return bool(candidates) and all(c.address.ip in own for c in candidates)
