"""The allocation of one content: two leases, two bindings, and the address learned on each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from jingle_hnt.call.leg import Leg, side_of
from jingle_hnt.call.sdes import Protection
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import COMPONENTS, RTP, Candidate, CandidateType
from jingle_hnt.relay.binding import Arm, BindingName, Flow, Gate, StreamAt
from jingle_hnt.relay.evidence import Evidence
from jingle_hnt.relay.ice_agent import Checks
from jingle_hnt.relay.ports import Lease, PlaneId

NOWHERE: Mapping[int, TransportAddress] = {}
"""No early stream."""

NO_CHECKS: Mapping[int, Checks] = {}
"""No agent of ours."""


@dataclass(slots=True)
class Pinhole:
    """One pinhole as the session knows it: its evidence, and what the plane has reported of it.

    `latched_at` is None where that is not known any more, `quiet_since` while it is heard. `stream`
    is one that the learned source sends, where signatures do not tell whose packets are whose.
    """

    generation: int = -1
    evidence: Evidence | None = None
    early: TransportAddress | None = None
    checks: Checks | None = None
    learned: TransportAddress | None = None
    stream: StreamAt | None = None
    latched_after_s: float | None = None
    latched_at: float | None = None
    quiet_since: float | None = None
    lively: bool = False

    def arm(
        self,
        name: BindingName,
        leg: Leg,
        evidence: Evidence,
        early: TransportAddress | None = None,
        checks: Checks | None = None,
    ) -> Arm:
        """Arm anew and forget the learned address, unless its source signs as before."""
        before = () if self.evidence is None else self.evidence.tags
        self.generation += 1
        self.evidence = evidence
        self.early = early
        self.checks = checks
        if evidence.keys:
            return Arm(name, side_of(leg), self.generation, evidence, early=early, checks=checks)
        if set(evidence.tags) & set(before):
            return Arm(name, side_of(leg), self.generation, evidence)
        self.forget()
        return Arm(name, side_of(leg), self.generation, evidence, early=early)

    def forget(self) -> None:
        """Forget the learned address."""
        self.learned = self.stream = self.latched_after_s = None
        self.latched_at = self.quiet_since = None
        self.lively = False


@dataclass(slots=True)
class Allocation:
    """The relay's part in one transport of one content: RTP and RTCP, facing both parties.

    `name` is unique among all allocations, `leases[leg]` the ports that face that leg. `bound` says
    that the plane has made the bindings, `was_bound` that it had and that parties may have been
    told of them, `unwanted` that they are to be released when it has;
    `several` that a party may send more than one RTP stream, `events` which payload types tell of
    key presses; `protection` is what their media is
    signed with. `payer` is the leg whose user is charged for the ports.
    """

    name: str
    leases: tuple[Lease, Lease]
    bound: bool = False
    was_bound: bool = False
    unwanted: bool = False
    several: bool = False
    events: frozenset[int] = frozenset()
    payer: Leg = Leg.INITIATOR
    protection: Protection = field(default_factory=lambda: Protection(Leg.INITIATOR))
    flows: tuple[Flow, Flow] = (Flow.CLOSED, Flow.CLOSED)
    pinholes: dict[tuple[int, Leg], Pinhole] = field(
        default_factory=lambda: {(c, leg): Pinhole() for c in COMPONENTS for leg in Leg}
    )

    @property
    def plane(self) -> PlaneId:
        """The plane that carries it; both leases are of it."""
        return self.leases[0].plane

    def binding(self, component: int) -> BindingName:
        return f"{self.name}.{component}"

    @property
    def bindings(self) -> tuple[BindingName, ...]:
        return tuple(self.binding(component) for component in COMPONENTS)

    def is_armed(self, leg: Leg) -> bool:
        """Return whether this leg's media may be learned; its RTCP may have to wait for its RTP."""
        return self.pinholes[RTP, leg].evidence is not None

    def is_armed_rightly(self, leg: Leg) -> bool:
        """Return whether it is, by the tags that are known now, and as of a party that was told."""
        evidence = self.pinholes[RTP, leg].evidence
        if evidence is None or evidence.is_untold:
            return False
        return evidence.tags == self.protection.tags(leg)

    def arm(
        self,
        leg: Leg,
        evidence: Evidence,
        components: Iterable[int] = COMPONENTS,
        early: Mapping[int, TransportAddress] = NOWHERE,
        checks: Mapping[int, Checks] = NO_CHECKS,
    ) -> Iterator[Arm]:
        """Arm this leg's latches anew; the other leg keeps what it has learned.

        `early` holds, by component, where first packets may go unasked, `checks` what an agent of
        ours asks with.
        """
        for component in components:
            pinhole, name = self.pinholes[component, leg], self.binding(component)
            told = evidence if component == RTP else evidence.for_reports()
            yield pinhole.arm(name, leg, told, early.get(component), checks.get(component))

    def arm_again(self) -> Iterator[Arm]:
        """Return the orders that restore its state in a new plane, learned sources included."""
        for (component, leg), pinhole in self.pinholes.items():
            if pinhole.evidence is not None:
                name, side = self.binding(component), side_of(leg)
                generation, evidence = pinhole.generation, pinhole.evidence
                early, checks = pinhole.early, pinhole.checks
                learned, stream = pinhole.learned, pinhole.stream
                yield Arm(name, side, generation, evidence, learned, early, checks, stream)

    def orders(self) -> Iterator[Arm | Gate]:
        """Return the orders for bindings that a plane has just made."""
        yield from self.arm_again()
        yield from self.gate_again()

    def gate(self, flows: tuple[Flow, Flow]) -> Iterator[Gate]:
        """Set the flows of both components; no order if they are as before."""
        if flows != self.flows:
            self.flows = flows
            yield from self.gate_again()

    def gate_again(self) -> Iterator[Gate]:
        for component in COMPONENTS:
            yield Gate(self.binding(component), self.flows)

    def candidates(
        self, towards: Leg, generation: int, components: Iterable[int] = COMPONENTS
    ) -> tuple[Candidate, ...]:
        """Return the relay's candidates for a stanza to this leg (XEP-0177 section 5.2).

        Both components always: a client that finds one candidate only invents the other's port.
        """
        lease = self.leases[towards]
        return tuple(
            Candidate(
                component=component,
                generation=generation,
                address=lease.advertised(component),
                id=f"{self.name}.{component}.{generation}",
                type=CandidateType.RELAY,
            )
            for component in components
        )

    def version(self, leg: Leg) -> int:
        """Return the IP version, 4 or 6, that faces this leg."""
        return self.leases[leg].interface.bound.version
