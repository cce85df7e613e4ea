"""Every exception of jingle-hnt.

Each error knows whose fault it is and, where a party of a call has to be told, the stanza
condition that tells it (RFC 6120 section 8.3, XEP-0166 section 12). The rule, borrowed from the
sans-IO protocol libraries: a *protocol* error is the sender's, a *capacity* error is nobody's, and
everything else is ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """Stanza error conditions that a middlebox has reason to send (RFC 6120 section 8.3.3)."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    ITEM_NOT_FOUND = "item-not-found"
    POLICY_VIOLATION = "policy-violation"
    NOT_ACCEPTABLE = "not-acceptable"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    UNEXPECTED_REQUEST = "unexpected-request"


class JingleCondition(StrEnum):
    """Jingle-specific conditions (XEP-0166 table 2, namespace ``urn:xmpp:jingle:errors:1``)."""

    OUT_OF_ORDER = "out-of-order"
    TIE_BREAK = "tie-break"
    UNKNOWN_SESSION = "unknown-session"
    UNSUPPORTED_INFO = "unsupported-info"


@dataclass(frozen=True, slots=True)
class StanzaError:
    """What a party is told when its request is refused.

    `type` is the error type of RFC 6120 section 8.3.2 (``cancel``, ``modify``, ``wait``, ``auth``),
    `text` says in English what is wrong and what to send instead.
    """

    condition: Condition
    type: str
    text: str
    jingle: JingleCondition | None = None


class JingleHNTError(Exception):
    """Base of all errors raised on purpose by jingle-hnt."""


class JingleError(JingleHNTError):
    """A party's request is wrong or cannot be met; `answer` is what the party is told."""

    def __init__(self, answer: StanzaError) -> None:
        super().__init__(answer.text)
        self.answer = answer


class MalformedJingle(JingleError):
    """What would have to be rewritten cannot be: ``bad-request`` (XEP-0166 section 12)."""

    def __init__(self, text: str) -> None:
        super().__init__(StanzaError(Condition.BAD_REQUEST, "modify", text))


class OversizedJingle(JingleError):
    """The stanza is larger than any call needs: ``policy-violation`` (RFC 6120 8.3.3.12)."""

    def __init__(self, text: str) -> None:
        super().__init__(StanzaError(Condition.POLICY_VIOLATION, "modify", text))


class Unhidden(JingleError):
    """A stanza may tell addresses that the operator hides, and cannot be rewritten."""

    def __init__(self) -> None:
        text = (
            "addresses are hidden in this call, and this request cannot be rewritten: write one"
            " transport in each content, and each content once"
        )
        super().__init__(StanzaError(Condition.NOT_ACCEPTABLE, "modify", text))


class UnprovenParty(JingleError):
    """Nothing is known of where this party's media will come from, and the operator wants proof."""

    def __init__(self) -> None:
        text = (
            "this relay does not know where your media will come from; offer a public candidate,"
            " or call from the network that your XMPP connection comes from"
        )
        super().__init__(StanzaError(Condition.NOT_ACCEPTABLE, "modify", text))


class BudgetExceeded(JingleError):
    """The request would exceed a budget of `owner`: ``resource-constraint`` (RFC 6120 8.3.3.18)."""

    def __init__(self, budget: str, owner: str, text: str) -> None:
        text = f"{text} (budget {budget}); use less, or try again later"
        super().__init__(StanzaError(Condition.RESOURCE_CONSTRAINT, "wait", text))
        self.budget = budget
        self.owner = owner


class ProtocolViolation(JingleHNTError):
    """A message of the filter or control protocol cannot be understood; the peer is at fault."""


class ConfigurationError(JingleHNTError):
    """The configuration cannot be used; the message names the key and what to write instead."""


class SecretRefused(JingleHNTError):
    """The XMPP server does not accept the component's secret (XEP-0114 section 3)."""


def only_refusals(group: ExceptionGroup[Exception]) -> SecretRefused | None:
    """The first of a group of refused secrets; None where anything else is among them.

    What an ``except*`` raises is not the same in all releases of Python 3.11: a group or not.
    """
    refused, others = group.split(SecretRefused)
    if refused is None or others is not None:
        return None
    first = refused.exceptions[0]
    return only_refusals(first) if isinstance(first, ExceptionGroup) else first


class PlaneError(JingleHNTError):
    """The forwarding plane could not do what it was asked. `code` is stable across versions.

    `address` is the one (``host:port``) that could not be bound, where that was it.
    """

    code = "plane"

    def __init__(self, text: str, address: str | None = None) -> None:
        super().__init__(text)
        self.address = address


class PortTaken(PlaneError):
    """Another process holds a port that was to be bound; ask with another lease."""

    code = "port-taken"


class AddressUnavailable(PlaneError):
    """The relay address is not on any interface of this host."""

    code = "address-unavailable"


class DescriptorsExhausted(PlaneError):
    """The process may open no more sockets (RLIMIT_NOFILE)."""

    code = "descriptors-exhausted"


class UnknownBinding(PlaneError):
    """No binding of that name is in the plane; it was released or the plane is new."""

    code = "unknown-binding"


class DuplicateBinding(PlaneError):
    """A binding of that name exists already."""

    code = "duplicate-binding"


class PlaneServed(PlaneError):
    """Another signalling process orders what this plane does; a plane serves one at a time."""

    code = "plane-served"


class PlaneGone(PlaneError):
    """The control connection to the forwarding plane is down; media that flows goes on."""

    code = "plane-gone"


class NoPorts(JingleHNTError):
    """Every media port is leased or quarantined."""


class PortsExceeded(NoPorts, BudgetExceeded):
    """Whoever asks for media ports has, or has just had, as many as its budget allows."""
