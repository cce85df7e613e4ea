"""Budgets: how much of each resource one user, domain, or session may use.

The limits of `limits.py` count calls; harm is done with other things: ports, contents, candidates,
stanzas, text. Each of those has a budget with a name, an owner and a metric. A request that would
exceed one changes nothing, costs its sender a `resource-constraint` that names the budget, and
touches nobody else. In every policy 0 means that there is no such budget.

Ports are charged to the user whose stanza asked for them, from the lease until the plane has closed
their sockets: the quarantine belongs to who caused it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jingle_hnt.errors import BudgetExceeded, PortsExceeded
from jingle_hnt.model.content import COMPONENTS, Content, RawUdp
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.ports import Owner, PortPool
from jingle_hnt.session.effects import Effect, Exceeded, Request
from jingle_hnt.session.medium import Medium

BURST_S = 10.0
"""A rate may be used up for so many seconds at once: a call is set up by many stanzas together."""

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

    `option` names it in the configuration's table ``budgets``; one without is fixed. `counts` says
    what counts more than that: a metric without its prefix, or where else it is told of.
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
STANZAS_SESSION = Budget(
    "stanzas-session",
    "stanzas_per_s",
    "party of a session",
    "stanzas a second",
)
STANZAS_USER = Budget(
    "stanzas-user", "user_stanzas_per_s", "user", "stanzas a second in all its sessions"
)

WRITE_DOWNS = Budget(
    "write-downs",
    "write_downs_per_s",
    "session",
    "records in the journal a second; what changes faster is written a moment later",
    "what is too soon waits",
)
NOMINATIONS = Budget(
    "nominations",
    "",
    "pinhole",
    "8 moves of an ICE nomination at once, then one a second; of other latches one a second",
    "what is too soon moves nothing",
)
REARMS = Budget(
    "re-arms",
    "",
    "pinhole",
    "one for each stanza of its session, of which there are so many a second",
    '`budget_exceeded_total{budget="stanzas-session"}`',
)
DIGESTS = Budget(
    "failed-digests",
    "",
    "pinhole",
    "500 digests a second that fail, of sources that were not seen at, or named, by the party",
    '`dropped_packets_total{reason="unfit"}`',
)
UNPROVEN = Budget(
    "unproven-packets",
    "",
    "address",
    "240 packets to a source that one signed or guessed packet has taught, until it sends again",
    '`dropped_packets_total{reason="policed"}`',
)
UNASKED = Budget(
    "unasked-checks",
    "",
    "address",
    "10 ICE checks of ours a second to an address that was never heard; of one port in all 1, and 2"
    " for each candidate",
    "`checks` of `call`",
)
HANDSHAKE = Budget(
    "handshake",
    "",
    "pinhole",
    "20 packets and 16,000 bytes a second of STUN and DTLS before media may flow",
    '`dropped_packets_total{reason="gate"}`',
)
LOG_LINE = Budget(
    "line-bytes", "", "line of the log", "4096 characters, 512 of each value", "… where it is cut"
)
RECORD = Budget("record-bytes", "", "session", "256 kB in the journal", "the log")
REPORT = Budget(
    "report-bytes",
    "",
    "call",
    "64 kB in the history; removed contents are left out first",
    "`left_out` of the report",
)

WAITING = Budget("stanzas-waiting", "", "user", "64 stanzas that wait for their turn")

BUDGETS = (
    PORTS_USER,
    PORTS_DOMAIN,
    PORTS_REMOTE_DOMAIN,
    PORTS_REMOTE,
    CONTENTS,
    CANDIDATES,
    NAMES,
    STANZAS_SESSION,
    STANZAS_USER,
    WRITE_DOWNS,
)
"""Those that count what exceeds them."""

FIXED = (
    WAITING,
    NOMINATIONS,
    REARMS,
    DIGESTS,
    UNPROVEN,
    UNASKED,
    HANDSHAKE,
    LOG_LINE,
    RECORD,
    REPORT,
)
"""Those that are no options."""

COUNTED = (*BUDGETS, WAITING)
"""Those of which `Exceeded` tells."""


_CHARGED = {
    PORTS_USER: "user",
    PORTS_DOMAIN: "domain",
    PORTS_REMOTE_DOMAIN: "domain",
    PORTS_REMOTE: EVERYBODY_ELSE[0],
}
"""The kind of owner of each budget of ports."""


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """How much of each budget there is; 0 turns one off. See `BUDGETS` for what each bounds."""

    ports_per_user: int = 160
    ports_per_domain: int = 0
    ports_per_remote_domain: int = 640
    remote_ports_percent: int = 50
    contents: int = 16
    candidates: int = 256
    name_bytes: int = 256
    stanzas_per_s: int = 20
    user_stanzas_per_s: int = 100
    write_downs_per_s: int = 2


@dataclass(slots=True)
class Allowance:
    """What is left of a rate: `BURST_S` seconds' worth at most, filled again as time goes on.

    `spent` is what was used since it was full, as of `at`.
    """

    spent: float = 0.0
    at: float = 0.0

    def take(self, per_s: float, now: float) -> bool:
        """Use one; False where there is none left, and nothing is used."""
        self.spent = max(0.0, self.spent - per_s * (now - self.at))
        self.at = now
        if self.spent + 1 > per_s * BURST_S:
            return False
        self.spent += 1
        return True


class Budgets:
    """Who is at which budget. `local` are the domains that this relay serves.

    `refusals` counts by the name of a budget and its owner, the latest last; each is told by an
    `Exceeded` in `out` as well.
    """

    def __init__(
        self, policy: BudgetPolicy, pool: PortPool, local: frozenset[str], out: list[Effect]
    ) -> None:
        self.policy = policy
        self.local = local
        self.refusals: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._pool = pool
        self._out = out
        self._allowances: OrderedDict[JID, Allowance] = OrderedDict()

    def owners(self, user: JID) -> tuple[Owner, ...]:
        """Whom a lease for this user is charged to."""
        owners: tuple[Owner, ...] = (("user", str(user.bare)), ("domain", user.domain))
        return owners if user.domain in self.local else (*owners, EVERYBODY_ELSE)

    def demand_ports(self, user: JID) -> None:
        """Raise PortsExceeded where the ports of one more content would exceed a budget."""
        policy = self.policy
        budgets = [
            (PORTS_USER, ("user", str(user.bare)), policy.ports_per_user),
            (PORTS_DOMAIN, ("domain", user.domain), policy.ports_per_domain),
        ]
        if user.domain not in self.local:
            share = self._pool.size * policy.remote_ports_percent // 100
            budgets.append(
                (PORTS_REMOTE_DOMAIN, ("domain", user.domain), policy.ports_per_remote_domain)
            )
            budgets.append((PORTS_REMOTE, EVERYBODY_ELSE, share))
        for budget, owner, limit in budgets:
            if limit and self._pool.used[owner] + PORTS_OF_A_CONTENT > limit:
                raise PortsExceeded(*self._refusal(budget, owner[1]))

    def demand_contents(self, session: str, held: int, added: Sequence[Content]) -> None:
        """Raise BudgetExceeded where a session that has so many contents may not have these."""
        if self.contents_left(held) < len(added):
            raise BudgetExceeded(*self._refusal(CONTENTS, session))
        if not all(map(self.may_follow, added)):
            raise BudgetExceeded(*self._refusal(NAMES, session))

    def contents_left(self, held: int) -> int:
        """How many more contents a session that has so many may have."""
        return max(0, self.policy.contents - held) if self.policy.contents else UNBOUNDED

    def may_follow(self, content: Content) -> bool:
        """Whether a content's name is short enough to be remembered."""
        most = self.policy.name_bytes
        return not most or len(content.key.name.encode()) <= most

    def demand_offer(self, request: Request) -> None:
        """Raise BudgetExceeded for an offer that names more, or longer, than may be remembered.

        Contents that can do without a relay are not counted: those that are too many just pass.
        """
        jingle, user = request.jingle, str(request.sender.bare)
        if 0 < self.policy.name_bytes < len(jingle.sid.encode()):
            raise BudgetExceeded(*self._refusal(NAMES, user))
        needy = [c for c in jingle.contents if isinstance(c.transport, RawUdp)]
        self.demand_contents(user, 0, needy)

    def demand_turn(
        self, of_session: Allowance, session: str, request: Request, now: float
    ) -> None:
        """Raise BudgetExceeded where a party has sent more for a session of late than it may.

        To end it is always allowed.
        """
        if request.jingle.action is Action.SESSION_TERMINATE:
            return
        policy, user = self.policy, request.sender.bare
        if policy.stanzas_per_s and not of_session.take(policy.stanzas_per_s, now):
            raise BudgetExceeded(*self._refusal(STANZAS_SESSION, session))
        if not policy.user_stanzas_per_s:
            return
        allowance = self._allowances.setdefault(user, Allowance(at=now))
        self._allowances.move_to_end(user)
        taken = allowance.take(policy.user_stanzas_per_s, now)
        self._forget_idle(now)
        if not taken:
            raise BudgetExceeded(*self._refusal(STANZAS_USER, str(user)))

    def line_of(self, user: JID) -> str:
        """Whose turn it is when a request of this user is served.

        Another server may make up as many users as it likes: they share a line.
        """
        return str(user.bare) if user.domain in self.local else user.domain

    def too_many_wait(self, user: JID) -> BudgetExceeded:
        """Count a request that finds its user's line full; returns the error that tells of it."""
        return BudgetExceeded(*self._refusal(WAITING, self.line_of(user)))

    def room(self, media: Iterable[Medium]) -> int:
        """How many more candidates may be remembered of a session of these contents."""
        if not self.policy.candidates:
            return UNBOUNDED
        return max(0, self.policy.candidates - sum(medium.remembered for medium in media))

    def most(self, budget: Budget, count: int) -> dict[str, int]:
        """Those who use most of a budget of ports; empty for the others."""
        kind = _CHARGED.get(budget)
        if kind is None:
            return {}
        used = ((name, ports) for (owner, name), ports in self._pool.used.items() if owner == kind)
        if budget is PORTS_REMOTE_DOMAIN:
            used = ((name, ports) for name, ports in used if name not in self.local)
        return dict(sorted(used, key=lambda each: -each[1])[:count])

    def refused(self, budget: Budget) -> dict[str, int]:
        """How often whose requests were beyond a budget, of those who were refused last."""
        return {owner: n for (name, owner), n in self.refusals.items() if name == budget.name}

    def _refusal(self, budget: Budget, owner: str) -> tuple[str, str, str]:
        """Count a refusal; returns what the error that tells of it is made of."""
        key = (budget.name, owner)
        self.refusals[key] = self.refusals.pop(key, 0) + 1
        if len(self.refusals) > REFUSALS_KEPT:
            self.refusals.popitem(last=False)
        self._out.append(Exceeded(budget.name, owner))
        return budget.name, owner, f"this is more than the relay allows: {budget.what}"

    def _forget_idle(self, now: float) -> None:
        """Whoever was idle for `BURST_S` has its whole allowance again, and need not be known."""
        while self._allowances:
            user, allowance = next(iter(self._allowances.items()))
            if now - allowance.at < BURST_S:
                break
            del self._allowances[user]
