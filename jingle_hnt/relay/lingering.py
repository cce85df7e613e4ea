"""How long a released port is kept from the next call, so that no stale sender joins it.

The C engine mirrors this in `plane/native/rules/lingering.c`, and a property test holds the two
together.
"""

LINGER_CAP_S = 600.0
"""Longest time that a released port is kept from the next call (threats: stale senders)."""

WATCH_S = 4.0
"""Shortest time that it is watched before it is free, if the lingering is not shorter."""


def idle_since(heard_at: float | None, now: float, linger_s: float) -> float:
    """Since when, at its release `now`, a port has been idle; `heard_at` is None if nobody was.

    What its party was silent before counts, all but the last `WATCH_S`: for who sends from
    elsewhere by now nothing was on watch before.
    """
    return now if heard_at is None else max(heard_at, now - linger_s + min(linger_s, WATCH_S))


def is_free(busy_at: float, released_at: float, linger_s: float, cap_s: float, now: float) -> bool:
    """Whether a released port is free now, at which something came last at `busy_at`."""
    return now - busy_at >= linger_s or now - released_at >= cap_s
