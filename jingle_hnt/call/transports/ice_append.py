"""The relay as one candidate among others between ICE agents (mode append, rule I3).

The agents may do without the relay. A content gets an allocation when both credentials are known,
waits until a direct path had its chance, and loses it when no agent uses it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.ice import Agents, usable
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium, Replacement
from jingle_hnt.call.policy import IceMode
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.transports.context import RelayedKind, is_ours
from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import RTP, Content, Ice

EARLY_S = 1.0
"""A check so long before the answer was made while it rang."""

EARLY_HEAD_START_S = 0.1
"""What a direct path needs whose one end has been checked already."""


class IceAppend(RelayedKind):
    """The relay as an appended candidate, in all contents of a call."""

    __slots__ = ()

    name = "ice-append"
    needs_relay = False
    is_optional = True
    has_agents = True

    def suits(self, leg: Leg, content: Content) -> bool:
        transport = content.transport
        if not isinstance(transport, Ice) or is_ours(transport, self._own):
            return False
        return self.context.policy.ice_mode(transport.namespace) is IceMode.APPEND

    def propose(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self._join(reply, medium, leg, content, now)

    def accept(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self._join(reply, medium, leg, content, now)

    def replaced(
        self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float
    ) -> None:
        self._join(reply, medium, leg, content, now)
        if medium.agents is not None and medium.allocation is not None:
            medium.agents.quiet_since = now
            self.context.gates.apply([medium])

    def trickle(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        self._join(reply, medium, leg, content, now)
        if medium.allocation is not None and content.plain:
            self.context.signal(medium, leg, content.plain)

    def rewrite(self, medium: Medium, leg: Leg, content: Content) -> Rewrite | None:
        if medium.allocation is None or medium.agents is None:
            return None
        if not isinstance(content.transport, Ice):
            return None
        agent = medium.agents.of[leg]
        shown = tuple(sorted(agent.shown))
        return Rewrite(medium.allocation, leg.other, agent.generation, shown)

    def is_latched_by_media(self, medium: Medium, leg: Leg) -> bool:
        return False

    def waits(self, medium: Medium) -> bool:
        return medium.agents is not None and medium.agents.waits

    def is_on_offer(self, offered: Replacement, leg: Leg, content: Content) -> bool:
        if offered.agents is None or not isinstance(content.transport, Ice):
            return False
        return offered.agents.of[leg].is_named(content.transport)

    @property
    def _own(self) -> Collection[IPAddress]:
        return self.context.policy.peers.own

    @property
    def joined(self) -> list[tuple[Medium, Allocation, Agents]]:
        """Return the contents in which the relay is a candidate between ICE agents."""
        return [
            (m, m.allocation, m.agents)
            for m in self.context.media.values()
            if m.allocation is not None and m.agents is not None and m.kind.is_optional
        ]

    @property
    def may_be_elsewhere(self) -> bool:
        """Return whether media may flow on a direct path, unseen by the relay."""
        return any(medium.kind.is_optional for medium in self.context.media.values())

    def do_without(self, lost: Sequence[Allocation]) -> bool:
        """Drop allocations that the plane cannot bind; returns whether the call can go on without.

        It can if all are appended candidates: ICE agents try other paths too.
        """
        media = [m for m, allocation, _ in self.joined if allocation in lost]
        offered = [
            (medium, leg, replacement)
            for medium in self.context.media.values()
            for leg, replacement in medium.replacements.items()
            if replacement.kind.is_optional and replacement.allocation in lost
        ]
        if len(media) + len(offered) < len(lost):
            return False
        for medium in media:
            medium.allocation = None
        for medium, leg, replacement in offered:
            medium.replacements[leg] = replace(replacement, allocation=None)
        return True

    def note_agents(self, now: float) -> None:
        """Record which agents are heard at the relay now."""
        for _, allocation, agents in self.joined:
            if any(pinhole.lively for pinhole in allocation.pinholes.values()):
                agents.quiet_since = None
            elif agents.quiet_since is None:
                agents.quiet_since = now

    def quiet_since(self) -> float | None:
        """Return since when the first appended candidate is unused; None if all are used."""
        quiet = [a.quiet_since for _, _, a in self.joined if a.quiet_since is not None]
        return min(quiet, default=None)

    def leave(self, idle_s: float, now: float) -> bool:
        """Release appended candidates unused for `idle_s` seconds. The call goes on without them.

        An agent that restarts gets a new one.
        """
        left = False
        for medium, allocation, agents in self.joined:
            if agents.quiet_since is not None and agents.quiet_since + idle_s <= now:
                self.context.past.add(medium, allocation, now)
                medium.allocation, agents.quiet_since, left = None, None, True
                self.context.anchor.retire([allocation])
        return left

    @property
    def waits_until(self) -> float | None:
        """Return when the next head start of direct paths ends; None if none is running."""
        ends = [a.waits_until for _, _, a in self.joined if a.waits and a.waits_until is not None]
        return min(ends, default=None)

    def end_head_start(self, now: float) -> bool:
        """Open our path to agents that have had the time to find a direct one, or cannot.

        Returns whether it was opened. The proposer of a content begins last, because it waits for
        the answer; so its first check is the start.
        """
        opened = False
        for medium, allocation, agents in self.joined:
            one, other = (allocation.pinholes[RTP, leg].learned for leg in Leg)
            if not agents.waits:
                continue
            if agents.waits_until is None and (one, other)[medium.proposer] is not None:
                agents.waits_until = now + self._head_start_s(agents)
            ended = agents.waits_until is not None and agents.waits_until <= now
            if ended or (one and other and not agents.may_meet((one, other))):
                agents.waits, agents.waits_until, opened = False, None, True
                self.context.gates.apply([medium])
        return opened

    def _join(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """Append the relay to this leg's candidates, once after each change of its credentials."""
        if not isinstance(content.transport, Ice) or is_ours(content.transport, self._own):
            return
        mode = self.context.policy.ice_mode(content.transport.namespace)
        if mode is IceMode.PASS or (medium.agents is None and mode is not IceMode.APPEND):
            return
        if medium.agents is None:
            medium.agents = Agents(has_media=medium.media is not None)
        agents = medium.agents
        self._note_early(medium, agents, leg, now)
        changed = agents.record(
            leg, content, self.context.anchor.budgets.room(self.context.media.values())
        )
        components = agents.missing(leg)
        if components and medium.allocation is None:
            self._enter(reply, medium, agents, leg, content.transport, now)
        if medium.allocation is None:
            return
        if changed:
            self._arm_agents(medium.allocation, agents)
        if components:
            agents.shown(leg, components)
            generation = agents.of[leg].generation
            rewrite = Rewrite(medium.allocation, leg.other, generation, components)
            reply.rewrites[content.key] = rewrite

    def _note_early(self, medium: Medium, agents: Agents, leg: Leg, now: float) -> None:
        """Record whether an agent that signals credentials now was heard long before."""
        if medium.allocation is not None and not agents.of[leg].credentials:
            since = medium.allocation.pinholes[RTP, leg].latched_at
            agents.began_early = since is not None and now - since >= EARLY_S

    def _head_start_s(self, agents: Agents) -> float:
        """Return the head start of a direct path, in seconds after the later agent's first check.

        An agent that has checked for long, while it rang, has tried the direct paths as well.
        """
        usual_s = self.context.policy.direct_first_s
        return min(EARLY_HEAD_START_S, usual_s) if agents.began_early else usual_s

    def _enter(
        self, reply: Reply, medium: Medium, agents: Agents, leg: Leg, transport: Ice, now: float
    ) -> None:
        """Allocate ports for an appended candidate; without ports the agents do without it."""
        candidates = usable(transport.candidates, self.context.anchor.parties[leg].ip)
        try:
            medium.allocation = self.context.anchor.allocate(leg, candidates, now, medium.proposer)
        except NoPorts as error:
            self.context.anchor.note_exceeded(error)
            return
        agents.quiet_since = now
        agents.waits, agents.waits_until = self.context.policy.direct_first_s > 0, None
        reply.allocations.append(medium.allocation)
        self.context.gates.apply([medium])

    def _arm_agents(self, allocation: Allocation, agents: Agents) -> None:
        for leg in Leg:
            if keys := agents.keys(leg):
                self.context.anchor.latches.arm_agent(
                    allocation, leg, keys, agents.of[leg].candidates
                )
