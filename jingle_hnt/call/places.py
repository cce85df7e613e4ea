"""The relay as one candidate among others between ICE agents (mode append, rule I3).

A content's *place* is the allocation that it has there. The agents may do without it: it comes with
their credentials, waits until a direct path had its chance, and goes when nobody uses it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.gate import Gates
from jingle_hnt.call.ice import Agents, usable
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium, is_ours
from jingle_hnt.call.past import PastContents
from jingle_hnt.call.policy import CallPolicy, IceMode
from jingle_hnt.call.reply import Promise, Reply
from jingle_hnt.errors import NoPorts
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import RTP, Content, ContentKey, Ice

EARLY_S = 1.0
"""A check so long before the answer was made while it rang."""

EARLY_HEAD_START_S = 0.1
"""What a direct path needs whose one end has been checked already."""


class Places:
    """The places of all contents of a session. See the module's text."""

    def __init__(
        self,
        media: Mapping[ContentKey, Medium],
        gates: Gates,
        anchor: Anchor,
        policy: CallPolicy,
        past: PastContents,
    ) -> None:
        self._past = past
        self._media = media
        self._gates = gates
        self._anchor = anchor
        self._policy = policy

    @property
    def _own(self) -> Collection[IPAddress]:
        return self._policy.peers.own

    @property
    def joined(self) -> list[tuple[Medium, Allocation, Agents]]:
        """The contents in which the relay is a candidate between ICE agents."""
        return [
            (m, m.allocation, m.agents)
            for m in self._media.values()
            if m.allocation is not None and m.agents is not None and m.is_optional
        ]

    @property
    def has_agents(self) -> bool:
        """Whether media may flow that the relay does not see: an agent found a direct path."""
        return any(medium.is_optional for medium in self._media.values())

    def do_without(self, lost: Sequence[Allocation]) -> bool:
        """The plane cannot bind these allocations; tells whether the call can go on without them.

        It can where all are places between ICE agents, who try other paths too.
        """
        media = [m for m, allocation, _ in self.joined if allocation in lost]
        offered = [
            (medium, leg, replacement)
            for medium in self._media.values()
            for leg, replacement in medium.replacements.items()
            if replacement.is_optional and replacement.allocation in lost
        ]
        if len(media) + len(offered) < len(lost):
            return False
        for medium in media:
            medium.allocation = None
        for medium, leg, replacement in offered:
            medium.replacements[leg] = replace(replacement, allocation=None)
        return True

    def note_agents(self, now: float) -> None:
        """Take note of which agents are heard at the relay now."""
        for _, allocation, agents in self.joined:
            if any(pinhole.lively for pinhole in allocation.pinholes.values()):
                agents.quiet_since = None
            elif agents.quiet_since is None:
                agents.quiet_since = now

    def quiet_since(self) -> float | None:
        """Since when the first of the places between ICE agents was not used; None: all are."""
        quiet = [a.quiet_since for _, _, a in self.joined if a.quiet_since is not None]
        return min(quiet, default=None)

    def leave(self, idle_s: float, now: float) -> bool:
        """Release the places that were not used for so long; the call goes on without.

        An agent that restarts gets a new one.
        """
        left = False
        for medium, allocation, agents in self.joined:
            if agents.quiet_since is not None and agents.quiet_since + idle_s <= now:
                self._past.add(medium, allocation, now)
                medium.allocation, agents.quiet_since, left = None, None, True
                self._anchor.retire([allocation])
        return left

    @property
    def waits_until(self) -> float | None:
        """When the next agents are to have our path as well; None where none wait for a time."""
        ends = [a.waits_until for _, _, a in self.joined if a.waits and a.waits_until is not None]
        return min(ends, default=None)

    def heed_head_start(self, now: float) -> bool:
        """Open our path to agents that have had the time to find a direct one, or cannot.

        Tells whether it was opened. Whose content it is begins last: it waits for the answer. So
        its first check is the start.
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
                self._gates.apply([medium])
        return opened

    def join(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """Be one more candidate of this leg's ICE agent, once in each life of its credentials."""
        if not isinstance(content.transport, Ice) or is_ours(content.transport, self._own):
            return
        taken = medium.allocation is not None or medium.agents is not None
        if taken and not medium.is_optional:
            return  # a transport that was agreed on is not of another kind all at once
        mode = self._policy.ice_mode(content.transport.namespace)
        if mode is IceMode.PASS or (medium.agents is None and mode is not IceMode.APPEND):
            return
        if medium.agents is None:
            medium.agents = Agents(has_media=medium.media is not None)
        agents = medium.agents
        self._note_early(medium, agents, leg, now)
        changed = agents.hear(leg, content, self._anchor.budgets.room(self._media.values()))
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
            promise = Promise(medium.allocation, leg.other, generation, components)
            reply.promises[content.key] = promise

    def offer(
        self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float
    ) -> tuple[Allocation | None, Agents | None]:
        """Be one more candidate of a transport that this leg offers in place of the one in use."""
        prospect = Medium(medium.key, leg, medium.senders, media=medium.media, mux=medium.mux)
        prospect.protection = medium.protection
        self.join(reply, prospect, leg, content, now)
        return prospect.allocation, prospect.agents

    def enter(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """The same of its answer: that transport is the one in use from now on."""
        self.join(reply, medium, leg, content, now)
        if medium.agents is not None and medium.is_optional and medium.allocation is not None:
            medium.agents.quiet_since = now
            self._gates.apply([medium])

    def _note_early(self, medium: Medium, agents: Agents, leg: Leg, now: float) -> None:
        """Take note of whether an agent that says its name now has been heard since long before."""
        if medium.allocation is not None and not agents.of[leg].credentials:
            since = medium.allocation.pinholes[RTP, leg].latched_at
            agents.began_early = since is not None and now - since >= EARLY_S

    def _head_start_s(self, agents: Agents) -> float:
        """How long a direct path has before ours, from the first check of who begins last.

        Who has checked since long before, while it rang, has tried the direct ones as well.
        """
        usual_s = self._policy.direct_first_s
        return min(EARLY_HEAD_START_S, usual_s) if agents.began_early else usual_s

    def _enter(
        self, reply: Reply, medium: Medium, agents: Agents, leg: Leg, transport: Ice, now: float
    ) -> None:
        """Take a place between two agents; without ports they have to do without us."""
        candidates = usable(transport.candidates, self._anchor.parties[leg].ip)
        try:
            medium.allocation = self._anchor.allocate(leg, candidates, now, medium.proposer)
        except NoPorts as error:
            self._anchor.note_exceeded(error)
            return
        agents.quiet_since = now
        agents.waits, agents.waits_until = self._policy.direct_first_s > 0, None
        reply.allocations.append(medium.allocation)
        self._gates.apply([medium])

    def _arm_agents(self, allocation: Allocation, agents: Agents) -> None:
        for leg in Leg:
            if keys := agents.keys(leg):
                self._anchor.latches.arm_agent(allocation, leg, keys, agents.of[leg].candidates)
