"""Anchors the media of one session on the relay: leases, bindings, latches and gates.

The session decides *when*; this decides *where* and on what evidence. Orders for bindings that the
plane has not yet made are kept back and given when it has.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jingle_hnt.errors import BudgetExceeded, NoPorts, UnprovenParty
from jingle_hnt.model.address import IPAddress, TransportAddress, host_network
from jingle_hnt.model.content import COMPONENTS, RTCP, RTP, Candidate, Content
from jingle_hnt.model.jid import JID
from jingle_hnt.relay.binding import Arm, Flow, Gate, Latched, PinholeSnapshot
from jingle_hnt.relay.evidence import (
    LONGEST_AGE_S,
    MOST_SIGHTINGS,
    UNTOLD,
    Evidence,
    IceKey,
    Sighting,
    SourceAuth,
)
from jingle_hnt.relay.ice_agent import TARGETS
from jingle_hnt.relay.latch import State
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource
from jingle_hnt.relay.ports import Lease, PortPool
from jingle_hnt.session.allocation import Allocation, side_of
from jingle_hnt.session.budgets import Budgets
from jingle_hnt.session.effects import Bind, Effect, Release
from jingle_hnt.session.ice import Agents, best_first, likely_first
from jingle_hnt.session.table import Leg


@dataclass(slots=True)
class Party:
    """One party: its full JID and what servers know of where it is.

    `ip` is the other end of its present XMPP connection. `seen` are weaker addresses, newest first:
    of the other family, of earlier connections, of kinds of connection that prove less. A new piece
    is added to them; it never takes the place of `ip`.
    """

    jid: JID
    ip: IPAddress | None = None
    gone: bool = False
    seen: tuple[IPAddress, ...] = ()

    def sight(self, sightings: Iterable[Sighting]) -> bool:
        """Take note of where its server has seen it; tells whether that is news."""
        before = self.ip, self.seen
        for sighting in sightings:
            if sighting.age_s > LONGEST_AGE_S:
                continue
            if sighting.is_sure and sighting.ip != self.ip:
                self._see(self.ip)
                self.ip = sighting.ip
            elif sighting.ip not in (self.ip, *self.seen):
                self._see(sighting.ip)
        return (self.ip, self.seen) != before

    def _see(self, ip: IPAddress | None) -> None:
        if ip is not None:
            others = (each for each in self.seen if each != ip)
            self.seen = (ip, *others)[:MOST_SIGHTINGS]


class Anchor:
    """The relay's part in one session. `out` takes the effects, in order; `drawn` draws secrets.

    With `one_interface` set, both legs get ports of the same address.
    """

    def __init__(
        self,
        name: str,
        parties: tuple[Party, Party],
        pool: PortPool,
        peers: PeerPolicy,
        out: list[Effect],
        drawn: Callable[[], str],
        budgets: Budgets,
    ) -> None:
        self.name = name
        self.drawn = drawn
        self.parties = parties
        self.budgets = budgets
        self._pool = pool
        self._peers = peers
        self.out = out
        self.made = 0
        self.exceeded: Counter[str] = Counter()
        self.one_interface = False
        self._binding: dict[int, tuple[Sequence[Allocation], frozenset[Arm | Gate]]] = {}

    @property
    def jids(self) -> tuple[JID, JID]:
        """Who the parties are."""
        initiator, responder = self.parties
        return initiator.jid, responder.jid

    def allocate(
        self,
        leg: Leg,
        candidates: Sequence[Candidate],
        now: float,
        payer: Leg | None = None,
    ) -> Allocation:
        """Lease ports for a content of this leg's, which signals these candidates.

        They are charged to the user of `payer`, or of this leg.

        Each leg gets an address of the family that it can use: that of its candidates, else that of
        its XMPP connection, else the other leg's (RFC 7362 section 4); and of the interface that
        faces the network where it is. Of several families that it can use it gets the one whose
        sources can be proven best. Raises NoPorts, and PortsExceeded of the payer's budget.
        """
        payer = leg if payer is None else payer
        user = self.parties[payer].jid
        self.budgets.demand_ports(user)
        owners = self.budgets.owners(user)
        signalled = [c.address.ip for c in candidates]
        near = self._best_version(leg, [ip.version for ip in signalled])
        far = self._best_version(leg.other, []) or near
        first = self._pool.lease_towards(near, self._places(leg) or signalled, now, owners)
        try:
            if self.one_interface:
                second = self._pool.lease(first.interface, now, owners)
            else:
                second = self._pool.lease_towards(far, self._places(leg.other), now, owners)
        except NoPorts:
            self._pool.abandon(first)
            raise
        self.made += 1
        leases = (first, second) if leg is Leg.INITIATOR else (second, first)
        return Allocation(f"{self.name}.{self.made}", leases, payer=payer)

    def note_exceeded(self, error: Exception) -> None:
        """Count what the session was refused, or does without, where that is for a budget."""
        if isinstance(error, BudgetExceeded):
            self.exceeded[error.budget] += 1

    def demand_contents(self, held: int, added: Sequence[Content]) -> None:
        """Raise BudgetExceeded where a session that has so many contents may not have these."""
        self.budgets.demand_contents(self.name, held, added)

    def charge(self, allocations: Iterable[Allocation]) -> None:
        """Charge what a session of an earlier life holds to who has asked for it."""
        for allocation in allocations:
            owners = self.budgets.owners(self.parties[allocation.payer].jid)
            for lease in allocation.leases:
                self._pool.charge(lease, owners)

    def bind(self, allocations: Sequence[Allocation]) -> int:
        """Ask the plane for these bindings, all or none; returns the number of the request."""
        number = self.made
        specs = tuple(spec for a in allocations for spec in a.specs())
        orders = tuple(order for a in allocations for order in a.orders())
        self._binding[number] = allocations, frozenset(orders)
        self.out.append(Bind(self.name, number, specs, orders))
        return number

    @property
    def is_waiting(self) -> bool:
        """Whether the plane has yet to answer a `Bind`."""
        return bool(self._binding)

    def bound(self, number: int) -> None:
        """The plane has made the bindings: give it the orders that came up meanwhile.

        What nobody wants any more by now is released instead.
        """
        made, told = self._taken(number)
        for allocation in made:
            allocation.bound = allocation.was_bound = True
            if not allocation.unwanted:
                self.out.extend(order for order in allocation.orders() if order not in told)
        self.retire(a for a in made if a.unwanted)

    def retry(self, number: int, taken: Collection[TransportAddress], now: float) -> int | None:
        """A foreign process has taken these: ask again with another pair for each.

        Returns the number of the new request, or None where no ports are left.
        """
        allocations, _ = self._taken(number)
        try:
            for allocation in allocations:
                first, second = allocation.leases
                first = self._unless_taken(first, taken, now)
                allocation.leases = first, second
                allocation.leases = first, self._unless_taken(second, taken, now)
        except NoPorts:
            self.abandon_all(allocations)
            return None
        self.made += 1
        return self.bind(allocations)

    def abandon(self, number: int) -> Sequence[Allocation]:
        """The plane could not make these bindings, which are returned: their leases are free."""
        lost, _ = self._taken(number)
        self.abandon_all(lost)
        return lost

    def abandon_all(self, allocations: Iterable[Allocation]) -> None:
        """Give back leases that were never bound."""
        for allocation in allocations:
            for lease in allocation.leases:
                self._pool.abandon(lease)

    def retire(self, allocations: Iterable[Allocation]) -> None:
        """Release bindings; those still being made are released when they are."""
        ready = []
        for allocation in allocations:
            allocation.unwanted = True
            if allocation.bound:
                ready.append(allocation)
        for allocation in ready:
            allocation.bound = allocation.was_bound = False
            for lease in allocation.leases:
                self._pool.retire(lease)
        if ready:
            self.out.append(Release(tuple(n for a in ready for n in a.bindings)))

    def arm(
        self,
        allocation: Allocation,
        leg: Leg,
        candidates: Iterable[Candidate],
        components: Iterable[int] = COMPONENTS,
    ) -> None:
        """Arm this leg's latches with the best evidence there is.

        Where nothing is known of it (`probation`), RTCP waits until RTP has shown an address: five
        RTCP packets of a stranger must not earn the other party's reports.
        """
        signalled = tuple(candidates)
        evidence = self._evidence(allocation, leg, signalled)
        self._arm(allocation, leg, evidence, signalled, components)

    def arm_untold(
        self,
        allocation: Allocation,
        leg: Leg,
        candidates: Iterable[Candidate],
        components: Iterable[int] = COMPONENTS,
    ) -> None:
        """Arm this leg's latches before its party is told of the ports.

        Where nothing is known of the party nobody is believed until it is told, and who sends bars
        himself. Its RTCP port waits for its RTP anyway.
        """
        signalled = tuple(candidates)
        evidence = self._evidence(allocation, leg, signalled)
        if evidence.source_auth is SourceAuth.PROBATION:
            self._order(allocation, allocation.arm(leg, UNTOLD, (RTP,)))
        else:
            self._arm(allocation, leg, evidence, signalled, components)

    def _arm(
        self,
        allocation: Allocation,
        leg: Leg,
        evidence: Evidence,
        signalled: Sequence[Candidate],
        components: Iterable[int] = COMPONENTS,
    ) -> None:
        if evidence.source_auth is SourceAuth.PROBATION:
            components = [c for c in components if c == RTP]
        early = {
            component: address
            for component in COMPONENTS
            if (address := self._peers.early(evidence, component, signalled)) is not None
        }
        self._order(allocation, allocation.arm(leg, evidence, components, early))

    def rearm(self, allocation: Allocation, leg: Leg, candidates: Iterable[Candidate]) -> None:
        """Arm this leg's latches anew on what is known by now, if that is no weaker than before.

        What is heard keeps its latch on weaker evidence. The source that is heard stays among those
        that are believed: a connection may move before its media does.
        """
        signalled = tuple(candidates)
        pinhole = allocation.pinholes[RTP, leg]
        before, learned = pinhole.evidence, pinhole.learned
        evidence = self._evidence(allocation, leg, signalled)
        if before is None or evidence == before:
            return
        if before.is_untold and evidence.source_auth is SourceAuth.PROBATION:
            return
        if pinhole.lively and learned is not None:
            if (
                evidence.is_weaker_than(before)
                or evidence.source_auth is before.source_auth is SourceAuth.PROBATION
            ):
                return
            if evidence.source_auth is before.source_auth and not evidence.admits(learned.ip):
                evidence = replace(evidence, sources=(*evidence.sources, host_network(learned.ip)))
            if evidence.source_auth is before.source_auth and set(evidence.sources) <= set(
                before.sources
            ):
                return
        self._arm(allocation, leg, evidence, signalled)

    def arm_rightly(
        self,
        allocation: Allocation,
        speaker: Leg,
        legs: Iterable[Leg],
        signalled: Mapping[Leg, Sequence[Candidate]],
    ) -> None:
        """Arm who speaks now, and who was armed on other evidence than there is by now."""
        for leg in legs:
            is_due = leg is speaker or allocation.is_armed(leg)
            if is_due and not allocation.is_armed_rightly(leg):
                self.arm(allocation, leg, signalled.get(leg, ()))

    def arm_agent(
        self,
        allocation: Allocation,
        leg: Leg,
        keys: tuple[IceKey, ...],
        candidates: Iterable[Candidate] = (),
    ) -> None:
        """Arm this leg's latches with what its ICE agent makes its checks with."""
        evidence = self._peers.signed(allocation.version(leg), keys, self._seen(leg, candidates))
        self._order(allocation, allocation.arm(leg, evidence))

    def arm_stand_in(self, allocation: Allocation, leg: Leg, agents: Agents) -> None:
        """Arm this leg's latches where ICE ends at us: with what we are asked and ask with.

        What comes of the other party while this one is still checking may go to its default
        candidate (RFC 7584 section 4.2), within what is allowed of an early stream.
        """
        candidates = agents.of[leg].candidates
        seen = self._seen(leg, candidates)
        evidence = self._peers.signed(allocation.version(leg), agents.keys(leg), seen)
        checks, early = {}, {}
        for component in COMPONENTS:
            own = [c for c in candidates if c.component == component]
            usable = [c for c in best_first(own) if evidence.admits(c.address.ip)]
            targets = tuple(dict.fromkeys(c.address for c in usable))[:TARGETS]
            if (made := agents.checks(leg, component, targets)) is not None:
                checks[component] = made
            if (address := self._peers.early(evidence, component, likely_first(own))) is not None:
                early[component] = address
        self._order(allocation, allocation.arm(leg, evidence, COMPONENTS, early, checks))

    def demand_proof(
        self, allocation: Allocation, leg: Leg, candidates: Iterable[Candidate]
    ) -> None:
        """Raise UnprovenParty where nothing is known of this leg and the operator refuses such."""
        refuse = self._peers.unknown_source is UnknownSource.REFUSE
        if (
            refuse
            and self._evidence(allocation, leg, candidates).source_auth is SourceAuth.PROBATION
        ):
            raise UnprovenParty

    def arm_early(self, allocation: Allocation, leg: Leg) -> None:
        """Arm the leg of a party that has signalled nothing yet, where its XMPP address is known.

        Callees send before their accept reaches the caller; their source may be learned meanwhile,
        the gate is closed anyway. Without evidence the latch stays shut until the accept, and
        where the answer is to tell what that party signs its media with.
        """
        if allocation.protection.is_expected:
            return
        evidence = self._evidence(allocation, leg, ())
        if evidence.source_auth is SourceAuth.SIGNALLING_ADDRESS:
            self._order(allocation, allocation.arm(leg, evidence))

    def rearm_silent(self, allocation: Allocation, leg: Leg) -> None:
        """Arm anew what has fallen silent, on the evidence that it had (return from hold)."""
        for component in COMPONENTS:
            pinhole = allocation.pinholes[component, leg]
            if pinhole.learned is not None and not pinhole.lively and pinhole.evidence:
                self._order(allocation, allocation.arm(leg, pinhole.evidence, (component,)))

    def gate(self, allocation: Allocation, flows: tuple[Flow, Flow]) -> None:
        """Set what may flow."""
        self._order(allocation, allocation.gate(flows))

    def latched(self, allocation: Allocation, component: int, event: Latched, now: float) -> None:
        """The plane has learned a source. What RTP has shown narrows its sibling's evidence."""
        leg = Leg(event.side)
        pinhole = allocation.pinholes[component, leg]
        evidence = pinhole.evidence
        # What a signature has shown outlives the order that asked for it.
        if evidence is None or not (
            evidence.keys or evidence.tags or event.generation == pinhole.generation
        ):
            return
        pinhole.learned, pinhole.lively = event.source, True
        pinhole.stream = event.stream
        pinhole.latched_after_s, pinhole.latched_at = event.after_s, now
        pinhole.quiet_since = None
        sibling = allocation.pinholes[RTCP, leg]
        if (
            component == RTP
            and sibling.learned is None
            and evidence.source_auth is SourceAuth.PROBATION
        ):
            near = self._peers.near(event.source, SourceAuth.PROBATION)
            self._order(allocation, allocation.arm(leg, near, (RTCP,)))

    def rebind(self, allocations: Sequence[Allocation]) -> None:
        """A new plane knows nothing: make the same bindings again, learned sources included.

        It tells of who is silent, and never that somebody is heard of whom it has not: so whoever
        was learned counts as heard until it does.
        """
        for allocation in allocations:
            allocation.bound = False
            for pinhole in allocation.pinholes.values():
                if pinhole.learned is not None:
                    pinhole.lively, pinhole.quiet_since = True, None
        self.made += 1
        self.bind(allocations)

    def waits_for(self, number: int) -> bool:
        """Whether a request to bind is not answered yet."""
        return number in self._binding

    def made_meanwhile(self, alive: Collection[str]) -> list[int]:
        """The requests to bind that a plane has carried out without a word, by what it has."""
        return [
            number
            for number, (allocations, _) in self._binding.items()
            if allocations and all(name in alive for a in allocations for name in a.bindings)
        ]

    def unanswered(self, number: int) -> bool:
        """The plane went away before it answered; tells whether nobody needs to be told.

        What it was to make again is made by the next one, when it is met.
        """
        allocations, _ = self._binding.get(number, ((), frozenset()))
        if not allocations or not all(a.was_bound for a in allocations):
            return False
        del self._binding[number]
        for allocation in allocations:
            allocation.bound = True
        self.retire([a for a in allocations if a.unwanted])
        return True

    def let_go(self, allocations: Collection[Allocation]) -> None:
        """The plane has released these: nothing is to be ordered, and their ports drain."""
        for allocation in allocations:
            allocation.bound = allocation.was_bound = False
            for lease in allocation.leases:
                self._pool.retire(lease)

    def compare(
        self, allocation: Allocation, component: int, leg: Leg, seen: PinholeSnapshot
    ) -> bool:
        """Bring a latch of the plane and what is known of it together; False where it is ordered.

        The greater generation is the later order. What the plane has not learned is not known.
        """
        pinhole = allocation.pinholes[component, leg]
        generation = -1 if seen.state is State.SHUT else seen.generation
        if generation < pinhole.generation:
            orders = allocation.arm_again()
            name = allocation.binding(component)
            self.out.extend(o for o in orders if (o.name, o.side) == (name, side_of(leg)))
            return False
        pinhole.generation = generation
        if seen.learned is None:
            pinhole.forget()
        else:
            pinhole.stream = seen.stream
        return True

    def _taken(self, number: int) -> tuple[Sequence[Allocation], frozenset[Arm | Gate]]:
        """What a `Bind` asked for, which is answered now; nothing where it is not known."""
        return self._binding.pop(number, ((), frozenset()))

    def _places(self, leg: Leg) -> list[IPAddress]:
        """Where the party is, as far as its server knows; that beats what it says of itself."""
        ip = self.parties[leg].ip
        return [] if ip is None else [ip]

    def _seen(self, leg: Leg, candidates: Iterable[Candidate]) -> list[IPAddress]:
        """Where packets of this leg are likely to come from, whatever else proves them its own."""
        named = (c.address.ip for c in candidates)
        return [*self._places(leg), *self.parties[leg].seen, *named]

    def _best_version(self, leg: Leg, offered: Sequence[int]) -> int | None:
        """The family to tell this leg, of those that it offers and we have; None: any."""
        party = self.parties[leg]
        ours = {interface.version for interface in self._pool.interfaces}
        known = [ip.version for ip in (party.ip, *party.seen) if ip is not None]
        usable = [version for version in offered if version in ours] or offered
        wanted = [version for version in known if version in usable or not usable]
        return next(iter((*wanted, *usable)), None)

    def _order(self, allocation: Allocation, orders: Iterable[Arm | Gate]) -> None:
        made = list(orders)
        if allocation.bound:
            self.out.extend(made)

    def _evidence(
        self, allocation: Allocation, leg: Leg, candidates: Iterable[Candidate]
    ) -> Evidence:
        if tags := allocation.protection.tags(leg):
            places = self._seen(leg, candidates)
            return self._peers.tagged(allocation.version(leg), tags, places)
        ip = self.parties[leg].ip
        seen = self.parties[leg].seen
        evidence = self._peers.evidence(allocation.version(leg), ip, candidates, seen)
        return replace(
            evidence,
            several=allocation.several,
            lapse_s=self._peers.follow_after_s,
            events=tuple(sorted(allocation.events)),
        )

    def _unless_taken(self, lease: Lease, taken: Collection[TransportAddress], now: float) -> Lease:
        """This lease, or another in its place."""
        if not any(lease.bound(component) in taken for component in COMPONENTS):
            return lease
        owners = self._pool.owners(lease)
        self._pool.shun(lease, now)
        return self._pool.lease(lease.interface, now, owners)
