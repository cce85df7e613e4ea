"""A kind of transport that names one address, and takes media there."""

from dataclasses import dataclass

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.transports.context import RelayedKind
from jingle_hnt.model.content import Candidate, Content, OtherTransport


@dataclass(frozen=True)
class ToyTransport(OtherTransport):
    """What a stanza says: where its sender takes media."""

    where: tuple[Candidate, ...] = ()


class ToyKind(RelayedKind):
    """Each party is told the relay's address in place of the other's."""

    name = "toy"

    def suits(self, leg: Leg, content: Content) -> bool:
        return isinstance(content.transport, ToyTransport)

    def reserve(self, leg: Leg, content: Content, now: float) -> Allocation | None:
        return self.context.anchor.allocate(leg, _where(content), now)

    def propose(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self.accept(reply, medium, leg, content, now)

    def accept(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        if medium.allocation is not None:
            self.context.anchor.latches.arm(medium.allocation, leg, _where(content))
            reply.rewrites[content.key] = Rewrite(medium.allocation, leg.other, 0)


def _where(content: Content) -> tuple[Candidate, ...]:
    return content.transport.where if isinstance(content.transport, ToyTransport) else ()
