"""All sessions of the middlebox, and the only door to them.

A session is named by initiator, responder and sid together: the sid alone is chosen by whoever
calls, so two pairs may well choose the same, and a third party that learns one must not be able to
touch the session (XEP-0166 sections 7.1 and 11). A request whose sender and recipient are no such
pair concerns no session here and passes as it came; its receiver answers it as it would answer any
unknown session.

The driver gives inputs with the present time, then drains `effects` and carries them out, in order
and before the next input. It asks `poll_timeout` how long it may wait.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from jingle_hnt.call.allocation import Allocation, Pinhole
from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.effects import Effect
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import GateMode
from jingle_hnt.errors import BudgetExceeded, StanzaError, Unhidden
from jingle_hnt.jingle.aliases import is_answer_to
from jingle_hnt.jingle.budgets import Budgets
from jingle_hnt.jingle.channel import NOT_A_USER, PEER, Channel, Quota
from jingle_hnt.jingle.effects import (
    Bounce,
    CallRefused,
    ChannelRequest,
    Gone,
    Moved,
    Pass,
    Passed,
    Refusal,
    Replace,
    Request,
    Withdrawn,
)
from jingle_hnt.jingle.hiding import demand_whole, hidden, is_hiding
from jingle_hnt.jingle.limits import Limits
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.policy import Fallback, SessionPolicy
from jingle_hnt.jingle.refusals import NO_CAPACITY, NOT_LOCAL, Kind, Obstacle, obstacle_of
from jingle_hnt.jingle.table import State
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import COMPONENTS, Ice, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.binding import BindingName, Drained, Event, Side
from jingle_hnt.relay.evidence import Sighting, sightings
from jingle_hnt.relay.ports import PortPool

TOMBSTONE_S = 60.0
"""How long an ended session is remembered, so that what comes late still hides what is hidden."""

TOMBSTONES = 10_000
"""Ended sessions remembered at most; the oldest make room."""

SPARE_TIMERS = 256
"""Timers of calls that are over that may wait, beside as many as there are calls."""


SCARCE = 8
"""Ports are scarce where less than this part of them is free."""

GIVEN_UP = 2
"""Offers that are given up for each new one, while ports are scarce."""

FOLLOWED, FOLLOWED_OF_USER = 1000, 20
"""Sessions that began without media and are followed, since they may get some: in all, and of one
user. No limit of calls is for them; those beyond pass, and are not followed."""

LATE_S, PATIENCE_S = 1.0, 5.0
"""A process that is woken so much too late stood still (suspended, SIGSTOP); then no call is ended
for so long, in which the plane and the parties can say that they are there."""


@dataclass(frozen=True, slots=True)
class Key:
    """What names a session."""

    initiator: JID
    responder: JID
    sid: str

    def __str__(self) -> str:
        """All of it in one value; XML has no NUL (section 2.2 of its specification)."""
        return f"{self.initiator}\0{self.responder}\0{self.sid}"


class Registry:
    """See the module's text.

    `names` returns a fresh name for a session at each call: 1 to 40 characters out of
    ``[A-Za-z0-9]``, beginning with a letter, unique over restarts. `drawn` returns
    `session.ice.DRAWN` hexadecimal digits that nobody can foresee.
    """

    def __init__(
        self,
        policy: SessionPolicy,
        pool: PortPool,
        names: Callable[[], str],
        drawn: Callable[[], str],
    ) -> None:
        self.policy = policy
        self.pool = pool
        self.draining = False
        self.limits = Limits()
        self._names = names
        self._drawn = drawn
        self._sessions: dict[Key, Session] = {}
        self._keys: dict[str, Key] = {}
        self._of_party: dict[JID, set[str]] = {}
        self._of_sid: dict[str, set[str]] = {}
        self._aliases: dict[Key, tuple[str, Leg]] = {}
        self._ringing: OrderedDict[str, None] = OrderedDict()  # by age
        self._without_media: dict[str, JID] = {}  # who offered it
        # By `str(Key)`: ten thousand keys would be three times as many objects for the garbage
        # collector to look at, and strings are none.
        self._tombstones: OrderedDict[str, float] = OrderedDict()
        self._timers: list[tuple[float, str]] = []
        self._patient_until = float("-inf")
        self._effects: list[Effect] = []
        self.budgets = Budgets(policy.budgets, pool, policy.domains | policy.guests, self._effects)
        self._quota = None if policy.relay_nodes is None else Quota(policy.relay_nodes)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def find(self, name: str) -> Session | None:
        """The session of this name."""
        key = self._keys.get(name)
        return None if key is None else self._sessions[key]

    def order(self, effect: Effect) -> None:
        """Add something to be done."""
        self._effects.append(effect)

    def effects(self) -> list[Effect]:
        """Take what is to be done, in order."""
        taken = self._effects.copy()
        self._effects.clear()
        return taken

    # Inputs: the parties

    def receive(self, request: Request, now: float) -> None:
        """An intercepted request of one party to another."""
        self._bury(now)
        if request.jingle.action is Action.SESSION_INITIATE:
            self._initiate(request, now)
        else:
            self._pass_on(request, now)

    def late(self, request: Request, now: float) -> None:
        """A request has waited for too long: it goes on as it came, before its server gives up.

        It is refused where its sender is promised that nothing goes on as it came.
        """
        if self._promises_to_hide and request.jingle.action is not Action.SESSION_TERMINATE:
            self._refuse(request, Obstacle(Kind.LATE, "", NO_CAPACITY))
        else:
            self._refuse(request, Obstacle(Kind.LATE))

    def crowded(self, request: Request) -> None:
        """A request finds the line of its user full."""
        self._refuse(request, obstacle_of(self.budgets.too_many_wait(request.sender)))

    @property
    def _promises_to_hide(self) -> bool:
        """Whether users are promised that nothing goes on as it came."""
        return self.policy.terminates or self.policy.gate.policy is GateMode.TWO_STAGE

    def refused(self, refusal: Refusal, now: float) -> None:
        """A request that went through us was answered by an error."""
        found = self._find(refusal.sender, refusal.recipient, refusal.sid)
        if found is not None:
            leg, session = found
            session.refused(leg, refusal)
            self._settle(session, now)

    def moved(self, moved: Moved, now: float) -> None:
        """A party's XMPP connection comes from another address."""
        for session in self._sessions_of(moved.jid):
            session.moved(_leg_of(session, moved.jid), moved.sightings)
            self._settle(session, now)

    def gone(self, gone: Gone, now: float) -> None:
        """A party has left the server; a call whose media flows goes on (XEP-0166 section 6.8)."""
        for session in self._sessions_of(gone.jid):
            session.gone(_leg_of(session, gone.jid))
            self._settle(session, now)

    def channel(self, request: ChannelRequest, now: float) -> None:
        """A user asks for a relay channel (XEP-0278)."""
        refusal = self._channel_refusal(request, now)
        if refusal is not None:
            self._effects.append(Bounce(request.token, refusal))
            return
        name = self._names()
        parties = (Party(request.requester, request.ip), Party(PEER))
        channel = Channel(name, name, parties, self.anchor(name, parties), self.policy, now)
        self._enter(Key(request.requester, PEER, name), channel)
        channel.open(request, now)
        self._settle(channel, now)

    # Inputs: the plane

    def bound(self, name: str, number: int, now: float) -> None:
        """The plane has made the bindings of a `Bind` effect."""
        session = self.find(name)
        if session is not None:
            session.bound(number)
            self._settle(session, now)

    def unbound(
        self, name: str, number: int, taken: Collection[TransportAddress], now: float
    ) -> None:
        """The plane could not make the bindings of a `Bind` effect.

        `taken` are addresses of it that another process holds; none where it failed otherwise.
        """
        session = self.find(name)
        if session is not None:
            session.unbound(number, taken, now)
            self._settle(session, now)

    def makes_again(self, name: str, number: int) -> bool:
        """Whether the bindings of a `Bind` that a plane has not answered are made again when the
        next one is met: a call that had them before has them still."""
        session = self.find(name)
        return session is not None and session.anchor.unanswered(number)

    def waits_for(self, name: str, number: int) -> bool:
        """Whether a session still waits for the bindings of a `Bind`."""
        session = self.find(name)
        return session is not None and session.anchor.waits_for(number)

    def unanswered(self, name: str, number: int, now: float) -> None:
        """The plane went away before it answered a `Bind` effect."""
        session = self.find(name)
        if session is not None:
            session.unanswered(number, now)
            self._settle(session, now)

    def withdrawn(self, withdrawn: Withdrawn, now: float) -> None:
        """A party ended its call by a message. A sid that it uses for two calls names neither."""
        named = [s for s in self._sessions_of(withdrawn.jid) if s.sid == withdrawn.sid]
        if len(named) == 1:
            (session,) = named
            session.withdrawn(_leg_of(session, withdrawn.jid), withdrawn.retract)
            self._settle(session, now)

    def passed(self, passed: Passed, now: float) -> None:
        """A request that nobody showed us has gone on; of an offer the call is not ours."""
        found = self._find(passed.sender, passed.recipient, passed.sid, passed.action)
        if passed.action is Action.SESSION_INITIATE:
            if passed.jingle is None or any(c.media for c in passed.jingle.contents):
                who = passed.sender, passed.recipient
                self._note(*who, passed.sid, Obstacle(Kind.AWAY), passed.age_s)
            return
        if found is None:
            return
        leg, session = found
        if passed.action is Action.SESSION_TERMINATE:
            session.withdrawn(leg, retract=False)
        elif passed.jingle is not None:
            request = Request(0, passed.sender, passed.recipient, passed.jingle, id=passed.id)
            session.passed(leg, request, now)
        self._settle(session, now)

    def expired(self, request: Request, now: float) -> None:
        """A request that was asked about has gone on as it came: the answer is late, or to come."""
        found = self._find(request.sender, request.recipient, request.jingle.sid)
        if found is not None:
            leg, session = found
            session.expired(leg, request)
            self._settle(session, now)

    def learn(self, request: Request, now: float) -> None:
        """What a request says that was let go on as it came; of an offer the call is not ours."""
        jingle = request.jingle
        if jingle.action is not None and jingle.is_whole and not self._promises_to_hide:
            sender, recipient = request.sender, request.recipient
            told = Passed(sender, recipient, jingle.sid, jingle.action, jingle, id=request.id)
            self.passed(told, now)

    def told(self, event: Event, now: float) -> None:
        """The plane tells of a binding."""
        if isinstance(event, Drained):
            for pinhole in event.pinholes:
                self.pool.freed(pinhole.bound)
            session = self.find(event.name.partition(".")[0])
            if session is not None and session.negotiation.past.drained(event):
                session.remember()
            return
        found = self._pinhole(event.name)
        if found is not None:
            session, allocation, component = found
            session.told(allocation, component, event, now)
            self._settle(session, now, changed=False)

    def settle(self, session: Session, now: float) -> None:
        """`reconcile` has been at it."""
        self._settle(session, now, changed=False)

    def at(self, name: BindingName) -> tuple[Session, Allocation, int] | None:
        """Whose binding this is: the session, its allocation, and the component."""
        return self._pinhole(name)

    def pinhole(self, name: BindingName, side: Side) -> Pinhole | None:
        """What a session knows of one side of a binding; None for a binding of no session."""
        found = self._pinhole(name)
        if found is None:
            return None
        _, allocation, component = found
        return allocation.pinholes[component, Leg(side)]

    # Inputs: time and the operator

    def poll_timeout(self) -> float | None:
        """When `expire` wants to be called next; None where nothing is to be waited for."""
        return max(self._timers[0][0], self._patient_until) if self._timers else None

    def expire(self, now: float) -> None:
        """End what has reached its deadline.

        Whoever calls this late has stood still, and what happened meanwhile is yet to be told: then
        nothing is ended before that could be.
        """
        at = self.poll_timeout()
        if at is not None and now - at > LATE_S:
            self._patient_until = now + PATIENCE_S
        if now < self._patient_until:
            return
        while self._timers and self._timers[0][0] <= now:
            at, name = heapq.heappop(self._timers)
            session = self.find(name)
            if session is not None and session.timer_at == at:
                session.timer_at = None
                session.expire(now)
                self._settle(session, now)

    def terminate(self, name: str, now: float) -> bool:
        """End a call on an administrator's word; False where there is none of this name."""
        session = self.find(name)
        if session is None:
            return False
        session.terminate(Why.ADMINISTRATOR)
        self._settle(session, now)
        return True

    def restore(self, session: Session, now: float) -> None:
        """Take up a session that an earlier life of this process has recorded."""
        initiator, responder = session.parties
        self._enter(Key(initiator.jid, responder.jid, session.sid), session)
        session.anchor.charge(session.negotiation.allocations)
        self._settle(session, now, changed=False)

    def follow(self, policy: SessionPolicy) -> None:
        """New calls follow this policy; those that go on keep the one that they began under."""
        self.policy = policy
        self.budgets.policy, self.budgets.local = policy.budgets, policy.domains | policy.guests
        if self._quota is not None and policy.relay_nodes is not None:
            self._quota.policy = policy.relay_nodes

    def anchor(self, name: str, parties: tuple[Party, Party]) -> Anchor:
        """The anchor that a session of this registry needs."""
        peers, out = self.policy.peers, self._effects
        return Anchor(name, parties, self.pool, peers, out, self._drawn, self.budgets)

    # The parts of it

    def _initiate(self, request: Request, now: float) -> None:
        key = Key(request.sender, request.recipient, request.jingle.sid)
        session = self._sessions.get(key)
        if session is not None:
            session.receive(Leg.INITIATOR, request, now)
            self._settle(session, now)
        elif not self._is_ours(request) or not self._may_follow(request):
            self._go_on(request)
        else:
            self._make_room(now)
            self._admit(key, request, now)

    def _may_follow(self, request: Request) -> bool:
        """Whether there is room to follow a session that has no media yet: only so many are."""
        if _has_media(request):
            return True
        of_user = self._without_media.values()
        mine = sum(user == request.sender.bare for user in of_user)
        return mine < FOLLOWED_OF_USER and len(of_user) < FOLLOWED

    def _admit(self, key: Key, request: Request, now: float) -> None:
        """Follow a call from its offer on, where it may be made."""
        obstacle = self._obstacle(request, now)
        if obstacle is None:
            self._begin(key, request, now)
        else:
            self._refuse(request, obstacle)

    def _refuse(self, request: Request, obstacle: Obstacle) -> None:
        """Answer a request by its obstacle's error, or let it go on; of an offer, leave a trace."""
        error = obstacle.error
        answer = Pass(request.token) if error is None else Bounce(request.token, error)
        self._effects.append(answer)
        if request.jingle.action is Action.SESSION_INITIATE:
            self._note(request.sender, request.recipient, request.jingle.sid, obstacle)

    def _note(
        self, caller: JID, callee: JID, sid: str, obstacle: Obstacle, age_s: float = 0.0
    ) -> None:
        owner = self.budgets.line_of(caller)
        self._effects.append(CallRefused(caller, callee, sid, obstacle, owner, age_s))

    def _begin(self, key: Key, request: Request, now: float) -> None:
        name = self._names()
        parties = Party(request.sender), Party(request.recipient)
        for party, seen in zip(parties, _sightings(request), strict=True):
            party.sight(seen)
        session = Session(name, key.sid, parties, self.anchor(name, parties), self.policy, now)
        session.via = request.via
        if not _has_media(request):
            self._without_media[name] = request.sender.bare
        self._enter(key, session)
        session.initiate(request, now)
        self._settle(session, now)

    def _obstacle(self, request: Request, now: float) -> Obstacle | None:
        """Why this call is not relayed; None where it is."""
        if self.draining:
            refuse = self.policy.relay.draining is Fallback.REFUSE or self._hides(request)
            return Obstacle(Kind.DRAIN, "relay.draining", NO_CAPACITY if refuse else None)
        local = self.policy.domains
        if request.via:
            local |= self.policy.guests
        if not {request.sender.domain, request.recipient.domain} & local:
            return Obstacle(Kind.NOT_LOCAL, "xmpp.domains", NOT_LOCAL)
        try:
            self.budgets.demand_offer(request)
        except BudgetExceeded as error:
            return obstacle_of(error)
        if not _has_media(request):
            return self.limits.block(request.sender, request.recipient)
        return self.limits.refusal(self.policy.limits, request.sender, request.recipient, now)

    def _channel_refusal(self, request: ChannelRequest, now: float) -> StanzaError | None:
        if self._quota is None or request.requester.domain not in self.policy.domains:
            return NOT_A_USER
        return NO_CAPACITY if self.draining else self._quota.refusal(request.requester, now)

    def _pass_on(self, request: Request, now: float) -> None:
        jingle = request.jingle
        found = self._find(request.sender, request.recipient, jingle.sid, jingle.action)
        if found is None:
            self._follow_alias(request)
            found = self._find(request.sender, request.recipient, jingle.sid, jingle.action)
        if found is None:
            self._revenant(request)
            return
        leg, session = found
        try:
            self.budgets.demand_turn(session.turns[leg], session.name, request, now)
        except BudgetExceeded as error:
            session.anchor.note_exceeded(error)
            self._effects.append(Bounce(request.token, error.answer))
        else:
            for seen, each in zip(_sightings(request), (leg, leg.other), strict=True):
                session.sighted(each, seen)
            session.receive(leg, request, now)
            self._settle(session, now)

    def _revenant(self, request: Request) -> None:
        """A request for a session that has ended a moment ago, or that never was ours.

        Its receiver judges it. What comes too late still tells nothing that was to be hidden.
        """
        pair, sid = (request.sender, request.recipient), request.jingle.sid
        ended = any(str(Key(a, b, sid)) in self._tombstones for a, b in (pair, pair[::-1]))
        if ended or not request.jingle.is_whole:
            self._go_on(request)
        else:
            self._effects.append(Pass(request.token))

    def _go_on(self, request: Request) -> None:
        """Let a request go on that is of no session here, without what is to be hidden."""
        jids, policy = (request.sender, request.recipient), self.policy
        try:
            demand_whole(policy, jids, request.jingle)
        except Unhidden as error:
            self._refuse(request, obstacle_of(error))
            return
        own = hidden(policy, jids, request.jingle, (), self._drawn)
        answer = Replace(request.token, {}, own) if own else Pass(request.token)
        self._effects.append(answer)

    def _hides(self, request: Request) -> bool:
        """Whether an offer would tell what is to be hidden if it went on as it came."""
        jids, jingle = (request.sender, request.recipient), request.jingle
        if not jingle.is_whole and is_hiding(self.policy, jids):
            return True
        return bool(hidden(self.policy, jids, jingle, (), self._drawn))

    def _make_room(self, now: float) -> None:
        """Where few ports are left, or few may ring, give up the offers that have rung longest.

        Few at a time: their ports are free only after their quarantine.
        """
        if self.policy.limits.half_open == 0 and not self.pool.is_scarce(SCARCE):
            return
        for name in list(islice(self._ringing, GIVEN_UP)):
            session = self.find(name)
            if session is not None and session.is_overdue(now):
                session.give_up()
                self._settle(session, now)

    def _find(
        self, sender: JID, recipient: JID, sid: str, action: Action | None = None
    ) -> tuple[Leg, Session] | None:
        """The session of a request, and the sender's leg in it.

        Both parties may have called each other with the same sid. The session that goes on is meant
        then, before one that has ended and is still waited for; of two that in which the action is
        legal; the sender's own where it is legal in both. A request without a sid means the only
        session of the two; one of a pair that we do not know may be another name of one.
        """
        mine = self._sessions.get(Key(sender, recipient, sid))
        theirs = self._sessions.get(Key(recipient, sender, sid))
        both = ((Leg.INITIATOR, mine), (Leg.RESPONDER, theirs))
        found = min(
            ((leg, session) for leg, session in both if session is not None),
            key=lambda found: (found[1].has_ended, not found[1].allows(action, found[0])),
            default=None,
        )
        if found is not None:
            return found
        return self._alone(sender, recipient) if not sid else self._alias(sender, recipient, sid)

    def _alone(self, sender: JID, recipient: JID) -> tuple[Leg, Session] | None:
        """The only session of these two, where there is just one."""
        names = self._of_party.get(sender, set()) & self._of_party.get(recipient, set())
        sessions = [s for name in names if (s := self.find(name)) is not None and not s.has_ended]
        return (_leg_of(sessions[0], sender), sessions[0]) if len(sessions) == 1 else None

    def _alias(self, sender: JID, recipient: JID, sid: str) -> tuple[Leg, Session] | None:
        """The session that this pair has under other names (see `aliases.py`)."""
        name, leg = self._aliases.get(Key(sender, recipient, sid), ("", Leg.INITIATOR))
        session = self.find(name)
        return None if session is None else (leg, session)

    def _follow_alias(self, request: Request) -> None:
        """Where an offer is answered by another pair of names, know them from now on."""
        jingle = request.jingle
        if jingle.action is not Action.SESSION_ACCEPT or not jingle.sid:
            return
        sender, recipient, users = request.sender, request.recipient, self.policy.domains
        named = (self.find(name) for name in self._of_sid.get(jingle.sid, ()))
        offers = [
            s
            for s in named
            if s is not None and is_answer_to(s.jids, s.state, sender, recipient, users)
        ]
        if len(offers) == 1:
            (session,) = offers
            session.alias = (sender, recipient)
            self._know_alias(session)

    def _know_alias(self, session: Session) -> None:
        if session.alias is not None:
            answerer, caller = session.alias
            self._aliases[Key(answerer, caller, session.sid)] = (session.name, Leg.RESPONDER)
            self._aliases[Key(caller, answerer, session.sid)] = (session.name, Leg.INITIATOR)

    def _pinhole(self, name: BindingName) -> tuple[Session, Allocation, int] | None:
        session = self.find(name.partition(".")[0])
        if session is None:
            return None
        for allocation in session.negotiation.allocations:
            for component in COMPONENTS:
                if allocation.binding(component) == name:
                    return session, allocation, component
        return None

    def _is_ours(self, request: Request) -> bool:
        """Whether the offer is one of media, or may become one: such sessions are followed.

        One that begins with a data channel may get media later (XEP-0343).
        """
        if _has_media(request):
            return True
        jids = request.sender, request.recipient
        may_become = any(isinstance(c.transport, Ice) for c in request.jingle.contents)
        ours = {jid.domain for jid in jids} & self.policy.domains
        return bool(ours) and not self.draining and may_become

    def _sessions_of(self, jid: JID) -> list[Session]:
        found = (self.find(name) for name in sorted(self._of_party.get(jid, ())))
        return [session for session in found if session is not None]

    def _enter(self, key: Key, session: Session) -> None:
        self._sessions[key] = session
        self._tombstones.pop(str(key), None)
        self._keys[session.name] = key
        self._of_sid.setdefault(key.sid, set()).add(session.name)
        if session.state is State.PENDING:
            self._ringing[session.name] = None
        self._know_alias(session)
        for party in session.parties:
            self._of_party.setdefault(party.jid, set()).add(session.name)
        if not isinstance(session, Channel):
            self.limits.opened(session.name, key.initiator)
        elif self._quota is not None:
            self._quota.opened(key.initiator)

    def _settle(self, session: Session, now: float, changed: bool = True) -> None:
        """After each input: forget a session that is over, else write it down and set its timer.

        What the plane tells of who is heard changes little, and it tells that again when it is met.
        """
        if changed:
            session.remember()
        if session.state is not State.PENDING:
            self._ringing.pop(session.name, None)
            self.limits.answered(session.name)
        if session.is_over:
            self._leave(session, now)
        elif session.state is not State.ENDED:
            at = session.wake_at
            if session.timer_at is None or at < session.timer_at:
                session.timer_at = at
                heapq.heappush(self._timers, (at, session.name))

    def _leave(self, session: Session, now: float) -> None:
        key = self._keys.pop(session.name)
        del self._sessions[key]
        self._ringing.pop(session.name, None)
        self._without_media.pop(session.name, None)
        self._of_sid[key.sid].discard(session.name)
        if not self._of_sid[key.sid]:
            del self._of_sid[key.sid]
        if session.alias is not None:
            one, other = session.alias
            self._aliases.pop(Key(one, other, key.sid), None)
            self._aliases.pop(Key(other, one, key.sid), None)
        if not isinstance(session, Channel):
            self.limits.closed(key.initiator)
        elif self._quota is not None:
            self._quota.closed(key.initiator)
        for party in session.parties:
            names = self._of_party.get(party.jid, set())
            names.discard(session.name)
            if not names:
                self._of_party.pop(party.jid, None)
        if not session.is_unrelayed:
            self._tombstones[str(key)] = now + TOMBSTONE_S
            self._bury(now)
        if len(self._timers) > SPARE_TIMERS + 2 * len(self._sessions):
            self._forget_timers()

    def _forget_timers(self) -> None:
        """Drop the timers of calls that are over: that of a call with media is a day ahead."""
        live = self._sessions.values()
        self._timers = [(s.timer_at, s.name) for s in live if s.timer_at is not None]
        heapq.heapify(self._timers)

    def _bury(self, now: float) -> None:
        while self._tombstones:
            key, until = next(iter(self._tombstones.items()))
            if until > now and len(self._tombstones) <= TOMBSTONES:
                break
            del self._tombstones[key]


def _has_media(request: Request) -> bool:
    """Whether an offer is a call, for which limits of calls are."""
    contents = request.jingle.contents
    return any(c.media is not None or isinstance(c.transport, RawUdp) for c in contents)


def _leg_of(session: Session, jid: JID) -> Leg:
    return Leg.INITIATOR if session.parties[Leg.INITIATOR].jid == jid else Leg.RESPONDER


def _sightings(request: Request) -> tuple[tuple[Sighting, ...], tuple[Sighting, ...]]:
    """What a request tells of where its sender and its recipient are."""
    return (
        sightings(request.sender_ip, request.sender_seen),
        sightings(request.recipient_ip, request.recipient_seen),
    )
