"""ICE that ends at the relay (mode terminate, rules I2 and I4): our transport in a party's place.

Nothing of the peer's passes. A party that knows raw UDP only gets raw UDP, whatever the other one
speaks.
"""

from collections.abc import Mapping, Sequence

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.ice import Agents, Credentials, StandIn
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.policy import CallPolicy, IceMode
from jingle_hnt.call.reply import Promise, Reply
from jingle_hnt.errors import MalformedJingle
from jingle_hnt.model.content import (
    COMPONENTS,
    ICE_UDP,
    Content,
    ContentKey,
    Ice,
    OwnTransport,
    RawUdp,
)


class StandIns:
    """Who stands for each party towards the other, in all contents of a session."""

    def __init__(
        self, media: Mapping[ContentKey, Medium], anchor: Anchor, policy: CallPolicy
    ) -> None:
        self._media = media
        self._anchor = anchor
        self._policy = policy

    def agents_for(self, leg: Leg, content: Content) -> Agents | None:
        """The agents of a content which this leg proposes, where ICE is to end at the relay (I2).

        That is so as well where one of the parties knows raw UDP only (I4).
        """
        raw_only = self._policy.raw_only
        match content.transport:
            case Ice(namespace=namespace):
                raw = raw_only - {leg}
                if not raw and self._policy.ice_mode(namespace) is not IceMode.TERMINATE:
                    return None
            case RawUdp() if raw_only == {leg}:
                raw, namespace = raw_only, ICE_UDP
            case _:
                return None
        return Agents(
            has_media=content.media is not None,
            stand_ins=(StandIn(), StandIn()),
            raw=frozenset(raw),
            namespace=namespace,
        )

    def speak_for(
        self,
        reply: Reply,
        medium: Medium,
        allocation: Allocation,
        agents: Agents,
        leg: Leg,
        content: Content,
    ) -> None:
        """Our word in place of this leg's; what it says of itself is for our own agent."""
        transport, before = content.transport, agents.of[leg].candidates
        if not isinstance(transport, Ice | RawUdp):
            return
        room = self._anchor.budgets.room(self._media.values())
        restarted = isinstance(transport, Ice) and agents.hear(leg, content, room)
        others = [m.agents for m in self._media.values() if m.agents is not None]
        is_first = agents.speak_for(leg, restarted, self._anchor.drawn, others)
        if is_first or restarted or before != agents.of[leg].candidates:
            self._arm_stand_ins(allocation, agents)
        self._anchor.latches.arm_rightly(allocation, leg, agents.raw, medium.signalled)
        if is_first and leg.other in agents.raw and not allocation.is_armed(leg.other):
            self._anchor.latches.arm_early(allocation, leg.other)
        reply.promises[content.key] = _in_our_name(allocation, agents, leg, transport)

    def take_over(self, reply: Reply, medium: Medium, leg: Leg, content: Content) -> None:
        """The other party was told this leg's own credentials: our agent goes on with those.

        Of our candidates it was told none then.
        """
        transport, agents, allocation = content.transport, medium.agents, medium.allocation
        if allocation is None or agents is None or agents.stand_ins is None:
            return
        if not isinstance(transport, Ice) or not transport.ufrag or leg.other in agents.raw:
            return
        if agents.stand_ins[leg].take(Credentials(transport.ufrag, transport.pwd)):
            agents.unsay(leg)
            self._arm_stand_ins(allocation, agents)
            reply.promises[content.key] = _in_our_name(allocation, agents, leg, transport)

    def demand_kind(self, leg: Leg, contents: Sequence[tuple[Medium, Content]]) -> None:
        """Where ICE ends here, each leg keeps to the transport that it was offered.

        Raises MalformedJingle where it does not: what it signals would have to be translated.
        """
        for medium, content in contents:
            if medium.agents is None or medium.is_optional or content.transport is None:
                continue
            other = Ice if leg in medium.agents.raw else RawUdp
            if isinstance(content.transport, other):
                raise MalformedJingle(
                    f"content {content.key} has another transport: write the one it was offered"
                )

    def _arm_stand_ins(self, allocation: Allocation, agents: Agents) -> None:
        for leg in Leg:
            if leg not in agents.raw and agents.keys(leg):
                self._anchor.latches.arm_stand_in(allocation, leg, agents)


def _in_our_name(
    allocation: Allocation, agents: Agents, leg: Leg, transport: Ice | RawUdp
) -> Promise:
    """Our transport in place of this leg's, with those of our candidates that are still unsaid."""
    assert agents.stand_ins is not None
    if leg.other in agents.raw:
        return Promise(allocation, leg.other, 0, COMPONENTS, OwnTransport())
    generation = agents.of[leg].generation
    components = agents.missing(leg)
    if isinstance(transport, RawUdp):
        generation = transport.generation or 0
        components = agents.components_beside(leg.other)
    agents.shown(leg, components)
    said = agents.stand_ins[leg].credentials[0]
    own = OwnTransport((), agents.namespace, said.ufrag, said.pwd)
    return Promise(allocation, leg.other, generation, components, own)
