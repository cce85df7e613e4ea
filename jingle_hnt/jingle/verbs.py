"""Carries out the verbs of the table on the contents of a session's call."""

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.negotiation import Negotiation
from jingle_hnt.call.reply import Reply
from jingle_hnt.jingle.effects import Request
from jingle_hnt.jingle.table import Verb
from jingle_hnt.model.jingle import Info


def perform(own: Negotiation, verb: Verb, leg: Leg, request: Request, now: float) -> Reply:
    """Carry out a legal request of this leg. Raises the errors of the negotiation."""
    contents, info = request.jingle.contents, request.jingle.info
    match verb:
        case Verb.ACCEPT:
            return own.accept(leg, contents, now)
        case Verb.ADD:
            return own.add(leg, contents, request.id, now)
        case Verb.CANDIDATES:
            return own.trickle(leg, contents, now)
        case Verb.REPLACE:
            return own.replace(leg, contents, request.id, now)
        case Verb.REPLACE_ACCEPT:
            return own.replaced(leg, contents, now)
        case Verb.REPLACE_REJECT:
            own.keep(leg, contents)
        case Verb.INFORM if info is Info.HOLD:
            own.hold(leg)
        case Verb.INFORM if info in (Info.ACTIVE, Info.UNHOLD):
            own.resume(leg)
        case Verb.REJECT:
            own.reject(leg, contents, now)
        case Verb.MODIFY:
            own.modify(contents)
        case Verb.REMOVE:
            own.remove(contents, now)
    return Reply()
