"""The two legs of a call: one towards each party."""

from enum import IntEnum

from jingle_hnt.relay.binding import Side


class Leg(IntEnum):
    """The two parties. The number is the side of every binding that faces the party."""

    INITIATOR = 0
    RESPONDER = 1

    @property
    def other(self) -> "Leg":
        return Leg(1 - self)


def side_of(leg: Leg) -> Side:
    """Return the plane's side of a leg."""
    return 0 if leg is Leg.INITIATOR else 1
