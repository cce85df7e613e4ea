"""Who may call whom: an operator's rules about pairs of caller and callee.

A rule says what becomes of the calls of some pairs; the first that fits holds, then the rule about
strangers, and a pair that no rule is about may call. What is not known fits no rule that asks for
it: where no server says whether a caller is a contact, rules about contacts leave the call alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from jingle_hnt.model.jid import JID


class CallVerdict(StrEnum):
    """What becomes of a call."""

    ALLOW = "allow"  # as if there were no rules
    REFUSE = "refuse"  # the caller is told what one is told who calls nobody


@dataclass(frozen=True, slots=True)
class Pair:
    """Who calls whom.

    `contact` is whether the callee has the caller in its roster with a subscription (RFC 6121
    section 3), or, of a callee on another server, the caller the callee; None where nobody knows.
    """

    caller: JID
    callee: JID
    contact: bool | None = None

    @property
    def is_one_user(self) -> bool:
        """Whether somebody calls from one of its clients to another."""
        return self.caller.bare == self.callee.bare


@dataclass(frozen=True, slots=True)
class CallRule:
    """One rule; what it leaves out fits every pair.

    `callers` and `callees` are patterns (see `matches`). `contact` is what the pair must be;
    `other_server` whether one of its parties must be, or must not be, of a domain that is not ours.
    `name` is what people are told of it.
    """

    verdict: CallVerdict
    name: str
    callers: tuple[str, ...] = ()
    callees: tuple[str, ...] = ()
    contact: bool | None = None
    other_server: bool | None = None

    def fits(self, pair: Pair, domains: frozenset[str]) -> bool:
        """Whether this rule is about this pair; `domains` are ours."""
        if self.callers and not matches(self.callers, pair.caller):
            return False
        if self.callees and not matches(self.callees, pair.callee):
            return False
        if self.contact is not None and pair.contact is not self.contact:
            return False
        if self.other_server is None:
            return True
        return ({pair.caller.domain, pair.callee.domain} <= domains) is not self.other_server


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of a call; `by` names the rule, empty where none fits."""

    verdict: CallVerdict = CallVerdict.ALLOW
    by: str = ""


@dataclass(frozen=True, slots=True)
class RulesPolicy:
    """The rules, in order, and what becomes of calls of strangers that none of them is about.

    `rings` is whether server modules ask about what makes a phone ring, too.
    """

    rules: tuple[CallRule, ...] = ()
    strangers: CallVerdict = CallVerdict.ALLOW
    rings: bool = False

    @property
    def asks_about_rings(self) -> bool:
        """Whether server modules are to hold what makes a phone ring until we have answered."""
        return self.rings or bool(self.rules) or self.strangers is not CallVerdict.ALLOW

    def ruling(self, pair: Pair, domains: frozenset[str]) -> Ruling:
        """What becomes of a call of this pair. Nobody is a stranger to itself."""
        if pair.is_one_user:
            return Ruling()
        for rule in self.rules:
            if rule.fits(pair, domains):
                return Ruling(rule.verdict, rule.name)
        if pair.contact is False and self.strangers is not CallVerdict.ALLOW:
            return Ruling(self.strangers, STRANGERS)
        return Ruling()


STRANGERS = "calls.strangers"
"""The name of the rule about strangers: its option."""


def matches(patterns: Iterable[str], jid: JID) -> bool:
    """Whether a pattern names this JID or its domain; ``*`` stands for any number of characters."""
    return any(fnmatchcase(str(jid.bare) if "@" in p else jid.domain, _glob(p)) for p in patterns)


def _glob(pattern: str) -> str:
    """Nothing but ``*`` is special: a local part may well have a ``?`` or brackets in it."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
