"""Arms the latches and sets the gates of one call: on what evidence each leg's media is believed.

The call decides *when*; this decides on what evidence. Orders for bindings that the plane has not
yet made are kept back: the allocation remembers them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.effects import Out
from jingle_hnt.call.endpoint import Endpoint
from jingle_hnt.call.ice import Agents, best_first, likely_first
from jingle_hnt.call.leg import Leg, side_of
from jingle_hnt.errors import UnprovenParty
from jingle_hnt.model.address import IPAddress, host_network
from jingle_hnt.model.content import COMPONENTS, RTCP, RTP, Candidate, Content
from jingle_hnt.relay.binding import Arm, Flow, Gate, Latched, PinholeSnapshot
from jingle_hnt.relay.evidence import UNTOLD, Evidence, IceKey, SourceAuth
from jingle_hnt.relay.ice_agent import TARGETS
from jingle_hnt.relay.latch import LatchState
from jingle_hnt.relay.policy import PeerPolicy, UnknownSource


class Latches:
    """The latches and gates of one call. `out` takes the orders, in order."""

    def __init__(
        self, parties: tuple[Endpoint, Endpoint], peers: PeerPolicy, out: Out[Arm | Gate]
    ) -> None:
        self.parties = parties
        self._peers = peers
        self._out = out

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

    def arm_relay_agent(self, allocation: Allocation, leg: Leg, agents: Agents) -> None:
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

    def demand_proof(self, allocation: Allocation | None, leg: Leg, content: Content) -> None:
        """Raise UnprovenParty where nothing is known of this leg and the operator refuses such.

        An ICE agent proves itself.
        """
        if self._peers.unknown_source is not UnknownSource.REFUSE:
            return
        plain = content.plain
        if allocation is None or plain is None:
            return
        if self._evidence(allocation, leg, plain).source_auth is SourceAuth.PROBATION:
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

    def compare(
        self, allocation: Allocation, component: int, leg: Leg, seen: PinholeSnapshot
    ) -> bool:
        """Bring a latch of the plane and what is known of it together; False where it is ordered.

        The greater generation is the later order. What the plane has not learned is not known.
        """
        pinhole = allocation.pinholes[component, leg]
        generation = -1 if seen.state is LatchState.SHUT else seen.generation
        if generation < pinhole.generation:
            orders = allocation.arm_again()
            name = allocation.binding(component)
            self._out.extend(o for o in orders if (o.name, o.side) == (name, side_of(leg)))
            return False
        pinhole.generation = generation
        if seen.learned is None:
            pinhole.forget()
        else:
            pinhole.stream = seen.stream
        return True

    def _seen(self, leg: Leg, candidates: Iterable[Candidate]) -> list[IPAddress]:
        """Return the addresses that packets of this leg are likely to come from."""
        named = (c.address.ip for c in candidates)
        return [*self.parties[leg].addresses, *self.parties[leg].seen, *named]

    def _order(self, allocation: Allocation, orders: Iterable[Arm | Gate]) -> None:
        made = list(orders)
        if allocation.bound:
            self._out.extend(made)

    def _evidence(
        self, allocation: Allocation, leg: Leg, candidates: Iterable[Candidate]
    ) -> Evidence:
        if tags := allocation.protection.tags(leg):
            addresses = self._seen(leg, candidates)
            return self._peers.tagged(allocation.version(leg), tags, addresses)
        ip = self.parties[leg].ip
        seen = self.parties[leg].seen
        evidence = self._peers.evidence(allocation.version(leg), ip, candidates, seen)
        return replace(
            evidence,
            several=allocation.several,
            lapse_s=self._peers.follow_after_s,
            events=tuple(sorted(allocation.events)),
        )
