"""Raw UDP (XEP-0177): the relay's candidates replace the party's own."""

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.policy import AlreadyRelayed, CallPolicy
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.transports.context import RelayedKind
from jingle_hnt.model.content import COMPONENTS, CandidateType, Content, RawUdp


class RawUdpKind(RelayedKind):
    """Each party is latched by its media."""

    __slots__ = ()

    name = "raw-udp"

    def suits(self, leg: Leg, content: Content) -> bool:
        return isinstance(content.transport, RawUdp) and may_relay(
            self.context.policy, content.transport
        )

    def reserve(self, leg: Leg, content: Content, now: float) -> Allocation | None:
        assert isinstance(content.transport, RawUdp)
        return self.context.anchor.allocate(leg, content.transport.candidates, now)

    def propose(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        assert isinstance(content.transport, RawUdp)
        if medium.allocation is not None:
            latches = self.context.anchor.latches
            latches.arm_untold(medium.allocation, leg, content.transport.candidates)
            latches.arm_early(medium.allocation, leg.other)
            reply.rewrites[content.key] = _ours(medium.allocation, leg, content.transport)

    def accept(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        if medium.allocation is None:
            return
        self.context.anchor.latches.arm_rightly(medium.allocation, leg, Leg, medium.signalled)
        if isinstance(content.transport, RawUdp):
            reply.rewrites[content.key] = _ours(medium.allocation, leg, content.transport)

    def trickle(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """The sender's latches are armed anew where its generation is greater."""
        transport, allocation = content.transport, medium.allocation
        if allocation is None or not isinstance(transport, RawUdp):
            return
        if not transport.candidates and not transport.odd:
            return
        self.context.signal(medium, leg, transport.candidates)
        # Of what cannot be read nobody knows for which component it is: both are ours.
        told_of = COMPONENTS if transport.odd else {c.component for c in transport.candidates}
        components = tuple(c for c in COMPONENTS if c in told_of)
        reply.rewrites[content.key] = _ours(allocation, leg, transport, components)

    def rewrite(self, medium: Medium, leg: Leg, content: Content) -> Rewrite | None:
        if medium.allocation is None or not isinstance(content.transport, RawUdp):
            return None
        return _ours(medium.allocation, leg, content.transport)


def may_relay(policy: CallPolicy, transport: RawUdp) -> bool:
    """Return whether no relay is there yet, neither this one nor one that the operator lets be.

    Where every candidate is an address of ours, relaying it again would make a loop; where every
    one is a relay's, a second relay would only add delay (XEP-0278).
    """
    own, candidates = policy.peers.own, transport.candidates
    is_ours = all(c.address.ip in own for c in candidates)
    is_relayed = all(c.type is CandidateType.RELAY for c in candidates)
    passes = policy.already_relayed is AlreadyRelayed.PASS
    return not candidates or not (is_ours or (passes and is_relayed))


def _ours(
    allocation: Allocation,
    sender: Leg,
    transport: RawUdp,
    components: tuple[int, ...] = COMPONENTS,
) -> Rewrite:
    """Return candidates in place of the sender's, with the generation of its own."""
    return Rewrite(allocation, sender.other, transport.generation or 0, components)
