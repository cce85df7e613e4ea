"""Why a call could not be made, or was made without the relay: the obstacle that its offer met."""

from dataclasses import dataclass
from enum import StrEnum

from jingle_hnt.errors import (
    BudgetExceeded,
    Condition,
    JingleError,
    NoPorts,
    StanzaError,
    Unhidden,
    UnprovenParty,
)

NOT_LOCAL = StanzaError(
    Condition.FORBIDDEN, "auth", "neither party is a user of a server that this relay serves"
)
NO_CAPACITY = StanzaError(
    Condition.RESOURCE_CONSTRAINT, "wait", "the relay has no room for this now; try again later"
)
NO_PLANE = StanzaError(
    Condition.RESOURCE_CONSTRAINT, "wait", "the relay is being started again; try again in a moment"
)


NO_SUCH_USER = StanzaError(Condition.SERVICE_UNAVAILABLE, "cancel", "")
"""What a server says of a user who does not exist (RFC 6121 section 8.5.1): its module writes it as
that server does, so that nobody learns from it who exists, or is there."""


class Kind(StrEnum):
    """The kinds of obstacles."""

    BLOCK = "block"  # an administrator has blocked one of the parties
    RULE = "rule"  # an operator's rule about callers and callees
    LIMIT = "limit"  # a limit of calls
    BUDGET = "budget"  # a budget of the caller or its domain
    DRAIN = "drain"  # no new calls are relayed
    PORTS = "ports"  # no media ports are left
    PLANE = "plane"  # the forwarding plane is away
    NOT_LOCAL = "not-local"  # neither party is of our domains
    UNPROVEN = "unproven"  # it is not known where the caller's media comes from
    HIDDEN = "hidden"  # addresses are to be hidden, and the offer cannot be rewritten
    LATE = "late"  # it had to wait for too long
    AWAY = "away"  # the server had no connection to us


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`which` names it more closely: the limit's option, the budget, or who is blocked.

    `error` is what the caller is told, None where the offer goes on without the relay.
    """

    kind: Kind
    which: str = ""
    error: StanzaError | None = None


def obstacle_of(error: JingleError | NoPorts) -> Obstacle:
    """Return the obstacle that an error of an offer stands for."""
    answer = error.answer if isinstance(error, JingleError) else NO_CAPACITY
    match error:
        case BudgetExceeded(budget=budget):
            return Obstacle(Kind.BUDGET, budget, answer)
        case NoPorts():
            return Obstacle(Kind.PORTS, "", answer)
        case UnprovenParty():
            return Obstacle(Kind.UNPROVEN, "", answer)
        case Unhidden():
            return Obstacle(Kind.HIDDEN, "", answer)
    return Obstacle(Kind.HIDDEN, "malformed", answer)
