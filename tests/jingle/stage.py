"""A stage for plays over the pure core: Alice, Bob, an obedient plane, and a clock."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

from jingle_hnt.call.allocation_record import Record
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.effects import Bind, Effect, Release, Remember
from jingle_hnt.call.reconcile import reconcile
from jingle_hnt.errors import Condition, JingleCondition
from jingle_hnt.jingle.effects import (
    Answer,
    Bounce,
    CallRefused,
    Inject,
    Opened,
    Pass,
    Replace,
    Request,
    Ring,
)
from jingle_hnt.jingle.machine import Ended
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.jingle.record import dump, load
from jingle_hnt.jingle.registry import Registry
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import Candidate, Content, ContentKey, Creator, RawUdp, Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Info, Jingle, Reason
from jingle_hnt.relay.binding import (
    SILENT_S,
    Arm,
    BindingName,
    BindingSnapshot,
    BindingSpec,
    Counters,
    Drained,
    Flow,
    Gate,
    Heard,
    Latched,
    PinholeSnapshot,
    Side,
    Silent,
)
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.latch import LatchState as LatchState
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.policy import PeerPolicy
from jingle_hnt.relay.ports import PortPool

ALICE = JID.of("alice@example.org/phone")
BOB = JID.of("bob@example.org/desk")
MALLORY = JID.of("mallory@example.org/lair")
RELAY = ip_address("203.0.113.9")
RELAY6 = ip_address("2001:db8::9")
ADDRESSES = {ALICE: "198.51.100.1", BOB: "198.51.100.2", MALLORY: "198.51.100.66"}
VOICE = ContentKey(Creator.INITIATOR, "voice")
CAMERA = ContentKey(Creator.INITIATOR, "camera")
SIDES: tuple[Side, Side] = (0, 1)
PUBLIC = (ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48"))


NAMED = {"gate": "policy", "ice": "mode", "ice_rules": "rules"}
"""Options that tests call by another name than that in their table."""


def policy(**changes: Any) -> SessionPolicy:
    """A policy with these options, which are found in whichever table has them."""
    peers = PeerPolicy(own=(RELAY, RELAY6), allow_networks=PUBLIC)
    return changed(SessionPolicy(frozenset({"example.org"}), peers), **changes)


def changed(before: SessionPolicy, **changes: Any) -> SessionPolicy:
    """The policy with other options."""
    tables = {}
    for table in ("gate", "ice", "relay"):
        own = getattr(before, table)
        names = {field.name for field in fields(own)}
        found = [name for name in changes if NAMED.get(name, name) in names]
        tables[table] = replace(own, **{NAMED.get(n, n): changes.pop(n) for n in found})
    return replace(before, **tables, **changes)


def candidates(
    ip: str, port: int, generation: int = 0, components: Iterable[int] = (1, 2)
) -> RawUdp:
    return RawUdp(
        tuple(
            Candidate(c, generation, TransportAddress.of(ip, port + c - 1), f"c{c}")
            for c in components
        )
    )


def content(
    key: ContentKey = VOICE,
    transport: RawUdp | None = None,
    senders: Senders | None = None,
) -> Content:
    return Content(key, senders, transport or candidates("192.0.2.10", 5000), "audio")


@dataclass
class Plane:
    """What a plane would hold after the orders it was given; a wrong order is an error."""

    bindings: dict[BindingName, BindingSpec] = field(default_factory=dict)
    armed: dict[tuple[BindingName, Side], Arm] = field(default_factory=dict)
    flows: dict[BindingName, tuple[Flow, Flow]] = field(default_factory=dict)
    draining: dict[BindingName, BindingSpec] = field(default_factory=dict)
    learned: dict[tuple[BindingName, Side], TransportAddress] = field(default_factory=dict)
    silent: set[tuple[BindingName, Side]] = field(default_factory=set)

    def snapshot(self) -> list[BindingSnapshot]:
        """What it would tell of all that it has."""
        found = [
            BindingSnapshot(s.name, (shut(s.pinholes[0]), shut(s.pinholes[1])), draining=True)
            for s in self.draining.values()
        ]
        for name, spec in self.bindings.items():
            first, second = (self._pinhole(name, side, spec.pinholes[side]) for side in SIDES)
            found.append(BindingSnapshot(name, (first, second), draining=False))
        return found

    def _pinhole(self, name: BindingName, side: Side, bound: TransportAddress) -> PinholeSnapshot:
        arm, source = self.armed.get((name, side)), self.learned.get((name, side))
        flow = self.flows[name][side]
        if arm is None:
            return replace(shut(bound), flow=flow)
        state = LatchState.ARMED if source is None else LatchState.LATCHED
        heard_s = None if source is None else SILENT_S if (name, side) in self.silent else 0.0
        return PinholeSnapshot(
            bound, state, arm.generation, None, source, heard_s, heard_s, flow, Counters()
        )

    def bind(self, specs: Iterable[BindingSpec]) -> None:
        held = {a for s in (*self.bindings.values(), *self.draining.values()) for a in s.pinholes}
        for spec in specs:
            assert spec.name not in self.bindings
            assert held.isdisjoint(spec.pinholes), "a port is bound twice"
            self.bindings[spec.name] = spec
            self.flows[spec.name] = (Flow.CLOSED, Flow.CLOSED)

    def arm(self, order: Arm) -> None:
        assert order.name in self.bindings, f"armed without a binding: {order}"
        before = self.armed.get((order.name, order.side))
        assert before is None or order.generation > before.generation
        key = (order.name, order.side)
        self.armed[key] = order
        signed = order.evidence.keys or (
            before is not None and set(order.evidence.tags) & set(before.evidence.tags)
        )
        if order.resume is not None:
            self.learned[key] = order.resume
        elif not signed:
            self.learned.pop(key, None)
        self.silent.discard(key)

    def gate(self, order: Gate) -> None:
        assert order.name in self.bindings, f"gate without a binding: {order}"
        self.flows[order.name] = order.flows

    def release(self, names: Iterable[BindingName]) -> None:
        for name in names:
            self.draining[name] = self.bindings.pop(name)
            self.armed = {key: arm for key, arm in self.armed.items() if key[0] != name}
            self.learned = {key: at for key, at in self.learned.items() if key[0] != name}
            self.silent = {key for key in self.silent if key[0] != name}
            del self.flows[name]


class Stage:
    """Plays requests through a registry; `says` returns the answer that the stanza got."""

    def __init__(
        self,
        ports: tuple[int, int] = (2000, 2999),
        interfaces: Sequence[Interface] = (Interface(RELAY, RELAY), Interface(RELAY6, RELAY6)),
        **changes: object,
    ) -> None:
        self._names = iter(range(1, 1_000_000))
        self._ports, self._interfaces, self._policy = ports, interfaces, policy(**changes)
        self.draws = 0
        self.start()
        self.free = self.pool.counts.free
        self.plane = Plane()
        self.now = 100.0
        self.tokens = 0
        self.answers: dict[int, Answer] = {}
        self.order: list[int] = []
        self.binds: list[Bind] = []
        self.made: set[BindingName] = set()
        self.injected: list[Inject] = []
        self.ended: list[Ended] = []
        self.refused: list[CallRefused] = []
        self.remembered: set[str] = set()
        self.noted: set[str] = set()
        self.written: dict[str, Record] = {}
        self.held = False
        self.released: dict[BindingName, int] = defaultdict(int)

    def start(self) -> None:
        """A process that knows nothing yet."""
        self.pool = PortPool(self._interfaces, *self._ports, lambda n: n // 2)
        name = lambda: f"s{next(self._names)}"  # noqa: E731
        self.registry = Registry(self._policy, Calls(Planes.of(self.pool), name, self.drawn))

    def reborn(self, made: bool = False) -> None:
        """The process is killed and started again: it has what is written down, and the plane.

        What was held is let through by the server module. What the plane was asked for it has
        `made` without an answer, or it never heard of it.
        """
        for bind in self.binds if made else ():
            self.plane.bind(bind.specs)
            self.made.update(spec.name for spec in bind.specs)
            for order in bind.orders:
                self._carry_out(order)
        for token in range(1, self.tokens + 1):
            self.answers.setdefault(token, Pass(token))
        self.binds.clear()
        kept, limits = self.registry, self.registry.limits
        self.start()
        self.registry.limits.blocked, self.registry.draining = limits.blocked, kept.draining
        for record in self.written.values():
            read = json.loads(json.dumps(record))
            self.registry.restore(load(read, self.registry, self.now), self.now)
        self.settle()
        reconcile(self.registry.calls, self.plane.snapshot(), self.now)
        self.settle()

    def drawn(self) -> str:
        """Digits that tell how often they were drawn."""
        self.draws += 1
        return f"{self.draws:08x}{self.draws:032x}{self.draws:032x}{self.draws:016x}"

    def says(
        self,
        sender: JID,
        action: Action | None,
        *contents: Content,
        to: JID | None = None,
        sid: str = "a",
        info: Info | None = None,
        reason: Reason | None = None,
        initiator: JID | None = None,
        responder: JID | None = None,
        known: bool = True,
        id_: str = "",
        via: str = "",
        contact: bool | None = None,
    ) -> Answer | None:
        """A request; the answer is None while the plane keeps it waiting."""
        recipient = to or (BOB if sender == ALICE else ALICE)
        jingle = Jingle(action, sid, initiator, responder, contents, reason, info)
        self.tokens += 1
        ips = [
            ip_address(ADDRESSES[j]) if known and j in ADDRESSES else None
            for j in (sender, recipient)
        ]
        request = Request(
            self.tokens, sender, recipient, jingle, *ips, id=id_, via=via, contact=contact
        )
        self.registry.receive(request, self.now)
        self.settle()
        return self.answers.get(self.tokens)

    def rings(
        self, caller: JID, callee: JID, sid: str = "a", contact: bool | None = None
    ) -> Answer:
        """A message that makes the callee's phone ring; the answer that it got."""
        self.tokens += 1
        self.registry.rang(Ring(self.tokens, caller, callee, sid, contact), self.now)
        self.settle()
        return self.answers[self.tokens]

    def call(self, **options: object) -> None:
        """Alice calls, Bob answers."""
        offered = self.says(ALICE, Action.SESSION_INITIATE, content(), **options)  # type: ignore[arg-type]
        assert isinstance(offered, Replace)
        accepted = self.says(BOB, Action.SESSION_ACCEPT, self.bobs(), **options)  # type: ignore[arg-type]
        assert isinstance(accepted, Replace)

    def bobs(self, key: ContentKey = VOICE) -> Content:
        return content(key, candidates("192.0.2.20", 6000))

    def settle(self) -> None:
        """Carry out the effects; binds are answered unless `held` is set."""
        while effects := self.registry.calls.effects():
            for effect in effects:
                self._carry_out(effect)
        for name in self.noted:
            session = self.registry.find(name)
            if session is not None and not session.has_ended:
                self.written[name] = dump(session, self.now)
        self.noted.clear()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Pass() | Replace() | Bounce() | Opened():
                assert effect.token not in self.answers, "a stanza is answered twice"
                if isinstance(effect, Replace):
                    self._assert_there(c for told in effect.substitution.values() for c in told)
                self.answers[effect.token] = effect
                self.order.append(effect.token)
            case Bind():
                self.binds.append(effect)
                if not self.held:
                    self.bind_all()
            case Arm():
                self.plane.arm(effect)
            case Gate():
                self.plane.gate(effect)
            case Release(names=names):
                self.plane.release(names)
            case Ended():
                self.ended.append(effect)
                self._note_refused(effect)
                self.injected += effect.farewells
                self.written.pop(effect.session, None)
            case CallRefused():
                self.refused.append(effect)
            case Inject():
                self.injected.append(effect)
            case Remember(session=name):
                self.remembered.add(name)
                self.noted.add(name)

    def _assert_there(self, told: Iterable[Candidate]) -> None:
        """Nobody is told of ports that the plane does not have: another call may have them next.

        Those that a new plane is still to make again are the call's own.
        """
        again = (s for bind in self.binds for s in bind.specs if s.name in self.made)
        specs = (*self.plane.bindings.values(), *self.plane.draining.values(), *again)
        bound = {address for spec in specs for address in spec.pinholes}
        there = {i.told(a.port) for i in self._interfaces for a in bound if a.ip == i.bound}
        ours = {c.address for c in told if c.address.ip in {i.advertised for i in self._interfaces}}
        assert ours <= there, "ports that are not there"

    def _note_refused(self, ended: Ended) -> None:
        """An offer that met an obstacle was no call (see `admin.closing`)."""
        session, obstacle = ended.account, ended.obstacle
        if session is not None and obstacle is not None:
            owner = self.registry.budgets.line_of(session.jids[0])
            self.refused.append(CallRefused(*session.jids, session.sid, obstacle, owner))

    def bind_all(self) -> None:
        """The plane makes all bindings that it was asked for."""
        binds, self.binds = self.binds, []
        for bind in binds:
            self.plane.bind(bind.specs)
            self.made.update(spec.name for spec in bind.specs)
            for order in bind.orders:
                self._carry_out(order)
            self.registry.calls.bound(bind.session, bind.number, self.now)
        self.settle()

    def fail_all(self, port_taken: bool) -> None:
        """The plane can make none of them; if another has taken a port, then each one's first."""
        binds, self.binds = self.binds, []
        for bind in binds:
            taken = bind.addresses()[:1] if port_taken else ()
            self.registry.calls.unbound(bind.session, bind.number, taken, self.now)
        self.settle()

    def latch(self, name: BindingName, side: Side, ip: str, port: int = 40000) -> None:
        """The plane hears a party."""
        arm = self.plane.armed[name, side]
        source = TransportAddress.of(ip, port)
        event = Latched(name, side, arm.generation, source, relatched=False, after_s=0.1)
        self.plane.learned[name, side] = source
        self.plane.silent.discard((name, side))
        self.registry.calls.on_event(event, self.now)
        self.settle()

    def silent(self, name: BindingName, side: Side) -> None:
        if (name, side) in self.plane.learned:
            self.plane.silent.add((name, side))
        self.registry.calls.on_event(Silent(name, side, SILENT_S), self.now)
        self.settle()

    def heard(self, name: BindingName, side: Side) -> None:
        self.plane.silent.discard((name, side))
        self.registry.calls.on_event(Heard(name, side), self.now)
        self.settle()

    def drain(self) -> None:
        """Released bindings become free."""
        draining, self.plane.draining = self.plane.draining, {}
        for spec in draining.values():
            first, second = (shut(address) for address in spec.pinholes)
            self.registry.calls.on_event(Drained(spec.name, (first, second)), self.now)
        self.settle()

    def passes(self, seconds: float) -> None:
        """Time goes by, in the steps that the registry asks for."""
        until = self.now + seconds
        while (at := self.registry.calls.poll_timeout()) is not None and at <= until:
            self.now = max(self.now, at)
            self.registry.calls.expire(self.now)
            self.settle()
        self.now = until

    def picture(self) -> object:
        """What a request that changes nothing leaves as it is."""
        return (
            dict(self.plane.armed),
            dict(self.plane.flows),
            [(s.name, s.state, set(s.negotiation.gates.holders)) for s in self.registry],
        )

    def assert_ports_and_bindings_agree(self) -> None:
        """The plane holds what the calls want, and no port is lost."""
        waiting = {s.name for bind in self.binds for s in bind.specs}
        wanted = {
            name
            for session in self.registry
            for allocation in session.negotiation.allocations
            if allocation.bound
            for name in allocation.bindings
        }
        assert wanted == set(self.plane.bindings) - waiting
        counts = self.pool.counts
        assert counts.free + counts.leased + counts.quarantined + counts.shunned == self.free

    def run_out(self) -> None:
        """Everything that is still open is answered and runs out, and nothing is left of it."""
        self.held = False
        while self.binds:
            self.bind_all()
        assert set(self.answers) == set(range(1, self.tokens + 1))
        self.passes(100_000)
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """Every call is over, every port is free, the plane is empty."""
        self.drain()
        assert len(self.registry) == 0
        assert self.plane.bindings == {}
        assert self.pool.counts.free + self.pool.counts.shunned == self.free


def shut(address: TransportAddress) -> PinholeSnapshot:
    return PinholeSnapshot(
        address, LatchState.SHUT, -1, None, None, None, None, Flow.CLOSED, Counters()
    )


def refusal_of(answer: object) -> tuple[Condition, JingleCondition | None]:
    """The error that a stanza was answered with."""
    assert isinstance(answer, Bounce)
    return answer.error.condition, answer.error.jingle
