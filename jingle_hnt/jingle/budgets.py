"""Budgets: how much of each resource one user, domain, or session may use.

`limits.py` counts calls. A user can do harm with other resources: ports, contents, candidates
(`call/budgets.py`), stanzas, text. Each of those has a budget with a name, an owner and a metric.
A request that would exceed one changes nothing, costs its sender a `resource-constraint` that names
the budget, and touches nobody else. In every policy 0 means that there is no such budget.
"""

from collections import OrderedDict
from dataclasses import dataclass

from jingle_hnt.call.budgets import (
    CANDIDATES,
    CONTENTS,
    NAMES,
    PORTS_DOMAIN,
    PORTS_REMOTE,
    PORTS_REMOTE_DOMAIN,
    PORTS_USER,
    Budget,
    MediaBudgetPolicy,
    MediaBudgets,
)
from jingle_hnt.call.effects import Exceeded, Out
from jingle_hnt.errors import BudgetExceeded
from jingle_hnt.jingle.effects import Request
from jingle_hnt.jingle.party import account_of
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action
from jingle_hnt.relay.planes import Planes

BURST_S = 10.0
"""A rate may be used up for so many seconds at once: a call is set up by many stanzas together."""

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


@dataclass(frozen=True, slots=True)
class BudgetPolicy(MediaBudgetPolicy):
    """All budgets. 0 turns a budget off. `BUDGETS` describes them."""

    stanzas_per_s: int = 20
    user_stanzas_per_s: int = 100
    write_downs_per_s: int = 2


@dataclass(slots=True)
class Allowance:
    """The rest of a rate, refilled over time to at most the amount of `BURST_S` seconds.

    `spent` is what was used since it was full, as of `at`.
    """

    spent: float = 0.0
    at: float = 0.0

    def take(self, per_s: float, now: float) -> bool:
        """Use one; returns False, and uses nothing, if none is left."""
        self.spent = max(0.0, self.spent - per_s * (now - self.at))
        self.at = now
        if self.spent + 1 > per_s * BURST_S:
            return False
        self.spent += 1
        return True


class Budgets(MediaBudgets):
    """The budgets of media, and those of the stanzas that users send."""

    policy: BudgetPolicy

    def __init__(
        self, policy: BudgetPolicy, planes: Planes, local: frozenset[str], out: Out[Exceeded]
    ) -> None:
        super().__init__(policy, planes, local, out)
        self._allowances: OrderedDict[JID, Allowance] = OrderedDict()

    def demand_offer(self, request: Request) -> None:
        """Raise BudgetExceeded for an offer with too many contents, or too long names.

        Contents that can do without a relay are not counted: those that are too many just pass.
        """
        jingle, user = request.jingle, str(request.sender.bare)
        if 0 < self.policy.name_bytes < len(jingle.sid.encode()):
            raise BudgetExceeded(*self._refusal(NAMES, user))
        needy = [c for c in jingle.contents if c.plain is not None]
        self.demand_contents(user, 0, needy)

    def demand_turn(
        self, of_session: Allowance, session: str, request: Request, now: float
    ) -> None:
        """Raise BudgetExceeded if a party has sent too many requests for a session.

        A request that ends the session is always allowed.
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
        """Return the line of the fair queue that this user's requests wait in.

        Another server may invent any number of users: they share one line.
        """
        return self.owner_of(account_of(user))

    def too_many_wait(self, user: JID) -> BudgetExceeded:
        """Count a request that finds its user's line full; returns the error for it."""
        return BudgetExceeded(*self._refusal(WAITING, self.line_of(user)))

    def _forget_idle(self, now: float) -> None:
        """Forget users idle for `BURST_S`: they have their whole allowance again."""
        while self._allowances:
            user, allowance = next(iter(self._allowances.items()))
            if now - allowance.at < BURST_S:
                break
            del self._allowances[user]
