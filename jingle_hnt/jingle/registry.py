"""All Jingle sessions of the relay, and the only way to change them.

A request of two parties without a session here passes unchanged; its receiver answers it like any
unknown session. Inputs of the parties come in here. Inputs of planes and of time go to
`call.Calls`, whose effects the driver carries out after every input.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from jingle_hnt.call.call import Call
from jingle_hnt.call.calls import Calls
from jingle_hnt.call.endpoint import sightings
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import GateMode
from jingle_hnt.errors import BudgetExceeded, StanzaError, Unhidden
from jingle_hnt.jingle.budgets import Budgets
from jingle_hnt.jingle.channel import NOT_A_USER, PEER, Channel, Quota, policy_of_channels
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
    Ring,
    Withdrawn,
)
from jingle_hnt.jingle.hiding import demand_whole, hidden, is_hiding
from jingle_hnt.jingle.limits import Limits
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.policy import Fallback, SessionPolicy
from jingle_hnt.jingle.refusals import (
    NO_CAPACITY,
    NO_SUCH_USER,
    NOT_LOCAL,
    Kind,
    Obstacle,
    obstacle_of,
)
from jingle_hnt.jingle.rules import CallVerdict, Pair
from jingle_hnt.jingle.sessions import Key, Sessions, leg_of
from jingle_hnt.jingle.table import State
from jingle_hnt.model.content import Ice
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action

SCARCE = 8
"""Ports are scarce where less than this part of them is free."""

GIVEN_UP = 2
"""Offers that are given up for each new one, while ports are scarce."""

FOLLOWED, FOLLOWED_OF_USER = 1000, 20
"""Sessions that began without media and are followed, since they may get some: in all, and of one
user. No limit of calls is for them; those beyond pass, and are not followed."""


class Registry:
    """See the module's text."""

    def __init__(self, policy: SessionPolicy, calls: Calls) -> None:
        self.policy = policy
        self.calls = calls
        self.draining = False
        self.limits = Limits()
        self._sessions = Sessions()
        self._ringing: OrderedDict[str, None] = OrderedDict()  # by age
        self._without_media: dict[str, JID] = {}  # who offered it
        self._effects = calls.out
        local = policy.domains | policy.guests
        self.budgets = Budgets(policy.budgets, calls.planes, local, calls.out)
        self._quota = None if policy.relay_nodes is None else Quota(policy.relay_nodes)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def find(self, name: str) -> Session | None:
        """Return the session of this name."""
        return self._sessions.named(name)

    def between(self, initiator: JID, responder: JID, sid: str) -> Session | None:
        """The session of these two under this sid, whoever of them has begun it."""
        found = self._sessions.find(initiator, responder, sid)
        return None if found is None else found[1]

    # Inputs: the parties

    def receive(self, request: Request, now: float) -> None:
        """Take an intercepted request of one party to another."""
        if request.jingle.action is not Action.SESSION_INITIATE:
            self._pass_on(request, now)
            return
        key = Key(request.sender, request.recipient, request.jingle.sid)
        session = self._sessions.by_key.get(key)
        if session is not None:
            session.receive(Leg.INITIATOR, request, now)
            self.calls.settle(session, now)
            return
        calls = self.policy.calls
        if calls.rules or calls.strangers is not CallVerdict.ALLOW:
            ruled_out = self._ruled_out(request)
            if ruled_out is not None:
                self._refuse(request, ruled_out)
                return
        has_media = _has_media(request)
        if not has_media and not self._may_get_media(request):
            self._go_on(request)
            return
        self._make_room(now)
        obstacle = self._obstacle(request, has_media, now)
        if obstacle is None:
            self._begin(key, request, has_media, now)
        else:
            self._refuse(request, obstacle)

    def receive_apart(self, request: Request, now: float) -> None:
        """A request between parties whose calls follow a policy apart (`SessionPolicy.apart`)."""
        usual = self.policy
        self.follow(usual.of_party(request.sender))
        try:
            self.receive(request, now)
        finally:
            self.follow(usual)

    def late(self, request: Request, now: float) -> None:
        """Let a request that has waited too long go on unchanged, before its server gives up.

        It is refused if addresses are to be hidden.
        """
        ruled_out = self._ruled_out(request)
        if ruled_out is not None:
            self._refuse(request, ruled_out)
        elif self._has_to_hide and request.jingle.action is not Action.SESSION_TERMINATE:
            self._refuse(request, Obstacle(Kind.LATE, "", NO_CAPACITY))
        else:
            self._refuse(request, Obstacle(Kind.LATE))

    def crowded(self, request: Request) -> None:
        """Refuse a request that finds the line of its user full."""
        self._refuse(request, obstacle_of(self.budgets.too_many_wait(request.sender)))

    def rang(self, ring: Ring, now: float) -> None:
        """A message that makes a phone ring: rules, blocks, limits and a drain speak before it."""
        obstacle = self._ring_obstacle(ring, now)
        if obstacle is None or obstacle.error is None:
            self._effects.append(Pass(ring.token))
        else:
            self._effects.append(Bounce(ring.token, obstacle.error))
            self._note(ring.caller, ring.callee, ring.sid, obstacle)

    @property
    def _has_to_hide(self) -> bool:
        """Return whether no request may go on unchanged, because addresses are to be hidden."""
        return self.policy.terminates or self.policy.gate.policy is GateMode.TWO_STAGE

    def refused(self, refusal: Refusal, now: float) -> None:
        """Undo a request that was answered by an error."""
        found = self._sessions.find(refusal.sender, refusal.recipient, refusal.sid)
        if found is not None:
            leg, session = found
            session.refused(leg, refusal)
            self.calls.settle(session, now)

    def moved(self, moved: Moved, now: float) -> None:
        """Follow a party whose XMPP connection comes from another address."""
        for session in self._sessions.of_party(moved.jid):
            session.moved(leg_of(session, moved.jid), moved.sightings)
            self.calls.settle(session, now)

    def gone(self, gone: Gone, now: float) -> None:
        """Record that a party has left the server. Its media goes on (XEP-0166 section 6.8)."""
        for session in self._sessions.of_party(gone.jid):
            session.gone(leg_of(session, gone.jid))
            self.calls.settle(session, now)

    def channel(self, request: ChannelRequest, now: float) -> None:
        """Open a relay channel that a user asks for (XEP-0278)."""
        refusal = self._channel_refusal(request, now)
        if refusal is not None:
            self._effects.append(Bounce(request.token, refusal))
            return
        name = self.calls.names()
        parties = (Party(request.requester, request.ip), Party(PEER))
        policy = policy_of_channels(self.policy)
        channel = Channel(name, parties, self.open(name, parties, policy, now), policy, now)
        self._enter(Key(request.requester, PEER, name), channel)
        channel.open(request, now)
        self.calls.settle(channel, now)

    def withdrawn(self, withdrawn: Withdrawn, now: float) -> None:
        """End the call of a party's message. A sid that it uses for two calls names neither."""
        named = [s for s in self._sessions.of_party(withdrawn.jid) if s.sid == withdrawn.sid]
        if len(named) == 1:
            (session,) = named
            session.withdrawn(leg_of(session, withdrawn.jid), withdrawn.retract)
            self.calls.settle(session, now)

    def passed(self, passed: Passed, now: float) -> None:
        """Follow a request that went on unseen. An offer among them makes no session."""
        found = self._sessions.find(passed.sender, passed.recipient, passed.sid, passed.action)
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
        self.calls.settle(session, now)

    def expired(self, request: Request, now: float) -> None:
        """Follow a request that went on before its answer came."""
        found = self._sessions.find(request.sender, request.recipient, request.jingle.sid)
        if found is not None:
            leg, session = found
            session.expired(leg, request)
            self.calls.settle(session, now)

    def learn(self, request: Request, now: float) -> None:
        """Follow a request that went on unchanged. An offer makes no session."""
        jingle = request.jingle
        if jingle.action is not None and jingle.is_whole and not self._has_to_hide:
            sender, recipient = request.sender, request.recipient
            told = Passed(sender, recipient, jingle.sid, jingle.action, jingle, id=request.id)
            self.passed(told, now)

    # Inputs: the operator

    def terminate(self, name: str, now: float) -> bool:
        """End a call on an administrator's word; False where there is none of this name."""
        session = self.find(name)
        if session is None:
            return False
        session.terminate(Why.ADMINISTRATOR)
        self.calls.settle(session, now)
        return True

    def restore(self, session: Session, now: float) -> None:
        """Restore a session from the journal."""
        initiator, responder = session.parties
        self._enter(Key(initiator.jid, responder.jid, session.sid), session)
        session.anchor.charge(session.negotiation.allocations)
        self.calls.settle(session, now, changed=False)

    def follow(self, policy: SessionPolicy) -> None:
        """Put a policy in force for new calls. Live calls keep theirs."""
        self.policy = policy
        self.budgets.policy, self.budgets.local = policy.budgets, policy.domains | policy.guests
        if self._quota is not None and policy.relay_nodes is not None:
            self._quota.policy = policy.relay_nodes

    def open(
        self, name: str, parties: tuple[Party, Party], policy: SessionPolicy, now: float
    ) -> Call:
        """Return a new call for a session between these parties."""
        initiator, responder = parties
        held = policy.of_call((initiator.jid, responder.jid))
        return self.calls.open(name, parties, held, self.budgets, now)

    # The parts of it

    def _may_get_media(self, request: Request) -> bool:
        """Return whether to follow a session without media: it may get some later (XEP-0343).

        There is a limit to the number of such sessions.
        """
        jids = request.sender, request.recipient
        may_become = any(isinstance(c.transport, Ice) for c in request.jingle.contents)
        ours = {jid.domain for jid in jids} & self.policy.domains
        if not ours or self.draining or not may_become:
            return False
        of_user = self._without_media.values()
        mine = sum(user == request.sender.bare for user in of_user)
        return mine < FOLLOWED_OF_USER and len(of_user) < FOLLOWED

    def _refuse(self, request: Request, obstacle: Obstacle) -> None:
        """Answer a request by its obstacle's error, or let it go on; report a refused offer."""
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

    def _begin(self, key: Key, request: Request, has_media: bool, now: float) -> None:
        name = self.calls.names()
        parties = Party(request.sender), Party(request.recipient)
        parties[Leg.INITIATOR].sight(sightings(request.sender_ip, request.sender_seen))
        parties[Leg.RESPONDER].sight(sightings(request.recipient_ip, request.recipient_seen))
        session = Session(
            key.sid, parties, self.open(name, parties, self.policy, now), self.policy, now
        )
        session.via = request.via
        if not has_media:
            self._without_media[name] = request.sender.bare
        self._enter(key, session)
        session.initiate(request, now)
        self.calls.settle(session, now)

    def _obstacle(self, request: Request, has_media: bool, now: float) -> Obstacle | None:
        """Return why this call is not relayed; None if it is."""
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
        if not has_media:
            return self.limits.block(request.sender, request.recipient)
        caller, callee, sid = request.sender, request.recipient, request.jingle.sid
        return self.limits.refusal(self.policy.limits, caller, callee, now, sid)

    def _ring_obstacle(self, ring: Ring, now: float) -> Obstacle | None:
        """Why a phone may not be made to ring; None where it may."""
        caller, callee, policy = ring.caller, ring.callee, self.policy
        if not {caller.domain, callee.domain} & policy.domains or caller.bare == callee.bare:
            return None
        ruled_out = self._of_rules(Pair(caller, callee, ring.contact))
        if ruled_out is not None:
            return ruled_out
        if self.draining:
            refuse = policy.relay.draining is Fallback.REFUSE
            return Obstacle(Kind.DRAIN, "relay.draining", NO_CAPACITY if refuse else None)
        return self.limits.refusal(policy.limits, caller, callee, now, ring.sid, rings=True)

    def _ruled_out(self, request: Request) -> Obstacle | None:
        """The rule by which this offer may not be made, whatever it is of."""
        if request.jingle.action is not Action.SESSION_INITIATE:
            return None
        return self._of_rules(Pair(request.sender, request.recipient, request.contact))

    def _of_rules(self, pair: Pair) -> Obstacle | None:
        ruling = self.policy.calls.ruling(pair, self.policy.domains)
        if ruling.verdict is not CallVerdict.REFUSE:
            return None
        return Obstacle(Kind.RULE, ruling.by, NO_SUCH_USER)

    def _channel_refusal(self, request: ChannelRequest, now: float) -> StanzaError | None:
        if self._quota is None or request.requester.domain not in self.policy.domains:
            return NOT_A_USER
        return NO_CAPACITY if self.draining else self._quota.refusal(request.requester, now)

    def _pass_on(self, request: Request, now: float) -> None:
        jingle = request.jingle
        found = self._sessions.find(request.sender, request.recipient, jingle.sid, jingle.action)
        if found is None:
            self._sessions.follow_alias(request, self.policy.domains)
            found = self._sessions.find(
                request.sender, request.recipient, jingle.sid, jingle.action
            )
        if found is None:
            self._go_on_outside(request, now)
            return
        leg, session = found
        try:
            self.budgets.demand_turn(session.turns[leg], session.name, request, now)
        except BudgetExceeded as error:
            session.anchor.note_exceeded(error)
            self._effects.append(Bounce(request.token, error.answer))
        else:
            session.sighted(leg, sightings(request.sender_ip, request.sender_seen))
            session.sighted(leg.other, sightings(request.recipient_ip, request.recipient_seen))
            session.receive(leg, request, now)
            self.calls.settle(session, now)

    def _go_on_outside(self, request: Request, now: float) -> None:
        """Let a request of no live session go on.

        Its receiver answers it. Addresses of a session that has just ended stay hidden.
        """
        pair, sid = (request.sender, request.recipient), request.jingle.sid
        ended = self._sessions.has_ended(*pair, sid, now)
        if ended or not request.jingle.is_whole:
            self._go_on(request)
        else:
            self._effects.append(Pass(request.token))

    def _go_on(self, request: Request) -> None:
        """Let a request of no session here go on, without addresses that are to be hidden."""
        jids, policy = (request.sender, request.recipient), self.policy
        try:
            demand_whole(policy, jids, request.jingle)
        except Unhidden as error:
            self._refuse(request, obstacle_of(error))
            return
        own = hidden(policy, jids, request.jingle, (), self.calls.drawn)
        answer = Replace(request.token, {}, own) if own else Pass(request.token)
        self._effects.append(answer)

    def _hides(self, request: Request) -> bool:
        """Return whether an offer would tell what is to be hidden if it went on as it came."""
        jids, jingle = (request.sender, request.recipient), request.jingle
        if not jingle.is_whole and is_hiding(self.policy, jids):
            return True
        return bool(hidden(self.policy, jids, jingle, (), self.calls.drawn))

    def _make_room(self, now: float) -> None:
        """Give up the offers that ring longest if few ports or unanswered calls are left.

        Few at a time: their ports are free only after their quarantine.
        """
        if self.policy.limits.half_open == 0 and not self.calls.planes.is_scarce(SCARCE):
            return
        for name in list(islice(self._ringing, GIVEN_UP)):
            session = self.find(name)
            if session is not None and session.is_overdue(now):
                session.give_up()
                self.calls.settle(session, now)

    def _enter(self, key: Key, session: Session) -> None:
        self._sessions.add(key, session)
        session.when_settled = self._settled
        self.calls.enter(session)
        if session.state is State.PENDING:
            self._ringing[session.name] = None
        if not isinstance(session, Channel):
            self.limits.opened(session.name, key.initiator)
        elif self._quota is not None:
            self._quota.opened(key.initiator)

    def _settled(self, session: Session, now: float) -> None:
        """An input to a session is complete."""
        if session.state is not State.PENDING:
            self._ringing.pop(session.name, None)
            self.limits.answered(session.name)
        if not session.is_over:
            return
        key = self._sessions.remove(session, now)
        self._ringing.pop(session.name, None)
        self._without_media.pop(session.name, None)
        if not isinstance(session, Channel):
            self.limits.closed(key.initiator)
        elif self._quota is not None:
            self._quota.closed(key.initiator)


def _has_media(request: Request) -> bool:
    """Return whether an offer is a call, for which limits of calls are."""
    return any(c.media is not None or c.plain is not None for c in request.jingle.contents)
