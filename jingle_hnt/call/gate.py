"""The gate: which media of a content may flow, by the state of the call (rules G1 to G6).

Deny by default (media-path-middleboxes section 4). RTCP stays open while RTP is held, and a nominal
trickle of STUN, DTLS and ZRTP passes between the offer and the accept (its REC 2), so that a
handshake need not wait and nobody can talk for free.
"""

from collections.abc import Iterable, Mapping, Set

from jingle_hnt.call.anchor import Anchor
from jingle_hnt.call.consent import ends_at
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.policy import CallPolicy, EarlyMedia, GateMode
from jingle_hnt.model.content import COMPONENTS, ContentKey, Senders
from jingle_hnt.relay.binding import Flow

_SENDING = {
    Senders.BOTH: frozenset(Leg),
    Senders.INITIATOR: frozenset({Leg.INITIATOR}),
    Senders.RESPONDER: frozenset({Leg.RESPONDER}),
    Senders.NONE: frozenset[Leg](),
}

_EARLY = {
    EarlyMedia.DROP: frozenset[Leg](),
    EarlyMedia.RESPONDER: frozenset({Leg.RESPONDER}),
    EarlyMedia.BOTH: frozenset(Leg),
}


def before_accept(policy: CallPolicy) -> tuple[Flow, Flow]:
    """Return the flows between the offer of a content and its accept."""
    gate = policy.gate
    early = frozenset(Leg) if gate.policy is GateMode.OPEN else _EARLY[gate.early_media]
    initiator, responder = (Flow.OPEN if leg in early else Flow.NOMINAL for leg in Leg)
    return (initiator, responder)


def after_accept(senders: Senders, holders: Set[Leg]) -> tuple[Flow, Flow]:
    """Return the flows of an agreed content.

    A party that put the call on hold may go on sending (music), or be silent for long; the other
    party's media is held until it is active again (XEP-0167 section 8).
    """
    sending = _SENDING[senders] - {holder.other for holder in holders}
    initiator, responder = (
        (Flow.HOLDING if leg in holders else Flow.OPEN) if leg in sending else Flow.HELD
        for leg in Leg
    )
    return (initiator, responder)


def to_the_willing(
    flows: tuple[Flow, Flow], unwilling: Set[Leg], instead: Flow = Flow.CLOSED
) -> tuple[Flow, Flow]:
    """Return the flows without those to parties whose consent has ended."""
    initiator, responder = (
        instead if sender.other in unwilling else flow
        for sender, flow in zip(Leg, flows, strict=True)
    )
    return (initiator, responder)


class Gates:
    """The gates of all contents of a session, and what decides of them besides their senders.

    `holders` have put the call on hold, `unwilling` have not been heard for too long.
    """

    def __init__(
        self, media: Mapping[ContentKey, Medium], anchor: Anchor, policy: CallPolicy
    ) -> None:
        self.holders: set[Leg] = set()
        self.unwilling: set[Leg] = set()
        self._media = media
        self._anchor = anchor
        self._policy = policy

    @property
    def is_held(self) -> bool:
        """Return whether silence is legal: a party holds, or no content has a sender."""
        sending = any(m.senders is not Senders.NONE for m in self._media.values())
        return bool(self.holders) or not sending

    @property
    def consent_ends_at(self) -> float | None:
        """Return when the consent of the next party ends if the party is not heard before."""
        ends = [self._consent_ends_at(leg) for leg in set(Leg) - self.unwilling]
        return min((at for at in ends if at is not None), default=None)

    def apply_consent(self, now: float) -> bool:
        """Send nothing to a party that has not been heard for long; to who is heard again, all.

        To an ICE agent the other's checks still go: it may have moved (RFC 7675 section 5.1). Tells
        whether that is another party now than before.
        """
        before, ends = self.unwilling, {leg: self._consent_ends_at(leg) for leg in Leg}
        self.unwilling = {leg for leg, at in ends.items() if at is not None and at <= now}
        self.apply(self._media.values())
        return self.unwilling != before

    def apply(self, media: Iterable[Medium]) -> None:
        """Order the flows of these contents by the present state."""
        for medium in media:
            if medium.allocation is not None:
                self._anchor.latches.gate(medium.allocation, self._flows(medium))

    def _flows(self, medium: Medium) -> tuple[Flow, Flow]:
        """Return the flows of a content."""
        if medium.agreed and medium.kind.waits(medium):
            return (Flow.WAITING, Flow.WAITING)
        if medium.agreed and not any(map(medium.is_latched_by_media, Leg)):
            return to_the_willing(self._bundled(), self.unwilling, instead=Flow.NOMINAL)
        if medium.agreed:
            flows = after_accept(medium.senders, self.holders)
        else:
            flows = before_accept(self._policy)
        return to_the_willing(flows, self.unwilling)

    def _consent_ends_at(self, leg: Leg) -> float | None:
        allocations = [m.allocation for m in self._media.values() if m.allocation is not None]
        pinholes = [
            allocation.pinholes[component, leg]
            for allocation in allocations
            for component in COMPONENTS
        ]
        return ends_at(pinholes, self._policy.times.consent_s)

    def _bundled(self) -> tuple[Flow, Flow]:
        """Return the flows between ICE agents, where one path may carry all contents (RFC 8843)."""
        agreed = [m for m in self._media.values() if m.agreed and m.kind.has_agents]
        flows = [after_accept(m.senders, self.holders) for m in agreed]
        return max(first for first, _ in flows), max(second for _, second in flows)
