"""Raw UDP (XEP-0177): the relay's candidates stand in place of the party's own."""

from collections.abc import Collection

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium, TransportKind
from jingle_hnt.call.policy import AlreadyRelayed
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.transports.context import Context
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import COMPONENTS, CandidateType, Content, RawUdp


class RawUdpKind(TransportKind):
    """Each party is latched by its media."""

    name = "raw-udp"

    def __init__(self, context: Context) -> None:
        self._own = context

    def suits(self, leg: Leg, content: Content) -> bool:
        return isinstance(content.transport, RawUdp) and may_relay(self._own, content.transport)

    def needs_relay(self, leg: Leg, content: Content) -> bool:
        return True

    def reserve(self, leg: Leg, content: Content, now: float) -> Allocation | None:
        assert isinstance(content.transport, RawUdp)
        return self._own.anchor.allocate(leg, content.transport.candidates, now)

    def propose(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        assert isinstance(content.transport, RawUdp)
        if medium.allocation is not None:
            latches = self._own.anchor.latches
            latches.arm_untold(medium.allocation, leg, content.transport.candidates)
            latches.arm_early(medium.allocation, leg.other)
            reply.rewrites[content.key] = _ours(medium.allocation, leg, content.transport)

    def accept(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        if medium.allocation is None:
            return
        self._own.anchor.latches.arm_rightly(medium.allocation, leg, Leg, medium.signalled)
        if isinstance(content.transport, RawUdp):
            reply.rewrites[content.key] = _ours(medium.allocation, leg, content.transport)

    def trickle(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """The sender's latches are armed anew where its generation is greater."""
        transport, allocation = content.transport, medium.allocation
        if allocation is None or not isinstance(transport, RawUdp):
            return
        if not transport.candidates and not transport.odd:
            return
        self._own.signal(medium, leg, transport.candidates)
        # Of what cannot be read nobody knows for which component it is: both are ours.
        told_of = COMPONENTS if transport.odd else {c.component for c in transport.candidates}
        components = tuple(c for c in COMPONENTS if c in told_of)
        reply.rewrites[content.key] = _ours(allocation, leg, transport, components)

    def rewrite(self, medium: Medium, leg: Leg, content: Content) -> Rewrite | None:
        if medium.allocation is None or not isinstance(content.transport, RawUdp):
            return None
        return _ours(medium.allocation, leg, content.transport)


def may_relay(context: Context, transport: RawUdp) -> bool:
    """Return whether no relay is there yet, neither this one nor one that the operator lets be."""
    if is_relayed_here(transport, context.policy.peers.own):
        return False
    passes = context.policy.already_relayed is AlreadyRelayed.PASS
    return not (passes and is_relayed_already(transport))


def is_relayed_already(transport: RawUdp) -> bool:
    """Return whether every candidate is a relay's: a second relay adds delay (XEP-0278)."""
    candidates = transport.candidates
    return bool(candidates) and all(c.type is CandidateType.RELAY for c in candidates)


def is_relayed_here(transport: RawUdp, own: Collection[IPAddress]) -> bool:
    """Return whether every candidate is an address of ours: relaying it again would make a loop."""
    candidates = transport.candidates
    return bool(candidates) and all(c.address.ip in own for c in candidates)


def _ours(
    allocation: Allocation,
    sender: Leg,
    transport: RawUdp,
    components: tuple[int, ...] = COMPONENTS,
) -> Rewrite:
    """Our candidates in place of the sender's, with the generation that it gave its own."""
    return Rewrite(allocation, sender.other, transport.generation or 0, components)
