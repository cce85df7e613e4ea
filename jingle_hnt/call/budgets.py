"""Budgets of media: how many ports, contents and candidates a user, domain, or call may have.

Each has a name, an owner and a metric. A request that would exceed one changes nothing, is refused
with the budget's name, and touches nobody else. In every policy 0 means that there is no such
budget.

Ports are charged to the user whose stanza asked for them, from the lease until the plane has closed
their sockets, quarantine included.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.call.effects import Exceeded, Out
from jingle_hnt.call.endpoint import Account
from jingle_hnt.call.medium import Medium
from jingle_hnt.errors import BudgetExceeded, PortsExceeded
from jingle_hnt.model.content import COMPONENTS, Content
from jingle_hnt.relay.planes import Planes
from jingle_hnt.relay.ports import Owner

REFUSALS_KEPT = 256
"""Owners whose refusals are counted at a time; the oldest make room."""

PORTS_OF_A_CONTENT = 2 * len(COMPONENTS)
"""What one content takes: a pair that faces each party."""

UNBOUNDED = 1 << 16
"""Candidates of a session without a budget: more than the stanzas of a day hold."""

EVERYBODY_ELSE: Owner = ("other servers", "all")
"""Owns the ports of all users of other servers together."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget: its name in metrics and logs, who owns it, and what it bounds.

    `option` names it in the configuration's table ``budgets``; one without is fixed. `counts` names
    what counts beyond that: a metric without its prefix, or another place.
    """

    name: str
    option: str
    owner: str
    what: str
    counts: str = "`budget_exceeded_total`"


PORTS_USER = Budget("ports-user", "ports_per_user", "user", "media ports leased or in quarantine")
PORTS_DOMAIN = Budget(
    "ports-domain", "ports_per_domain", "domain", "media ports leased or in quarantine"
)
PORTS_REMOTE_DOMAIN = Budget(
    "ports-remote-domain",
    "ports_per_remote_domain",
    "domain of another server",
    "media ports leased or in quarantine",
)
PORTS_REMOTE = Budget(
    "ports-remote",
    "remote_ports_percent",
    "all other servers together",
    "media ports leased or in quarantine, in percent of `relay.ports`",
)
CONTENTS = Budget("contents", "contents", "session", "contents")
CANDIDATES = Budget(
    "candidates", "candidates", "session", "candidates remembered; the oldest make room"
)
NAMES = Budget(
    "name-bytes", "name_bytes", "session", "bytes in its sid, and in each content's name"
)
_CHARGED = {
    PORTS_USER: "user",
    PORTS_DOMAIN: "domain",
    PORTS_REMOTE_DOMAIN: "domain",
    PORTS_REMOTE: EVERYBODY_ELSE[0],
}
"""The kind of owner of each budget of ports."""


@dataclass(frozen=True, slots=True)
class MediaBudgetPolicy:
    """The budgets of media. 0 turns a budget off."""

    ports_per_user: int = 160
    ports_per_domain: int = 0
    ports_per_remote_domain: int = 640
    remote_ports_percent: int = 50
    contents: int = 16
    candidates: int = 256
    name_bytes: int = 256


class MediaBudgets:
    """The use of each budget. `local` are the domains that this relay serves.

    `refusals` counts by the name of a budget and its owner, the latest last; each is told by an
    `Exceeded` in `out` as well.
    """

    def __init__(
        self,
        policy: MediaBudgetPolicy,
        planes: Planes,
        local: frozenset[str],
        out: Out[Exceeded],
    ) -> None:
        self.policy = policy
        self.local = local
        self.refusals: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._planes = planes
        self._out = out

    def owners(self, account: Account) -> tuple[Owner, ...]:
        """Return the accounts that a lease for this user is charged to."""
        owners: tuple[Owner, ...] = (("user", account.user), ("domain", account.domain))
        return owners if account.domain in self.local else (*owners, EVERYBODY_ELSE)

    def owner_of(self, account: Account) -> str:
        """Return the owner that refusals are counted for.

        It is the user, or the domain of a user of another server, which may invent any number.
        """
        return account.user if account.domain in self.local else account.domain

    def demand_ports(self, account: Account) -> None:
        """Raise PortsExceeded where the ports of one more content would exceed a budget."""
        policy = self.policy
        budgets = [
            (PORTS_USER, ("user", account.user), policy.ports_per_user),
            (PORTS_DOMAIN, ("domain", account.domain), policy.ports_per_domain),
        ]
        if account.domain not in self.local:
            share = self._planes.size * policy.remote_ports_percent // 100
            budgets.append(
                (PORTS_REMOTE_DOMAIN, ("domain", account.domain), policy.ports_per_remote_domain)
            )
            budgets.append((PORTS_REMOTE, EVERYBODY_ELSE, share))
        for budget, owner, limit in budgets:
            if limit and self._planes.used(owner) + PORTS_OF_A_CONTENT > limit:
                raise PortsExceeded(*self._refusal(budget, owner[1]))

    def demand_contents(self, session: str, held: int, added: Sequence[Content]) -> None:
        """Raise BudgetExceeded where a session that has so many contents may not have these."""
        if self.contents_left(held) < len(added):
            raise BudgetExceeded(*self._refusal(CONTENTS, session))
        if not all(map(self.may_follow, added)):
            raise BudgetExceeded(*self._refusal(NAMES, session))

    def contents_left(self, held: int) -> int:
        """Return the number of contents that a session with `held` of them may still add."""
        return max(0, self.policy.contents - held) if self.policy.contents else UNBOUNDED

    def may_follow(self, content: Content) -> bool:
        """Return whether a content's name is short enough to be remembered."""
        most = self.policy.name_bytes
        return not most or len(content.key.name.encode()) <= most

    def room(self, media: Iterable[Medium]) -> int:
        """Return the number of candidates that a session of these contents may still add."""
        if not self.policy.candidates:
            return UNBOUNDED
        return max(0, self.policy.candidates - sum(medium.remembered for medium in media))

    def most(self, budget: Budget, count: int) -> dict[str, int]:
        """Return the largest users of a budget of ports; empty for other budgets."""
        kind = _CHARGED.get(budget)
        if kind is None:
            return {}
        used = (
            (name, ports) for (owner, name), ports in self._planes.owners().items() if owner == kind
        )
        if budget is PORTS_REMOTE_DOMAIN:
            used = ((name, ports) for name, ports in used if name not in self.local)
        return dict(sorted(used, key=lambda each: -each[1])[:count])

    def refused(self, budget: Budget) -> dict[str, int]:
        """Return how often a budget refused each of the owners that it refused last."""
        return {owner: n for (name, owner), n in self.refusals.items() if name == budget.name}

    def _refusal(self, budget: Budget, owner: str) -> tuple[str, str, str]:
        """Count a refusal; returns the arguments of its error."""
        key = (budget.name, owner)
        self.refusals[key] = self.refusals.pop(key, 0) + 1
        if len(self.refusals) > REFUSALS_KEPT:
            self.refusals.popitem(last=False)
        self._out.append(Exceeded(budget.name, owner))
        return budget.name, owner, f"this is more than the relay allows: {budget.what}"
