"""One Jingle session between two parties, with the relay between them.

Every request of a party comes through `receive`. `call.Calls` reports what plane and time do to its
media (`on_bound` and so on). Effects are appended to a list. `table.py` says which requests are
legal, `call/negotiation.py` what they do.

Stanzas leave in the order in which they came: an answer that is ready waits behind one that still
waits for the plane.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from jingle_hnt.call.allocation import Allocation
from jingle_hnt.call.call import Call
from jingle_hnt.call.effects import Effect, FrontEffect, Remember
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import GateMode
from jingle_hnt.call.reply import Reply, Rewrite
from jingle_hnt.errors import (
    BudgetExceeded,
    JingleError,
    NoPorts,
    StanzaError,
    Unhidden,
    UnprovenParty,
)
from jingle_hnt.jingle.budgets import Allowance
from jingle_hnt.jingle.effects import Answer, Inject, Refusal, Request
from jingle_hnt.jingle.held import Held
from jingle_hnt.jingle.hiding import demand_whole, hidden, is_hiding
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.policy import Fallback, SessionPolicy
from jingle_hnt.jingle.refusals import NO_CAPACITY, NO_PLANE, Kind, Obstacle, obstacle_of
from jingle_hnt.jingle.table import State, Transition, transition
from jingle_hnt.jingle.verbs import perform
from jingle_hnt.model.content import ContentKey
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason, ReasonCondition
from jingle_hnt.relay.evidence import Sighting

TOLD = {
    Why.NO_MEDIA: (ReasonCondition.TIMEOUT, "no media of either party reached the relay"),
    Why.SILENCE: (ReasonCondition.TIMEOUT, "the media of both parties fell silent"),
    Why.HOLD_TIMEOUT: (ReasonCondition.EXPIRED, "the call was on hold for too long"),
    Why.CALL_TIMEOUT: (ReasonCondition.EXPIRED, "the call reached its longest duration"),
    Why.UNPROVEN: (ReasonCondition.FAILED_TRANSPORT, "it is not known where media will come from"),
    Why.ADMINISTRATOR: (ReasonCondition.GONE, "an administrator ended the call"),
    Why.PORTS_LOST: (ReasonCondition.FAILED_TRANSPORT, "the relay lost this call"),
}
"""What both parties are told when the end is ours (XEP-0166 section 7.4, XEP-0177 section 5.5)."""


class Session:
    """See the module's text. `name` is unique over restarts and begins the bindings' names."""

    def __init__(
        self,
        sid: str,
        parties: tuple[Party, Party],
        call: Call,
        policy: SessionPolicy,
        now: float,
    ) -> None:
        self.name = call.name
        self.sid = sid
        self.parties = parties
        self.jids = parties[Leg.INITIATOR].jid, parties[Leg.RESPONDER].jid
        self.state = State.PENDING
        self.call = call
        self.anchor, self.negotiation, self.life = call.anchor, call.negotiation, call.life
        self.when_settled: Callable[[Session, float], None] = lambda session, now: None
        self.is_unrelayed = False
        self.via = ""
        self._offer_id = self._accept_id = ""
        self.alias: tuple[JID, JID] | None = None
        self.turns = (Allowance(at=now), Allowance(at=now))
        self._policy = policy
        self._out = call.anchor.out
        self._held: deque[Held] = deque()
        self._obstacle: Obstacle | None = None

    @property
    def exceeded(self) -> Counter[str]:
        """Return how often it exceeded each budget, by the budget's name."""
        return self.anchor.exceeded

    @property
    def has_ended(self) -> bool:
        """Return whether no request changes it any more."""
        return self.state is State.ENDED

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to answer or to wait for."""
        return self.has_ended and not self._held and not self.anchor.is_waiting

    @property
    def wake_at(self) -> float | None:
        """Return the time of the next deadline or timer."""
        return None if self.has_ended else self.call.wake_at

    def allows(self, action: Action | None, leg: Leg) -> bool:
        """Return whether this party may send this action now; any party may where none is named."""
        return action is None or transition(self.state, action, leg) is not None

    # What the parties do

    def initiate(self, request: Request, now: float) -> None:
        """Take the offer that makes the session."""
        held = self._hold(Leg.INITIATOR, request)
        self._offer_id = request.id
        held.is_offer = True
        try:
            demand_whole(self._policy, self.jids, request.jingle)
            held.reply = self.negotiation.propose(Leg.INITIATOR, request.jingle.contents, now)
        except NoPorts as error:
            self._obstacle = obstacle_of(error)
            self._cannot_relay(held, self._no_capacity(error))
        except JingleError as error:
            self.anchor.note_exceeded(error)
            held.error = error.answer
            self._obstacle = obstacle_of(error)
            self._end(Why.REFUSED)
        self._hide_rest(held, request.jingle)
        self._go_on(held)

    def receive(self, leg: Leg, request: Request, now: float) -> None:
        """Take a request of one party. Its answer waits until the plane has the ports in it."""
        held = self._hold(leg, request)
        legal = transition(self.state, held.action, leg)
        try:
            demand_whole(self._policy, self.jids, request.jingle)
        except Unhidden as error:
            held.error = error.answer
        else:
            # What is out of order, or of an extension, its receiver will judge.
            if legal is not None:
                self._perform(legal, held, request, now)
            self._hide_rest(held, request.jingle)
        self._go_on(held)

    def passed(self, leg: Leg, request: Request, now: float) -> None:
        """Follow a request that has passed unchanged. A transport-info of our own tells the relay's
        candidates."""
        legal = transition(self.state, request.jingle.action, leg)
        if legal is not None and not self.has_ended:
            held = self._hold(leg, request)
            held.passed = request.jingle
            self._perform(legal, held, request, now)
            if held.error is None:
                self.negotiation.passed(held.reply, leg, request.jingle.contents)
            if held.action is not Action.TRANSPORT_INFO:  # which may come for each candidate
                ours = self._ours(leg, request.jingle)
                held.reply.rewrites = {**ours, **held.reply.rewrites}
            self._go_on(held)

    def expired(self, leg: Leg, request: Request) -> None:
        """Follow a request that went on before its answer. A transport-info of our own tells the
        candidates of that answer."""
        waiting = next((h for h in self._held if h.token == request.token), None)
        if waiting is not None:
            waiting.passed = request.jingle
        elif not self.has_ended:
            held = self._hold(leg, request)
            held.passed = request.jingle
            held.reply.rewrites = self._ours(leg, request.jingle)
            self._go_on(held)

    def _ours(self, leg: Leg, jingle: Jingle) -> dict[ContentKey, Rewrite]:
        """Return the relay's candidates in place of this leg's, for contents relayed already."""
        if jingle.action is Action.TRANSPORT_REPLACE:  # it offers another than the one in use
            return {}
        return self.negotiation.ours(leg, jingle.contents)

    def refused(self, leg: Leg, refusal: Refusal) -> None:
        """Undo this leg's request: the other party answered it with an error."""
        match refusal.action:
            case _ if self.has_ended:
                pass
            case Action.SESSION_INITIATE | Action.SESSION_ACCEPT:
                if self._is_turned_down(leg, refusal):
                    self._end(Why.REFUSED)
            case _ if refusal.unknown_session:
                self._end(Why.UNKNOWN_SESSION)
            case Action.CONTENT_ADD:
                self.negotiation.forget_added(leg, refusal.id)
            case Action.TRANSPORT_REPLACE:
                self.negotiation.forget_replaced(leg, refusal.id)

    def _is_turned_down(self, leg: Leg, refusal: Refusal) -> bool:
        """Return whether the offer or its answer is refused.

        The recipient may refuse a repeated one as out of order; then the call goes on.
        """
        if refusal.action is Action.SESSION_INITIATE:
            due, said = self.state is State.PENDING and leg is Leg.INITIATOR, self._offer_id
        else:
            due, said = self.state is State.ACTIVE and leg is Leg.RESPONDER, self._accept_id
        return due and (not said or not refusal.id or refusal.id == said)

    def moved(self, leg: Leg, sightings: Iterable[Sighting]) -> None:
        """Follow a party whose server has seen it elsewhere: its media may come from there, too."""
        self.parties[leg].gone = False
        self.sighted(leg, sightings)

    def sighted(self, leg: Leg, sightings: Iterable[Sighting]) -> None:
        """Record the addresses that servers report of this party."""
        if not self.has_ended and self.parties[leg].sight(sightings):
            self.negotiation.rearm(leg)

    def withdrawn(self, leg: Leg, retract: bool) -> None:
        """End the call, as this leg says in a message (XEP-0353 sections 3.3 and 3.7).

        Only the caller can retract, and only an offer.
        """
        if not retract or (leg is Leg.INITIATOR and self.state is State.PENDING):
            self._end(Why.TERMINATED)

    def gone(self, leg: Leg) -> None:
        """Record that the party has left the server."""
        self.parties[leg].gone = True
        self._lose_sight()

    @property
    def _does_without_us(self) -> bool:
        """Return whether none of its media goes through the relay, which then must not end it."""
        return self.state is State.ACTIVE and not self.negotiation.allocations

    def _lose_sight(self) -> None:
        """Forget a call without relayed media whose party has left the server."""
        if self._does_without_us and any(party.gone for party in self.parties):
            self._forget(Why.SILENCE)

    def _forget(self, why: Why) -> None:
        """Forget a call that may go on: nobody is told, and later requests pass."""
        self.is_unrelayed = True
        self._end(why)

    def terminate(self, why: Why) -> None:
        """End the session for both parties, in each other's name (XEP-0166 section 6.7)."""
        if self.has_ended:
            return
        reason = Reason(*TOLD[why])
        self._end(why, reason, self.farewells(reason))

    def farewells(self, reason: Reason) -> tuple[Inject, ...]:
        """Return the session-terminates for both parties when jingle-hnt ends the call."""
        jingle = Jingle(Action.SESSION_TERMINATE, self.sid, reason=reason)
        return tuple(
            Inject(self.parties[leg.other].jid, self.parties[leg].jid, jingle, self.via)
            for leg in Leg
        )

    def on_time(self, now: float) -> None:
        """End the session if its deadline has passed, and release what ICE agents do not use.

        ICE agents have found a direct path, or none; in neither case the relay ends the call. A
        phone may ring for as long as its user likes: an offer is given up early only if one of its
        parties has left the server, or if ports are scarce (`is_overdue`).
        """
        if self.call.pass_time(now):
            self._lose_sight()
        at, why = self.call.deadline
        if now < at:
            return
        # Only a call whose media goes through us is ours to end, and only once it was accepted.
        # Under other names than they call each other by we can tell the parties nothing.
        is_ours = self.state is State.ACTIVE and self.alias is None
        if is_ours and self.negotiation.allocations:
            self.terminate(why)
        else:
            self._forget(Why.SETUP_TIMEOUT if self.state is State.PENDING else why)

    def is_overdue(self, now: float) -> bool:
        """Return whether it is an offer that rings for longer than most people wait."""
        rang_s = now - self.life.started_at
        return self.state is State.PENDING and rang_s >= self._policy.times.setup_s

    def give_up(self) -> None:
        """Forget an offer because ports are scarce."""
        self._forget(Why.SETUP_TIMEOUT)

    # Events of the plane (see `call.calls.Owner`)

    def on_bound(self, number: int) -> None:
        """The plane has made the bindings of a `Bind`."""
        for held in self._held:
            if held.waits_for == number:
                held.waits_for = None
        self._flush()

    def on_unbound(self, number: int, lost: Sequence[Allocation], plane_is_gone: bool) -> None:
        """The plane could not make the bindings of a `Bind`: refuse the request that waits."""
        held = next((h for h in self._held if h.waits_for == number), None)
        if held is not None:
            held.waits_for = None
            kind, error = (Kind.PLANE, NO_PLANE) if plane_is_gone else (Kind.PORTS, NO_CAPACITY)
            self._undo(held, Obstacle(kind, "", error))
        elif not self.negotiation.appended.do_without(lost):
            self.terminate(Why.PORTS_LOST)
        self._take_back(lost)
        self._flush()

    def on_emptied(self) -> None:
        """Reconciliation shows that the call was over before."""
        self._forget(Why.TERMINATED)

    def on_settled(self, now: float) -> None:
        """An input is complete."""
        self.when_settled(self, now)

    def remember(self) -> None:
        """Have the session written to the journal, once an answer to its offer has left."""
        waits = any(held.is_offer for held in self._held)
        if not self.has_ended and not waits:
            self._out.append(Remember(self.name))

    # The parts of it

    def _hold(self, leg: Leg, request: Request) -> Held:
        held = Held(request.token, request.jingle.action, leg, Reply())
        self._held.append(held)
        return held

    def _perform(self, legal: Transition, held: Held, request: Request, now: float) -> None:
        try:
            held.reply = perform(self.negotiation, legal.verb, held.leg, request, now)
        except NoPorts as error:
            held.error = self._no_capacity(error)
        except JingleError as error:
            self.anchor.note_exceeded(error)
            held.error = error.answer
            if isinstance(error, UnprovenParty) and held.action is Action.SESSION_ACCEPT:
                self.terminate(Why.UNPROVEN)
        else:
            self._enter(legal.to, request, now)
            self.call.note_life(now)

    def _enter(self, state: State, request: Request, now: float) -> None:
        if state is self.state:
            return
        if state is State.ENDED:
            self._end(Why.TERMINATED, request.jingle.reason)
            return
        self._accept_id = request.id
        self.state = state
        self.life.accepted_at = now

    def _hide_rest(self, held: Held, jingle: Jingle) -> None:
        """Hide transports that were not rewritten."""
        if held.error is None and not self.is_unrelayed:
            jids, rewritten = self.jids, held.reply.rewrites
            policy, drawn = self._policy, self.anchor.drawn
            held.reply.hidden = hidden(policy, jids, jingle, rewritten, drawn)

    def _go_on(self, held: Held) -> None:
        if held.reply.allocations:
            held.waits_for = self.anchor.bind(held.reply.allocations)
        self._flush()

    def _flush(self) -> None:
        while self._held and self._held[0].waits_for is None:
            held = self._held.popleft()
            answer = self._answer(held) if held.passed is None else None
            self._out.extend(self._told_late(held) if answer is None else [answer])

    def _told_late(self, held: Held) -> list[Effect]:
        """Return a transport-info with candidates for a request that passed unchanged."""
        told = held.told_late(self.negotiation.media)
        if held.error is not None or self.has_ended or not told:
            return []
        sender, recipient = self.parties[held.leg].jid, self.parties[held.leg.other].jid
        jingle = Jingle(Action.TRANSPORT_INFO, self.sid, contents=tuple(told))
        return [Inject(sender, recipient, jingle, self.via)]

    def _answer(self, held: Held) -> Answer:
        return held.answer

    def _undo(self, held: Held, why: Obstacle) -> None:
        """Undo a proposal that cannot be kept, and answer its sender with an error."""
        if self.negotiation.appended.do_without(held.reply.allocations):
            held.reply.drop_rewrites()
            return
        contents, lost = list(held.reply.rewrites), held.reply.allocations
        held.reply = Reply()
        match held.action:
            case Action.SESSION_INITIATE:
                self._obstacle = why
                self._cannot_relay(held, why.error or NO_CAPACITY)
                return
            case Action.TRANSPORT_REPLACE:
                self.negotiation.forget_replacement(held.leg, contents)
            case Action.CONTENT_ADD:
                self.negotiation.forget(contents)
        self.negotiation.lose(lost)
        held.error = why.error

    def _take_back(self, lost: Collection[Allocation]) -> None:
        """Drop lost ports from the stanzas that waited behind: a party that is told such ports
        would send to the next call that has them."""
        hides = is_hiding(self._policy, self.jids) and not self.is_unrelayed
        for held in self._held:
            empty = held.reply.lose(lost)
            if hides:
                held.reply.hidden.update(empty)

    def _no_capacity(self, error: NoPorts) -> StanzaError:
        """Return the error for a want of ports, with the budget that caused it, if any."""
        self.anchor.note_exceeded(error)
        return error.answer if isinstance(error, BudgetExceeded) else NO_CAPACITY

    def _cannot_relay(self, held: Held, error: StanzaError) -> None:
        refuse = self._policy.relay.exhausted is Fallback.REFUSE
        if refuse or self._policy.gate.policy is GateMode.TWO_STAGE:
            held.error = error
        else:
            self.is_unrelayed = True
            if self._obstacle is not None:
                self._obstacle = replace(self._obstacle, error=None)
        self._end(Why.NO_CAPACITY)

    def _end(
        self, why: Why, reason: Reason | None = None, farewells: tuple[Inject, ...] = ()
    ) -> None:
        if self.has_ended:
            return
        self.state = State.ENDED
        self.call.release()
        self._out.append(Ended(self.name, why, reason, farewells, self, self._obstacle))


@dataclass(frozen=True, slots=True)
class Ended(FrontEffect):
    """A session is over; its bindings are being released. `account` is the session, to be read.

    Where the end is ours, `farewells` are to be sent to the parties, once it is known what was
    wrong: that is added to the text of their reason (XEP-0166 section 7.4). `obstacle` is what its
    offer met, where it never became a call.
    """

    session: str
    why: Why
    reason: Reason | None = None
    farewells: tuple[Inject, ...] = ()
    account: Session | None = field(default=None, compare=False, repr=False)
    obstacle: Obstacle | None = None
