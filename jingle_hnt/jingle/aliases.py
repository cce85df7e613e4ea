"""Other names of a pair that has a session.

A room rewrites who sends to whom (XEP-0045 section 7.5, private IQs): occupants call each other by
their addresses in the room, so we see the offer from a real JID to an occupant, and the accept from
the other real JID to the first one's occupant. And of one account another device may answer.

Such an answer has to name the sid, which only the two parties and their servers see.
"""

from collections.abc import Collection

from jingle_hnt.jingle.table import State
from jingle_hnt.model.jid import JID


def is_answer_to(
    parties: tuple[JID, JID],
    state: State,
    sender: JID,
    recipient: JID,
    users: Collection[str],
) -> bool:
    """Return whether an accept with the sid of an offer between these parties is the answer to it.

    `users` are domains whose addresses are those of users, and no rooms.
    """
    initiator, responder = parties
    if state is not State.PENDING or sender in parties:
        return False
    if recipient == initiator:
        return sender.bare == responder.bare  # another device of who was called
    may_be_room = bool(responder.local) and responder.domain not in users
    is_same_room = recipient.bare == responder.bare != sender.bare
    return may_be_room and is_same_room and recipient != responder and recipient.is_full
