"""The transitions of one Jingle session, as a middlebox sees it (XEP-0166 section 6).

Theory. Two parties share a session; we stand between them and see every request before the other
party does. A session is PENDING from the offer on, ACTIVE from the accept on, and ENDED. Requests
are answered end to end, so a state is left when the *request* goes through us: the acknowledgement
adds nothing, and an error that comes back undoes what the request did (`Session.refused`).

Three kinds of requests steer us. Those that carry transports (initiate, accept, the content-* and
transport-* families) are given our candidates in place of their own. Those that steer the media
(senders, hold) move the gate. The rest passes. So does what the table does not list: it is out of
order, and its receiver says so (XEP-0166 section 12); nothing changes here.

The drawing in docs/architecture.md is made from this table.
"""

from dataclasses import dataclass
from enum import StrEnum

from jingle_hnt.call.leg import Leg
from jingle_hnt.model.jingle import Action


class State(StrEnum):
    """The states of XEP-0166 section 6."""

    PENDING = "pending"
    ACTIVE = "active"
    ENDED = "ended"


class Verb(StrEnum):
    """The effect of a legal request on the contents. An end is a state, not a verb."""

    ACCEPT = "accept"  # agree on offered or added contents, open their gate
    INFORM = "inform"  # hold and active move the gate; the rest passes
    ADD = "add"  # offer further contents
    REJECT = "reject"
    MODIFY = "modify"  # another direction of media
    REMOVE = "remove"
    CANDIDATES = "candidates"  # more or newer candidates of the transport in use
    REPLACE = "replace"  # offer another transport for a content
    REPLACE_ACCEPT = "replace-accept"
    REPLACE_REJECT = "replace-reject"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class Transition:
    """The effect of an action in a state: its senders, its verb, and the next state."""

    verb: Verb
    by: frozenset[Leg]
    to: State


EITHER = frozenset(Leg)
RESPONDER = frozenset({Leg.RESPONDER})

_IN_BOTH_STATES = {
    Action.CONTENT_ACCEPT: Verb.ACCEPT,
    Action.CONTENT_ADD: Verb.ADD,
    Action.CONTENT_MODIFY: Verb.MODIFY,
    Action.CONTENT_REJECT: Verb.REJECT,
    Action.CONTENT_REMOVE: Verb.REMOVE,
    Action.DESCRIPTION_INFO: Verb.PASS,
    Action.SECURITY_INFO: Verb.PASS,
    Action.SESSION_INFO: Verb.INFORM,
    Action.TRANSPORT_ACCEPT: Verb.REPLACE_ACCEPT,
    Action.TRANSPORT_INFO: Verb.CANDIDATES,
    Action.TRANSPORT_REJECT: Verb.REPLACE_REJECT,
    Action.TRANSPORT_REPLACE: Verb.REPLACE,
}

TABLE: dict[tuple[State, Action], Transition] = {
    (State.PENDING, Action.SESSION_ACCEPT): Transition(Verb.ACCEPT, RESPONDER, State.ACTIVE),
    # COMPAT gajim-accepts-twice: what is said again means the same.
    (State.ACTIVE, Action.SESSION_ACCEPT): Transition(Verb.ACCEPT, RESPONDER, State.ACTIVE),
    (State.PENDING, Action.SESSION_TERMINATE): Transition(Verb.PASS, EITHER, State.ENDED),
    (State.ACTIVE, Action.SESSION_TERMINATE): Transition(Verb.PASS, EITHER, State.ENDED),
    # Both parties may hang up at once: the second terminate goes through, its receiver answers it.
    (State.ENDED, Action.SESSION_TERMINATE): Transition(Verb.PASS, EITHER, State.ENDED),
    **{
        (state, action): Transition(verb, EITHER, state)
        for state in (State.PENDING, State.ACTIVE)
        for action, verb in _IN_BOTH_STATES.items()
    },
}


def transition(state: State, action: Action | None, leg: Leg) -> Transition | None:
    """The transition for a request, or None where it is out of order or of an extension."""
    found = None if action is None else TABLE.get((state, action))
    return found if found is not None and leg in found.by else None
