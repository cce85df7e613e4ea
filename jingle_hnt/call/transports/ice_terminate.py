"""ICE termination (mode terminate, rules I2 and I4): the relay's transport replaces a party's.

Nothing of the peer's passes. A party that knows raw UDP only gets raw UDP, whatever the other one
speaks.
"""

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.ice import Agents, Credentials, RelayAgent, usable
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.policy import IceMode
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.transports.context import RelayedKind, is_ours
from jingle_hnt.call.transports.raw_udp import may_relay
from jingle_hnt.errors import MalformedJingle
from jingle_hnt.model.content import (
    COMPONENTS,
    ICE_UDP,
    Content,
    Ice,
    OwnTransport,
    RawUdp,
)


class IceTerminate(RelayedKind):
    """ICE termination in all contents of a call: the relay is each party's only peer."""

    __slots__ = ()

    name = "ice-terminate"
    has_agents = True

    def suits(self, leg: Leg, content: Content) -> bool:
        if self._agents_for(leg, content) is None:
            return False
        match content.transport:
            case Ice() as transport:
                return not is_ours(transport, self.context.policy.peers.own)
            case RawUdp() as transport:
                return may_relay(self.context.policy, transport)
        return False

    def reserve(self, leg: Leg, content: Content, now: float) -> Allocation | None:
        transport = content.transport
        assert isinstance(transport, Ice | RawUdp)
        seen = transport.candidates
        if isinstance(transport, Ice):
            seen = usable(seen, self.context.anchor.parties[leg].ip)
        return self.context.anchor.allocate(leg, seen, now)

    def demand(self, medium: Medium, leg: Leg, content: Content) -> None:
        """Each leg keeps to the transport that it was offered: what it signals in another would
        have to be translated."""
        if medium.agents is None or content.transport is None:
            return
        other = Ice if leg in medium.agents.raw else RawUdp
        if isinstance(content.transport, other):
            raise MalformedJingle(
                f"content {content.key} has another transport: write the one it was offered"
            )

    def propose(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        medium.agents = self._agents_for(leg, content)
        self._replace_transport(reply, medium, leg, content)

    def accept(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self._replace_transport(reply, medium, leg, content)

    def trickle(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self._replace_transport(reply, medium, leg, content)
        if medium.allocation is not None and content.plain:
            self.context.signal(medium, leg, content.plain)

    def is_latched_by_media(self, medium: Medium, leg: Leg) -> bool:
        return medium.agents is None or leg in medium.agents.raw

    def _agents_for(self, leg: Leg, content: Content) -> Agents | None:
        """The agents of a content which this leg proposes, where ICE is to end at the relay (I2).

        That is so as well where one of the parties knows raw UDP only (I4).
        """
        raw_only = self.context.policy.raw_only
        match content.transport:
            case Ice(namespace=namespace):
                raw = raw_only - {leg}
                if not raw and self.context.policy.ice_mode(namespace) is not IceMode.TERMINATE:
                    return None
            case RawUdp() if raw_only == {leg}:
                raw, namespace = raw_only, ICE_UDP
            case _:
                return None
        return Agents(
            has_media=content.media is not None,
            relay_agents=(RelayAgent(), RelayAgent()),
            raw=frozenset(raw),
            namespace=namespace,
        )

    def _replace_transport(self, reply: Reply, medium: Medium, leg: Leg, content: Content) -> None:
        """Replace this leg's transport by the relay's, and tell its own to the relay's agent."""
        allocation, agents = medium.allocation, medium.agents
        if allocation is None or agents is None:
            return
        transport, before = content.transport, agents.of[leg].candidates
        if not isinstance(transport, Ice | RawUdp):
            return
        restarted = isinstance(transport, Ice) and agents.record(leg, content, self.context.room)
        others = [m.agents for m in self.context.media.values() if m.agents is not None]
        is_first = agents.renew_relay_agent(leg, restarted, self.context.anchor.drawn, others)
        if is_first or restarted or before != agents.of[leg].candidates:
            self._arm_relay_agents(allocation, agents)
        self.context.anchor.latches.arm_rightly(allocation, leg, agents.raw, medium.signalled)
        if is_first and leg.other in agents.raw and not allocation.is_armed(leg.other):
            self.context.anchor.latches.arm_early(allocation, leg.other)
        reply.rewrites[content.key] = _in_our_name(allocation, agents, leg, transport)

    def take_over(self, reply: Reply, medium: Medium, leg: Leg, content: Content) -> None:
        """Adopt this leg's own credentials, which have passed unchanged to the other party.

        It was told none of the relay's candidates.
        """
        transport, agents, allocation = content.transport, medium.agents, medium.allocation
        if allocation is None or agents is None or agents.relay_agents is None:
            return
        if not isinstance(transport, Ice) or not transport.ufrag or leg.other in agents.raw:
            return
        if agents.relay_agents[leg].take(Credentials(transport.ufrag, transport.pwd)):
            agents.forget_shown(leg)
            self._arm_relay_agents(allocation, agents)
            reply.rewrites[content.key] = _in_our_name(allocation, agents, leg, transport)

    def _arm_relay_agents(self, allocation: Allocation, agents: Agents) -> None:
        for leg in Leg:
            if leg not in agents.raw and agents.keys(leg):
                self.context.anchor.latches.arm_relay_agent(allocation, leg, agents)


def _in_our_name(
    allocation: Allocation, agents: Agents, leg: Leg, transport: Ice | RawUdp
) -> Rewrite:
    """Return the relay's transport in place of this leg's, with candidates not shown before."""
    assert agents.relay_agents is not None
    if leg.other in agents.raw:
        return Rewrite(allocation, leg.other, 0, COMPONENTS, OwnTransport())
    generation = agents.of[leg].generation
    components = agents.missing(leg)
    if isinstance(transport, RawUdp):
        generation = transport.generation or 0
        components = agents.components_beside(leg.other)
    agents.shown(leg, components)
    said = agents.relay_agents[leg].credentials[0]
    own = OwnTransport((), agents.namespace, said.ufrag, said.pwd)
    return Rewrite(allocation, leg.other, generation, components, own)
