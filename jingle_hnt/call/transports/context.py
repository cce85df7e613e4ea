"""The state that the kinds of transports of one call share."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.gate import Gates
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium, TransportKind
from jingle_hnt.call.past import PastContents
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import COMPONENTS, Candidate, ContentKey, Ice


@dataclass(frozen=True, slots=True)
class Context:
    """The contents of the call, and what is done for all of them."""

    media: Mapping[ContentKey, Medium]
    gates: Gates
    anchor: Anchor
    policy: CallPolicy
    past: PastContents

    @property
    def room(self) -> int:
        """Return the number of candidates that this call may still add."""
        return self.anchor.budgets.room(self.media.values())

    def signal(self, medium: Medium, leg: Leg, candidates: Iterable[Candidate]) -> None:
        """Record where this leg takes media, and arm it anew where that is newer."""
        moved = medium.record(leg, candidates, self.room)
        if medium.allocation is not None and moved and medium.allocation.is_armed(leg):
            told = medium.agreed or leg is not medium.proposer
            latches = self.anchor.latches
            arm = latches.arm if told else latches.arm_untold
            arm(medium.allocation, leg, medium.signalled[leg], sorted(moved & set(COMPONENTS)))


class RelayedKind(TransportKind):
    """A kind of transport that the relay takes part in, made for one call."""

    __slots__ = ("context",)

    needs_relay = True

    def __init__(self, context: Context) -> None:
        self.context = context


def is_ours(transport: Ice, own: Collection[IPAddress]) -> bool:
    """Return whether the relay has rewritten it before, as in a room (XEP-0045)."""
    return any(candidate.address.ip in own for candidate in transport.candidates)
