"""What each verb of the table does to the contents of a session.

A verb checks the whole request before it changes anything, so a request that is refused leaves the
session as it was. It returns a `Reply`: which candidates replace the stanza's own, and which
bindings the plane must have made before the stanza may go on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jingle_hnt.errors import MalformedJingle, NoPorts, UnprovenParty
from jingle_hnt.model.content import (
    COMPONENTS,
    Candidate,
    Content,
    ContentKey,
    Creator,
    Ice,
    RawUdp,
    Senders,
)
from jingle_hnt.model.jingle import Info, Jingle
from jingle_hnt.relay.binding import Flow
from jingle_hnt.session import gate
from jingle_hnt.session.allocation import Allocation
from jingle_hnt.session.anchor import Anchor
from jingle_hnt.session.ice import Agents, usable
from jingle_hnt.session.medium import Medium, is_relayed_already, is_relayed_here
from jingle_hnt.session.policy import AlreadyRelayed, IceMode, SessionPolicy
from jingle_hnt.session.sdes import Protection
from jingle_hnt.session.table import Leg, Verb


@dataclass(frozen=True, slots=True)
class Promise:
    """Our candidates for one content of a stanza that goes to `towards`.

    They are made when the stanza leaves: until then the plane may have found a port taken.
    """

    allocation: Allocation
    towards: Leg
    generation: int
    components: tuple[int, ...] = COMPONENTS

    def candidates(self) -> tuple[Candidate, ...]:
        return self.allocation.candidates(self.towards, self.generation, self.components)


@dataclass(slots=True)
class Reply:
    """How a request goes on: with these candidates, once these allocations are bound."""

    promises: dict[ContentKey, Promise] = field(default_factory=dict)
    allocations: list[Allocation] = field(default_factory=list)

    def break_promises(self) -> None:
        """Nothing that was to be bound is there to be promised."""
        kept = {k: p for k, p in self.promises.items() if p.allocation not in self.allocations}
        self.promises, self.allocations = kept, []


class Negotiation:
    """The contents of one session. Every verb raises MalformedJingle for contents that it cannot
    mean, NoPorts where the relay has none left, and UnprovenParty where the operator demands proof
    of where a party's media comes from and there is none; nothing has changed then."""

    def __init__(self, anchor: Anchor, policy: SessionPolicy) -> None:
        self.media: dict[ContentKey, Medium] = {}
        self.holders: set[Leg] = set()
        self._anchor = anchor
        self._policy = policy

    @property
    def allocations(self) -> list[Allocation]:
        """Everything that the session holds of the relay."""
        return [a for medium in self.media.values() for a in medium.allocations]

    @property
    def is_held(self) -> bool:
        """Whether silence is legal: a party holds, or no content has a sender."""
        sending = any(m.senders is not Senders.NONE for m in self.media.values())
        return bool(self.holders) or not sending

    def perform(self, verb: Verb, leg: Leg, jingle: Jingle, now: float) -> Reply:
        """Do what a legal request of this leg asks."""
        match verb:
            case Verb.ACCEPT:
                return self._agree(leg, jingle, now)
            case Verb.INFORM:
                return self._inform(leg, jingle)
            case Verb.ADD:
                return self.propose(leg, jingle, now)
            case Verb.REJECT:
                return self._reject(leg, jingle)
            case Verb.MODIFY:
                return self._modify(jingle)
            case Verb.REMOVE:
                return self._remove(jingle)
            case Verb.CANDIDATES:
                return self._trickle(leg, jingle, now)
            case Verb.REPLACE:
                return self._replace(leg, jingle, now)
            case Verb.REPLACE_ACCEPT:
                return self._replaced(leg, jingle)
            case Verb.REPLACE_REJECT:
                return self._keep(leg, jingle)
            case Verb.PASS:
                return Reply()

    def propose(self, leg: Leg, jingle: Jingle, now: float) -> Reply:
        """New contents, of the offer or of content-add: ports for each that is to be relayed."""
        for content in jingle.contents:
            self._may_be_new(leg, content)
        reply = Reply()
        for content, allocation in self._allocate_each(leg, jingle.contents, now):
            senders = content.senders or Senders.BOTH
            medium = Medium(content.key, leg, senders, allocation=allocation)
            medium.protection = (
                Protection(leg, content.crypto) if allocation is None else allocation.protection
            )
            self.media[content.key] = medium
            self._signal(medium, leg, content)
            if allocation is not None:
                self._offer(reply, allocation, leg, content)
            self._join(reply, medium, leg, content, now)
        return reply

    def forget(self, contents: Iterable[ContentKey]) -> None:
        """Undo a proposal that came to nothing; its bindings are released."""
        for key in contents:
            medium = self.media.pop(key, None)
            if medium is not None:
                self._anchor.retire(medium.allocations)

    def forget_replacement(self, leg: Leg, contents: Iterable[ContentKey]) -> None:
        """Undo a transport-replace of this leg; the transport in use stays."""
        for key in contents:
            medium = self.media.get(key)
            replacement = medium.replacements.pop(leg, None) if medium is not None else None
            if replacement is not None:
                self._anchor.retire([replacement])

    def unagreed(self, leg: Leg) -> list[ContentKey]:
        """The contents that this leg proposed and the other has not answered."""
        return [m.key for m in self.media.values() if m.proposer is leg and not m.agreed]

    def do_without(self, lost: Sequence[Allocation]) -> bool:
        """The plane cannot bind these allocations; tells whether the call can go on without them.

        It can where all are places between ICE agents, who try other paths too.
        """
        media = [m for m, allocation, _ in self.joined if allocation in lost]
        if len(media) < len(lost):
            return False
        for medium in media:
            medium.allocation = None
        return True

    @property
    def joined(self) -> list[tuple[Medium, Allocation, Agents]]:
        """The contents in which the relay is a candidate between ICE agents."""
        return [
            (m, m.allocation, m.agents)
            for m in self.media.values()
            if m.allocation is not None and m.agents is not None
        ]

    @property
    def has_agents(self) -> bool:
        """Whether media may flow that the relay does not see: an agent found a direct path."""
        return any(medium.agents is not None for medium in self.media.values())

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
                medium.allocation, agents.quiet_since, left = None, None, True
                self._anchor.retire([allocation])
        return left

    def rearm(self, leg: Leg) -> None:
        """New evidence for a leg: every latch that faces it is armed anew.

        An ICE agent's signature is evidence enough, wherever it comes from.
        """
        for medium in self.media.values():
            if medium.agents is not None:
                continue
            for allocation in medium.allocations:
                if allocation.is_armed(leg):
                    self._anchor.arm(allocation, leg, medium.signalled.get(leg, ()))

    def _agree(self, leg: Leg, jingle: Jingle, now: float) -> Reply:
        """The answer to an offer or to content-add: the gate opens."""
        agreed = [self._awaiting(leg.other, content) for content in jingle.contents]
        for medium, content in zip(agreed, jingle.contents, strict=True):
            if not medium.protection.answered(content).tags(leg):
                self._demand_proof(medium.allocation, leg, content)
        reply = Reply()
        for medium, content in zip(agreed, jingle.contents, strict=True):
            medium.agreed = True
            medium.protection.answer(content)
            medium.senders = content.senders or medium.senders
            self._signal(medium, leg, content)
            if medium.allocation is not None and medium.agents is None:
                self._answer(reply, medium, medium.allocation, leg, content)
            self._join(reply, medium, leg, content, now)
        self._regate(self.media.values())
        return reply

    def _inform(self, leg: Leg, jingle: Jingle) -> Reply:
        if jingle.info is Info.HOLD:
            self.holders.add(leg)
        elif jingle.info in (Info.ACTIVE, Info.UNHOLD) and leg in self.holders:
            self.holders.discard(leg)
            self._rearm_silent()
        self._regate(self.media.values())
        return Reply()

    def _reject(self, leg: Leg, jingle: Jingle) -> Reply:
        rejected = [self._awaiting(leg.other, content) for content in jingle.contents]
        self.forget([medium.key for medium in rejected])
        return Reply()

    def _modify(self, jingle: Jingle) -> Reply:
        media = [self._medium(content) for content in jingle.contents]
        for medium, content in zip(media, jingle.contents, strict=True):
            medium.senders = content.senders or medium.senders
        self._regate(self.media.values())
        return Reply()

    def _remove(self, jingle: Jingle) -> Reply:
        self.forget([self._medium(content).key for content in jingle.contents])
        return Reply()

    def _trickle(self, leg: Leg, jingle: Jingle, now: float) -> Reply:
        """transport-info: the sender's latches are armed anew where its generation is greater."""
        media = [self._medium(content) for content in jingle.contents]
        reply = Reply()
        for medium, content in zip(media, jingle.contents, strict=True):
            self._join(reply, medium, leg, content, now)
            allocation, transport = medium.allocation, content.transport
            if allocation is None or not isinstance(transport, RawUdp) or not transport.candidates:
                continue
            moved = medium.hear(leg, transport.candidates)
            if moved and allocation.is_armed(leg):
                moved &= set(COMPONENTS)
                self._anchor.arm(allocation, leg, medium.signalled[leg], sorted(moved))
            named = {c.component for c in transport.candidates}
            components = tuple(c for c in COMPONENTS if c in named)
            reply.promises[content.key] = _ours(allocation, leg, transport, components)
        return reply

    def _replace(self, leg: Leg, jingle: Jingle, now: float) -> Reply:
        media = [self._medium(content) for content in jingle.contents]
        reply = Reply()
        allocations = self._allocate_each(leg, jingle.contents, now)
        for medium, (content, allocation) in zip(media, allocations, strict=True):
            self.forget_replacement(leg, [medium.key])
            medium.replacements[leg] = allocation
            if allocation is not None:
                self._offer(reply, allocation, leg, content)
        return reply

    def _replaced(self, leg: Leg, jingle: Jingle) -> Reply:
        media = [self._replacing(leg.other, content) for content in jingle.contents]
        for medium, content in zip(media, jingle.contents, strict=True):
            self._demand_proof(medium.replacements[leg.other], leg, content)
        reply = Reply()
        for medium, content in zip(media, jingle.contents, strict=True):
            obsolete = medium.allocation
            medium.agents = None
            medium.allocation = medium.replacements.pop(leg.other)
            medium.signalled.clear()
            self._signal(medium, leg, content)
            if obsolete is not None:
                self._anchor.retire([obsolete])
            if medium.allocation is not None:
                self._answer(reply, medium, medium.allocation, leg, content)
        return reply

    def _keep(self, leg: Leg, jingle: Jingle) -> Reply:
        media = [self._replacing(leg.other, content) for content in jingle.contents]
        self.forget_replacement(leg.other, [medium.key for medium in media])
        return Reply()

    def _offer(self, reply: Reply, allocation: Allocation, leg: Leg, content: Content) -> None:
        """Our candidates in a proposal; both legs are armed as far as they are known."""
        transport = content.transport
        assert isinstance(transport, RawUdp)
        self._anchor.arm(allocation, leg, transport.candidates)
        self._anchor.arm_early(allocation, leg.other)
        self._anchor.gate(allocation, gate.before_accept(self._policy))
        reply.promises[content.key] = _ours(allocation, leg, transport)
        reply.allocations.append(allocation)

    def _answer(
        self, reply: Reply, medium: Medium, allocation: Allocation, leg: Leg, content: Content
    ) -> None:
        """Our candidates in an answer; media may flow."""
        for party in Leg:
            if not allocation.is_armed_rightly(party) and (
                party is leg or allocation.is_armed(party)
            ):
                self._anchor.arm(allocation, party, medium.signalled.get(party, ()))
        self._anchor.gate(allocation, gate.after_accept(medium.senders, self.holders))
        if isinstance(content.transport, RawUdp):
            reply.promises[content.key] = _ours(allocation, leg, content.transport)

    def _join(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """Be one more candidate of this leg's ICE agent, once in each life of its credentials."""
        if not isinstance(content.transport, Ice) or self._policy.ice is IceMode.PASS:
            return
        if medium.agents is None and medium.allocation is not None:
            return  # a transport that was agreed on is not of another kind all at once
        if medium.agents is None:
            medium.agents = Agents(has_media=content.media is not None)
        agents = medium.agents
        changed = agents.hear(leg, content)
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

    def _enter(
        self, reply: Reply, medium: Medium, agents: Agents, leg: Leg, transport: Ice, now: float
    ) -> None:
        """Take a place between two agents; without ports they have to do without us."""
        candidates = usable(transport.candidates, self._anchor.parties[leg].ip)
        try:
            medium.allocation = self._anchor.allocate(leg, candidates, now)
        except NoPorts:
            return
        agents.quiet_since = now
        reply.allocations.append(medium.allocation)
        self._anchor.gate(medium.allocation, gate.before_accept(self._policy))
        self._regate([medium])

    def _arm_agents(self, allocation: Allocation, agents: Agents) -> None:
        for leg in Leg:
            if keys := agents.keys(leg):
                self._anchor.arm_agent(allocation, leg, keys)

    def _allocate_each(
        self, leg: Leg, contents: Iterable[Content], now: float
    ) -> list[tuple[Content, Allocation | None]]:
        """Ports for every content that is to be relayed, or NoPorts and none taken."""
        made: list[tuple[Content, Allocation | None]] = []
        try:
            for content in contents:
                made.append((content, self._allocate(leg, content, now)))
                self._demand_proof(made[-1][1], leg, content)
        except (NoPorts, UnprovenParty):
            self._anchor.abandon_all(a for _, a in made if a is not None)
            raise
        return made

    def _demand_proof(self, allocation: Allocation | None, leg: Leg, content: Content) -> None:
        if allocation is not None and isinstance(content.transport, RawUdp):
            self._anchor.demand_proof(allocation, leg, content.transport.candidates)

    def _allocate(self, leg: Leg, content: Content, now: float) -> Allocation | None:
        transport = content.transport
        if not isinstance(transport, RawUdp):
            return None
        if is_relayed_here(transport, self._policy.peers.own):
            return None
        if self._policy.already_relayed is AlreadyRelayed.PASS and is_relayed_already(transport):
            return None
        allocation = self._anchor.allocate(leg, transport.candidates, now)
        known = self.media.get(content.key)  # a replacement does not describe its content again
        before = () if known is None else known.allocations
        allocation.several = content.several or any(a.several for a in before)
        allocation.protection = (
            Protection(leg, content.crypto) if known is None else known.protection
        )
        return allocation

    def _signal(self, medium: Medium, leg: Leg, content: Content) -> None:
        if isinstance(content.transport, RawUdp):
            medium.hear(leg, content.transport.candidates)

    def _regate(self, media: Iterable[Medium]) -> None:
        for medium in media:
            if medium.agreed and medium.allocation is not None:
                flows = gate.after_accept(medium.senders, self.holders)
                if medium.agents is not None:
                    flows = self._bundled()
                self._anchor.gate(medium.allocation, flows)

    def _bundled(self) -> tuple[Flow, Flow]:
        """What flows between ICE agents: one content's path may carry them all (RFC 8843)."""
        agreed = [m for m in self.media.values() if m.agreed and m.agents is not None]
        flows = [gate.after_accept(m.senders, self.holders) for m in agreed]
        return max(first for first, _ in flows), max(second for _, second in flows)

    def _rearm_silent(self) -> None:
        """After a hold NAT bindings may be gone; who kept sending keeps its latch."""
        for medium in self.media.values():
            for allocation in medium.allocations if medium.agents is None else ():
                for leg in Leg:
                    self._anchor.rearm_silent(allocation, leg)

    def _may_be_new(self, leg: Leg, content: Content) -> None:
        creator = Creator.INITIATOR if leg is Leg.INITIATOR else Creator.RESPONDER
        if content.key in self.media:
            raise MalformedJingle(f"content {content.key} is in the session already")
        if content.key.creator is not creator:
            raise MalformedJingle(f"content {content.key} must name its sender as its creator")

    def _medium(self, content: Content) -> Medium:
        medium = self.media.get(content.key)
        if medium is None:
            raise MalformedJingle(f"the session has no content {content.key}")
        return medium

    def _awaiting(self, proposer: Leg, content: Content) -> Medium:
        medium = self._namesake(proposer, content) or self._medium(content)
        if medium.agreed or medium.proposer is not proposer:
            raise MalformedJingle(f"content {content.key} does not await your answer")
        return medium

    def _namesake(self, proposer: Leg, content: Content) -> Medium | None:
        """COMPAT siskin-names-itself"""
        if content.key in self.media:
            return None
        awaiting = (self.media[key] for key in self.unagreed(proposer))
        found = [medium for medium in awaiting if medium.key.name == content.key.name]
        return found[0] if len(found) == 1 else None

    def _replacing(self, proposer: Leg, content: Content) -> Medium:
        medium = self._medium(content)
        if proposer not in medium.replacements:
            raise MalformedJingle(f"no transport of content {content.key} is to be replaced")
        return medium


def _ours(
    allocation: Allocation,
    sender: Leg,
    transport: RawUdp,
    components: tuple[int, ...] = COMPONENTS,
) -> Promise:
    """Our candidates in place of the sender's, with the generation that it gave its own."""
    return Promise(allocation, sender.other, transport.generation or 0, components)
