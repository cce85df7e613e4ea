"""The negotiation of a call's contents, step by step.

What names none of our contents (`contents.py`) is left out. A verb checks what it understands
before it changes anything, so a request that is refused leaves the session as it was. It returns a
`Reply`: which candidates replace the stanza's own, and which bindings the plane must have made
before the stanza may go on.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from jingle_hnt.call import gate
from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.contents import Contents, each
from jingle_hnt.call.gate import Gates
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import PASSING, Medium, Replacement, TransportKind
from jingle_hnt.call.past import PastContents
from jingle_hnt.call.policy import CallPolicy
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.call.sdes import Protection
from jingle_hnt.call.transports.context import Context
from jingle_hnt.call.transports.ice_append import IceAppend
from jingle_hnt.call.transports.table import TransportKinds
from jingle_hnt.errors import JingleError, NoPorts, UnprovenParty
from jingle_hnt.model.content import Content, ContentKey, Senders

MOST_CLOSED = 16
"""Contents that were rejected or removed and are remembered; the oldest make room."""

Proposal = tuple[Content, TransportKind]
"""A content, and what it is for the relay."""


class Negotiation:
    """The contents of one session.

    Every verb raises MalformedJingle for a transport of another kind than was offered where ICE
    ends at the relay, NoPorts where the relay has none left, and UnprovenParty where the operator
    demands proof of where a party's media comes from and there is none; nothing has changed then.
    """

    def __init__(self, anchor: Anchor, policy: CallPolicy) -> None:
        self.media = Contents()
        self.gates = Gates(self.media, anchor, policy)
        self.past = PastContents()
        context = Context(self.media, self.gates, anchor, policy, self.past)
        self.kinds = TransportKinds(context)
        appended = self.kinds.by_name[IceAppend.name]
        assert isinstance(appended, IceAppend)
        self.appended = appended
        self._closed: list[ContentKey] = []
        self._anchor = anchor
        self._policy = policy

    @property
    def allocations(self) -> list[Allocation]:
        """Everything that the session holds of the relay."""
        return [a for medium in self.media.values() for a in medium.allocations]

    def propose(self, leg: Leg, contents: Sequence[Content], now: float) -> Reply:
        """New contents, of the offer or of content-add: ports for each that is to be relayed.

        What is proposed once more takes its own place; where there are no ports it keeps it.
        """
        before, named = dict(self.media), {content.key for content in contents}
        again = [self.media.pop(key) for key in self.media.unagreed(leg) if key in named]
        fresh = [(c, self.kinds.of(leg, c)) for c in contents if c.key not in self.media]
        try:
            allocated = self._allocate_each(leg, self._followed(fresh), now)
        except (JingleError, NoPorts):
            self.media.clear()
            self.media.update(before)
            raise
        for medium in again:
            self._anchor.retire(medium.allocations)
        reply = Reply()
        for content, kind, allocation in allocated:
            medium = self._enter(leg, content, allocation)
            self._signal(medium, leg, content)
            self._offer(reply, medium, kind, leg, content, now)
        return reply

    def _followed(self, fresh: Sequence[Proposal]) -> list[Proposal]:
        """Return the new contents that the session's budget has room for.

        Those that cannot do without the relay come first; where there is no room for these it is
        exceeded. The others just pass, beyond it.
        """
        budgets, held = self._anchor.budgets, len(self.media)
        needy = [content for content, kind in fresh if kind.needs_relay]
        budgets.demand_contents(self._anchor.name, held, needy)
        room = budgets.contents_left(held) - len(needy)
        others = [c for c, kind in fresh if not kind.needs_relay and budgets.may_follow(c)][:room]
        return [(c, kind) for c, kind in fresh if kind.needs_relay or c in others]

    def _join_late(self, medium: Medium, leg: Leg, content: Content) -> None:
        if medium.kind is PASSING:
            medium.kind = self.kinds.of(leg, content, late=True)

    def _enter(self, leg: Leg, content: Content, allocation: Allocation | None = None) -> Medium:
        """Begin to follow a content which this leg proposes."""
        senders = content.senders or Senders.BOTH
        medium = Medium(content.key, leg, senders, allocation=allocation)
        medium.media, medium.mux = content.media, content.mux
        medium.protection = (
            Protection(leg, content.crypto) if allocation is None else allocation.protection
        )
        self.media[content.key] = medium
        return medium

    def add(self, leg: Leg, contents: Sequence[Content], id_: str, now: float) -> Reply:
        """Further contents, which the request of this id proposes.

        What is agreed already, and said once more, has our candidates once more.
        """
        before = dict(self.media)
        reply = self.propose(leg, contents, now)
        for content in contents:
            medium = self.media.get(content.key)
            if medium is None:
                continue
            if medium is not before.get(content.key):
                medium.added_by = id_
            elif not self._begin_late(reply, medium, leg, content, now):
                if medium.agents is not None:
                    medium.agents.forget_shown(leg)
                self._carry(reply, medium, leg, content, now)
        return reply

    def ours(self, leg: Leg, contents: Sequence[Content]) -> dict[ContentKey, Rewrite]:
        """Our candidates in place of those of this leg, for contents that are relayed already."""
        rewrites: dict[ContentKey, Rewrite] = {}
        for medium, content in self.media.named(contents):
            if medium.allocation is not None and medium.allocation.bound:
                rewrite = medium.kind.rewrite(medium, leg, content)
                if rewrite is not None:
                    rewrites[content.key] = rewrite
        return rewrites

    def passed(self, reply: Reply, leg: Leg, contents: Sequence[Content]) -> None:
        """Follow contents of this leg that have passed unchanged to the other party."""
        for medium, content in self.media.named(contents):
            medium.kind.take_over(reply, medium, leg, content)

    def forget(self, contents: Iterable[ContentKey]) -> None:
        """Undo a proposal that failed; its bindings are released."""
        for key in contents:
            medium = self.media.pop(key, None)
            if medium is not None:
                self._anchor.retire(medium.allocations)

    def forget_replacement(self, leg: Leg, contents: Iterable[ContentKey]) -> None:
        """Undo a transport-replace of this leg; the transport in use stays."""
        for key in contents:
            medium = self.media.get(key)
            if medium is None:
                continue
            replacement = medium.replacements.pop(leg, None)
            if replacement is not None and replacement.allocation is not None:
                self._anchor.retire([replacement.allocation])

    def forget_released(self, released: Collection[Allocation]) -> bool:
        """Forget allocations that were released before.

        Returns whether no relayed content is left.
        """
        for medium in list(self.media.values()):
            offered = {leg: r.allocation for leg, r in medium.replacements.items()}
            for leg in [leg for leg, allocation in offered.items() if allocation in released]:
                del medium.replacements[leg]
            if medium.allocation not in released:
                continue
            if medium.kind.is_optional:
                medium.allocation = None
            else:
                del self.media[medium.key]
        return not self.media

    def lose(self, lost: Collection[Allocation]) -> None:
        """Forget allocations that could not be bound; their contents go on without the relay."""
        for medium in self.media.values():
            if medium.allocation in lost:
                medium.allocation = None
                medium.kind = medium.kind if medium.kind.has_agents else PASSING

    def forget_added(self, leg: Leg, id_: str) -> None:
        """Undo this leg's content-add of this id, which the other has answered by an error."""
        asked = ((key, self.media[key].added_by) for key in self.media.unagreed(leg))
        self.forget([key for key, by in asked if by is not None and _is_meant(by, id_)])

    def forget_replaced(self, leg: Leg, id_: str) -> None:
        """Forget the transports that a transport-replace of this leg has offered."""
        offered = ((m.key, m.replacements.get(leg)) for m in self.media.values())
        meant = [key for key, r in offered if r is not None and _is_meant(r.asked_by, id_)]
        self.forget_replacement(leg, meant)

    def rearm(self, leg: Leg) -> None:
        """Arm the latches that face a leg by its new evidence, unless that is weaker.

        An ICE agent's signature is evidence enough, wherever it comes from.
        """
        for medium in self.media.values():
            if not medium.is_latched_by_media(leg):
                continue
            for allocation in medium.allocations:
                if allocation.is_armed(leg):
                    self._anchor.latches.rearm(allocation, leg, medium.signalled.get(leg, ()))

    def accept(self, leg: Leg, contents: Sequence[Content], now: float) -> Reply:
        """The answer to an offer or to content-add: the gate opens."""
        reply = Reply()
        agreed = self.media.answered(leg, contents)
        for medium, content in agreed:
            medium.kind.demand(medium, leg, content)
        for medium, content in agreed:
            if not medium.protection.answered(content).tags(leg):
                self._anchor.latches.demand_proof(medium.allocation, leg, content)
        agreed += each(contents, lambda content: self._unseen(leg.other, content))
        for medium, content in agreed:
            # What the answer says of `senders` is a hint: clients write a fixed or a wrong word.
            if medium.agreed and medium.agents is not None:
                medium.agents.forget_shown(leg)
            medium.agreed = True
            _note_agreed(medium, now)
            medium.protection.answer(content)
            self._signal(medium, leg, content)
            self._join_late(medium, leg, content)
            medium.kind.accept(reply, medium, leg, content, now)
            self.gates.apply([medium])
        self.gates.apply(self.media.values())
        return reply

    def hold(self, leg: Leg) -> None:
        """This leg puts the call on hold."""
        self.gates.holders.add(leg)
        self.gates.apply(self.media.values())

    def resume(self, leg: Leg) -> None:
        """This leg is active again."""
        if leg in self.gates.holders:
            self.gates.holders.discard(leg)
            self._rearm_silent()
        self.gates.apply(self.media.values())

    def reject(self, leg: Leg, contents: Sequence[Content], now: float) -> None:
        """This leg refuses what was proposed.

        COMPAT stanza-rejects-without-contents: what is open is meant then.
        """
        if not contents:
            self._close(self.media.unagreed(leg.other), now)
            return
        rejected = self.media.awaiting(leg, contents)
        self._close([medium.key for medium, _ in rejected], now)

    def modify(self, contents: Sequence[Content]) -> None:
        """Change the direction of media."""
        for medium, content in self.media.named(contents):
            medium.senders = content.senders or medium.senders
        self.gates.apply(self.media.values())

    def remove(self, contents: Sequence[Content], now: float) -> None:
        """Close contents that were removed."""
        self._close([medium.key for medium, _ in self.media.named(contents)], now)

    def _close(self, contents: Iterable[ContentKey], now: float) -> None:
        """The parties have ended these: what still comes of them is late, and no news."""
        keys = list(contents)
        for medium in (self.media[key] for key in keys):
            if medium.allocation is not None:
                self.past.add(medium, medium.allocation, now)
        self.forget(keys)
        self._closed = [*self._closed, *keys][-MOST_CLOSED:]

    def trickle(self, leg: Leg, contents: Sequence[Content], now: float) -> Reply:
        """Newer candidates: this leg's latches are armed anew where its generation is greater."""
        reply = Reply()
        named = self.media.named(contents)
        for medium, content in named:
            medium.kind.demand(medium, leg, content)
        named += each(contents, lambda content: self._unseen(leg, content))
        for medium, content in named:
            _note_agreed(medium, now)
            renewed = bool(content.crypto) and medium.protection.renew(leg, content.crypto)
            if not self._begin_late(reply, medium, leg, content, now):
                self._carry(reply, medium, leg, content, now)
            if renewed and medium.allocation is not None and medium.agents is None:
                signalled = medium.signalled
                self._anchor.latches.arm_rightly(medium.allocation, leg, Leg, signalled)
        return reply

    def _carry(self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float) -> None:
        """Apply what this leg signals to the transport in use, not to one on offer."""
        if not medium.is_on_offer(leg, content):
            self._join_late(medium, leg, content)
            medium.kind.trickle(reply, medium, leg, content, now)

    def _begin_late(
        self, reply: Reply, medium: Medium, leg: Leg, content: Content, now: float
    ) -> bool:
        """Relay a content whose offer had no transport yet; tells whether it was that."""
        nothing_yet = medium.allocation is None and medium.agents is None and not medium.signalled
        if not nothing_yet or leg is not medium.proposer:
            return False
        described = replace(content, media=medium.media, mux=medium.mux)
        proposal = described, self.kinds.of(leg, described)
        ((_, kind, allocation),) = self._allocate_each(leg, [proposal], now)
        if allocation is None:
            return False
        medium.allocation, medium.protection = allocation, allocation.protection
        self._signal(medium, leg, described)
        self._offer(reply, medium, kind, leg, described, now)
        if medium.agreed:
            self.gates.apply([medium])
        return True

    def replace(self, leg: Leg, contents: Sequence[Content], id_: str, now: float) -> Reply:
        """Offer another transport for these contents, by the request of this id."""
        named = self.media.named(contents)
        reply = Reply()
        proposals = [(content, self.kinds.of(leg, content)) for _, content in named]
        allocations = self._allocate_each(leg, proposals, now)
        for (medium, _), (content, kind, allocation) in zip(named, allocations, strict=True):
            self.forget_replacement(leg, [medium.key])
            new = Medium(medium.key, leg, medium.senders, media=medium.media, mux=medium.mux)
            new.allocation, new.protection = allocation, medium.protection
            new.signalled = medium.signalled
            self._offer(reply, new, kind, leg, content, now)
            plain = content.plain
            medium.replacements[leg] = Replacement(
                new.allocation, new.agents, plain or (), id_, new.kind
            )
        return reply

    def replaced(self, leg: Leg, contents: Sequence[Content], now: float) -> Reply:
        """This leg accepts the transports that the other offers."""
        named = self.media.replacing(leg.other, contents)
        for medium, content in named:
            offered = medium.replacements[leg.other].allocation
            self._anchor.latches.demand_proof(offered, leg, content)
        reply = Reply()
        for medium, content in named:
            obsolete = medium.allocation
            if obsolete is not None:
                self.past.add(medium, obsolete, now)
            medium.replace(leg.other)
            medium.agreed_at = now
            self._signal(medium, leg, content)
            if obsolete is not None:
                self._anchor.retire([obsolete])
            self._join_late(medium, leg, content)
            medium.kind.replaced(reply, medium, leg, content, now)
            self.gates.apply([medium])
        return reply

    def keep(self, leg: Leg, contents: Sequence[Content]) -> None:
        """This leg refuses the transports that the other offers."""
        named = self.media.replacing(leg.other, contents)
        self.forget_replacement(leg.other, [medium.key for medium, _ in named])

    def _offer(
        self,
        reply: Reply,
        medium: Medium,
        kind: TransportKind,
        leg: Leg,
        content: Content,
        now: float,
    ) -> None:
        """Add the relay's candidates to a proposal, and arm both legs as far as possible."""
        medium.kind = kind
        if medium.allocation is not None:
            reply.allocations.append(medium.allocation)
            medium.allocation.flows = gate.before_accept(self._policy)  # as it will be bound
        kind.propose(reply, medium, leg, content, now)

    def _allocate_each(
        self, leg: Leg, proposals: Iterable[Proposal], now: float
    ) -> list[tuple[Content, TransportKind, Allocation | None]]:
        """Allocate ports for every content to relay. Raises NoPorts, and then takes none."""
        made: list[tuple[Content, TransportKind, Allocation | None]] = []
        try:
            for content, kind in proposals:
                allocation = kind.reserve(leg, content, now)
                made.append((content, kind, allocation))
                if allocation is not None:
                    self._describe(allocation, leg, content)
                    self._anchor.latches.demand_proof(allocation, leg, content)
        except (NoPorts, UnprovenParty):
            self._anchor.abandon_all(a for _, _, a in made if a is not None)
            raise
        return made

    def _describe(self, allocation: Allocation, leg: Leg, content: Content) -> None:
        """Record what a description says of its media."""
        known = self.media.get(content.key)  # a replacement does not describe its content again
        before = () if known is None else known.allocations
        allocation.several = content.several or any(a.several for a in before)
        allocation.events = content.events.union(*(a.events for a in before))
        allocation.protection = (
            Protection(leg, content.crypto) if known is None else known.protection
        )

    def _signal(self, medium: Medium, leg: Leg, content: Content) -> None:
        plain = content.plain
        if plain is not None:
            medium.record(leg, plain, self._anchor.budgets.room(self.media.values()))

    def _rearm_silent(self) -> None:
        """Arm silent latches anew after a hold: NAT bindings may be gone."""
        for medium in self.media.values():
            for allocation in medium.allocations:
                for leg in filter(medium.is_latched_by_media, Leg):
                    self._anchor.latches.rearm_silent(allocation, leg)

    def _unseen(self, proposer: Leg, content: Content) -> Medium | None:
        """A content between ICE agents that was added while nobody showed us: joined from now on.

        Elsewhere one party has been told what is not ours, and the rest is between the two.
        """
        kind = self.kinds.of(proposer, content, late=True)
        if kind is PASSING or content.key in self._closed or self.media.find(content) is not None:
            return None
        budgets = self._anchor.budgets
        is_full = not budgets.contents_left(len(self.media)) or not budgets.may_follow(content)
        if is_full:
            return None
        medium = self._enter(proposer, content)
        medium.kind = kind
        medium.agreed = any(other.agreed for other in self.media.values())
        return medium


def _note_agreed(medium: Medium, now: float) -> None:
    if medium.agreed and medium.agreed_at is None:
        medium.agreed_at = now


def _is_meant(asked_by: str, refused: str) -> bool:
    """Return whether the request of this id is refused. An unknown id means any."""
    return not asked_by or not refused or asked_by == refused
