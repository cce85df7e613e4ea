"""Limits on concurrent calls: per user, per domain, and in total.

Only the caller is counted. If the callee were counted too, anybody could use up a user's calls by
ringing. Ringing calls are counted by the caller's domain as well, so a flood from one domain takes
nothing from the others. A call over a limit is refused at once: its caller is told
to try again later, and no port was taken for it.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from jingle_hnt.errors import Condition, StanzaError
from jingle_hnt.jingle.policy import LimitPolicy
from jingle_hnt.jingle.refusals import Kind, Obstacle
from jingle_hnt.model.jid import JID

WINDOW_S = 60.0

ANNOUNCED = 10_000
"""Calls that made a phone ring and are yet to be offered: it is remembered that they counted."""

T = TypeVar("T")


def _full(text: str) -> StanzaError:
    return StanzaError(Condition.RESOURCE_CONSTRAINT, "wait", text)


TOO_MANY = _full("you have as many calls as one user may have; end one, or try again later")
TOO_FAST = _full("you make calls faster than one user may; try again in a minute")
HALF_OPEN = _full("your domain has as many unanswered calls as it may have; try again later")
DOMAIN_FULL = _full("your domain has as many calls as it may have; try again later")
ALL_FULL = _full("the relay has as many calls as it may have; try again later")
BLOCKED = StanzaError(
    Condition.FORBIDDEN, "auth", "the administrator has blocked calls of one of the parties"
)


@dataclass(slots=True)
class Limits:
    """The counts of the limits. `blocked` has bare JIDs and domains."""

    blocked: set[str] = field(default_factory=set)
    users: Counter[JID] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    half_open: Counter[str] = field(default_factory=Counter)
    _offers: dict[str, str] = field(default_factory=dict)
    _made: Counter[JID] = field(default_factory=Counter)
    _announced: OrderedDict[tuple[JID, str], None] = field(default_factory=OrderedDict)
    _window_at: float = 0.0

    def refusal(
        self,
        policy: LimitPolicy,
        caller: JID,
        callee: JID,
        now: float,
        sid: str = "",
        *,
        rings: bool = False,
    ) -> Obstacle | None:
        """Return why this call may not be made now, None if it may. The attempt counts.

        A call that makes a phone ring first (`rings`) counts then, and not when it is offered under
        the same `sid`.
        """
        if (blocked := self.block(caller, callee)) is not None:
            return blocked
        counts = self._announced.pop((caller.bare, sid), self) is self or rings
        if now - self._window_at >= WINDOW_S:
            self._window_at = now
            self._made.clear()
        made = self._made[caller.bare]
        if counts:
            self._made[caller.bare] += 1
        for option, count, limit, error in (
            ("per_minute", made if counts else 0, policy.per_minute, TOO_FAST),
            ("per_user", self.users[caller.bare], policy.per_user, TOO_MANY),
            ("half_open", self.half_open[caller.domain], policy.half_open, HALF_OPEN),
            ("per_domain", self.domains[caller.domain], policy.per_domain, DOMAIN_FULL),
            ("calls", self.domains.total(), policy.calls, ALL_FULL),
        ):
            if limit and count >= limit:
                return Obstacle(Kind.LIMIT, f"limits.{option}", error)
        if rings:
            self._announced[caller.bare, sid] = None
            if len(self._announced) > ANNOUNCED:
                self._announced.popitem(last=False)
        return None

    def block(self, caller: JID, callee: JID) -> Obstacle | None:
        """Return the obstacle if an administrator has blocked either party."""
        if self.blocked:
            for who in (str(caller.bare), caller.domain, str(callee.bare), callee.domain):
                if who in self.blocked:
                    return Obstacle(Kind.BLOCK, who, BLOCKED)
        return None

    def opened(self, call: str, caller: JID) -> None:
        """Count a call that this user begins; `call` is its name."""
        self._offers[call] = caller.domain
        self.half_open[caller.domain] += 1
        self.users[caller.bare] += 1
        self.domains[caller.domain] += 1

    def answered(self, call: str) -> None:
        """Count a call as accepted or over: it rings no more."""
        domain = self._offers.pop(call, None)
        if domain is not None:
            _decrement(self.half_open, domain)

    def closed(self, caller: JID) -> None:
        """Count a call that ends."""
        _decrement(self.users, caller.bare)
        _decrement(self.domains, caller.domain)


def _decrement(counts: Counter[T], key: T) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
