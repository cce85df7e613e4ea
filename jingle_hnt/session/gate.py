"""What may flow of a content's media, decided from the state of the call (rules G1 to G6).

Deny by default (media-path-middleboxes section 4). RTCP stays open while RTP is held, and a nominal
trickle of STUN, DTLS and ZRTP passes between the offer and the accept (its REC 2), so that a
handshake need not wait and nobody can talk for free.
"""

from collections.abc import Set

from jingle_hnt.model.content import Senders
from jingle_hnt.relay.binding import Flow
from jingle_hnt.session.policy import EarlyMedia, GatePolicy, SessionPolicy
from jingle_hnt.session.table import Leg

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


def before_accept(policy: SessionPolicy) -> tuple[Flow, Flow]:
    """What flows between the offer of a content and its acceptance."""
    early = frozenset(Leg) if policy.gate is GatePolicy.OPEN else _EARLY[policy.early_media]
    return _flows(early, otherwise=Flow.NOMINAL)


def after_accept(senders: Senders, holders: Set[Leg]) -> tuple[Flow, Flow]:
    """What flows of an agreed content.

    A party that put the call on hold may go on sending (music); the other party's media is held
    until it is active again (XEP-0167 section 8).
    """
    sending = _SENDING[senders] - {holder.other for holder in holders}
    return _flows(sending, otherwise=Flow.HELD)


def _flows(sending: Set[Leg], otherwise: Flow) -> tuple[Flow, Flow]:
    initiator = Flow.OPEN if Leg.INITIATOR in sending else otherwise
    responder = Flow.OPEN if Leg.RESPONDER in sending else otherwise
    return (initiator, responder)
