"""Calls that were refused, or went on without the relay: who, whom, when, and for which obstacle.

A flood of them costs little and displaces nobody's: what is alike is one row with a count, rows are
written once a second, and each owner has a bounded share of what waits to be written.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from pydantic import BaseModel, ConfigDict

from jingle_hnt.admin.backend import Archive
from jingle_hnt.jingle.effects import CallRefused
from jingle_hnt.jingle.refusals import Kind

log = structlog.get_logger(__name__)

ALIKE_S = 60.0
"""Refusals that are alike are one row where no more than this is between two of them."""

SIDS_KEPT = 4
MOST_OF_OWNER, MOST_WAITING = 20, 500
"""Rows that wait to be written; what is beyond is counted as of several users."""

SEVERAL = "several"
"""Stands for the parties of refusals that were too many to be told apart."""

WORDS: dict[Kind, tuple[str, str]] = {
    Kind.BLOCK: (
        "an administrator has blocked {which}",
        "`jingle-hnt unblock {which}` lets it call and be called again",
    ),
    Kind.RULE: (
        "a rule about who may call whom refuses it: {which}",
        "docs/policy.md says how rules are written; `jingle-hnt policy` shows those in force",
    ),
    Kind.LIMIT: (
        "a limit of calls was reached: {which}",
        "`jingle-hnt limits` says who is near it; raise {which} if that many calls are wanted",
    ),
    Kind.BUDGET: (
        "a budget was used up: {which}",
        "`jingle-hnt limits` says who is near it; docs/configuration.md has the option of each"
        " budget",
    ),
    Kind.DRAIN: (
        "the relay was draining",
        "`jingle-hnt undrain` takes new calls again; relay.draining says what becomes of them",
    ),
    Kind.PORTS: (
        "no pair of media ports was left",
        "widen relay.ports, or let such calls pass with relay.exhausted; `jingle-hnt status` counts"
        " the ports by state",
    ),
    Kind.PLANE: (
        "the forwarding plane was away",
        "look at the log of `jingle-hnt plane`; `jingle-hnt status` tells whether it is back",
    ),
    Kind.NOT_LOCAL: (
        "neither party is a user of a domain in xmpp.domains",
        "add the domain to xmpp.domains and restart, if its calls are to be relayed",
    ),
    Kind.UNPROVEN: (
        "the caller's address could not be verified, and such calls are refused",
        'relay.unknown_source = "probation" accepts them after five packets in sequence',
    ),
    Kind.HIDDEN: (
        "addresses are hidden, and the offer could not be rewritten",
        "the client writes several transports in one content, or one content twice; ice.mode and"
        " gate.policy say whose addresses are hidden",
    ),
    Kind.LATE: (
        "the offer had waited so long that the XMPP server was about to send it on unchanged",
        "this host is too busy, or the caller has sent very many requests: see `jingle-hnt limits`",
    ),
    Kind.AWAY: (
        "the XMPP server had no connection to jingle-hnt",
        "look at the log for why; `jingle-hnt status` says whether it is back",
    ),
}
"""What each obstacle is, and what to do about it; {which} names it more closely."""


class RefusedCall(BaseModel):
    """Refused calls of one caller to one callee, for one obstacle.

    `first` and `last` are ISO 8601 in UTC. `outcome` is ``refused``, or ``unrelayed`` where the
    call went on without the relay; `told` is what the caller was told.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    first: str
    last: str
    count: int
    caller: str
    callee: str
    sids: tuple[str, ...]
    outcome: str
    kind: str
    which: str
    told: str

    @property
    def text(self) -> str:
        """The obstacle in words."""
        return self._words()[0]

    @property
    def advice(self) -> str:
        """Return what to do about it."""
        return self._words()[1]

    def _words(self) -> tuple[str, str]:
        if self.kind not in {kind.value for kind in Kind}:  # of another version
            return self.kind, "see docs/troubleshooting.md"
        text, advice = WORDS[Kind(self.kind)]
        return text.format(which=self.which), advice.format(which=self.which)


@dataclass(slots=True)
class _Waiting:
    owner: str
    call: RefusedCall


@dataclass(slots=True)
class Refusals:
    """Counts refused calls; `flush` writes them down. `soon` calls a function in a second."""

    archive: Archive
    soon: Callable[[Callable[[], None]], None]
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _owners: dict[str, int] = field(default_factory=dict)

    def add(self, refused: CallRefused, at: datetime) -> None:
        """One more call was refused."""
        if not self._waiting:
            self.soon(self.flush)
        obstacle, owner = refused.obstacle, refused.owner
        caller, callee = refused.caller, refused.callee
        outcome = "unrelayed" if obstacle.error is None else "refused"
        key = f"{caller.bare} {callee.bare} {obstacle.kind} {obstacle.which} {outcome}"
        of_owner = self._owners.get(owner, 0)
        names = str(caller), str(callee)
        if key not in self._waiting and of_owner >= MOST_OF_OWNER:
            names = (owner, SEVERAL)
        if key not in self._waiting and len(self._waiting) >= MOST_WAITING:
            owner, names = SEVERAL, (SEVERAL, SEVERAL)
        if SEVERAL in names:
            key = f"{names} {obstacle.kind} {obstacle.which} {outcome}"
        known = self._waiting.get(key)
        now, sid = at.astimezone(UTC).isoformat(timespec="milliseconds"), refused.sid[:200]
        if known is not None:
            before = known.call
            sids = tuple(dict.fromkeys((*before.sids, sid)))[-SIDS_KEPT:]
            changes = {"last": now, "count": before.count + 1, "sids": sids}
            known.call = before.model_copy(update=changes)
            return
        call = RefusedCall(
            first=now,
            last=now,
            count=1,
            caller=names[0],
            callee=names[1],
            sids=(sid,),
            outcome=outcome,
            kind=obstacle.kind.value,
            which=obstacle.which,
            told="" if obstacle.error is None else obstacle.error.text,
        )
        self._waiting[key] = _Waiting(owner, call)
        self._owners[owner] = of_owner + 1

    def flush(self) -> None:
        """Write down what waits, and log it: of each owner a line, however many were refused."""
        waiting, self._waiting, self._owners = self._waiting, {}, {}
        if not waiting:
            return
        logged: dict[str, int] = {}
        for each in waiting.values():
            logged[each.owner] = logged.get(each.owner, 0) + each.call.count
        rows = []
        for key, each in waiting.items():
            call = each.call
            rows.append((key, each.owner, call.model_dump()))
            count = logged.pop(each.owner, None)
            if count is not None:
                others = {} if count == call.count else {"others": count - call.count}
                log.info(
                    "call refused" if call.outcome == "refused" else "call not relayed",
                    caller=call.caller,
                    callee=call.callee,
                    sid=call.sids[-1],
                    obstacle=call.kind,
                    **({"which": call.which} if call.which else {}),
                    times=call.count,
                    **others,
                )
        self.archive.refuse(rows, ALIKE_S)
