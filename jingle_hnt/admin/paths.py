"""The path of the media of ICE agents, and why a check failed.

What agents do past the relay it cannot see: ``direct`` says that the media of an accepted call did
not come this way.
"""

from collections.abc import Mapping
from enum import StrEnum

from jingle_hnt.call.allocation import Pinhole
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.call.negotiation import Negotiation
from jingle_hnt.call.policy import IceMode
from jingle_hnt.model.address import TransportAddress
from jingle_hnt.model.content import RTP, CandidateType
from jingle_hnt.relay.binding import BindingName, BindingSnapshot, Counters, PinholeSnapshot
from jingle_hnt.relay.evidence import SourceAuth


class Path(StrEnum):
    """The selected pair."""

    RELAYED = "relayed"  # one with the relay
    DIRECT = "direct"  # one of the agents' own


class CheckFailure(StrEnum):
    """Why an agent has no pair with the relay."""

    WRONG_CREDENTIALS = "wrong-credentials"  # it signs or believes with others than it signalled
    NO_RESPONSE = "no-response"  # it answered none of our checks, and made none
    NO_CANDIDATE = "no-candidate"  # it signalled none that we may ask, and made no check


def mode(medium: Medium) -> str | None:
    """Return the ICE mode of a content; None if it uses no ICE."""
    if medium.agents is None:
        return None
    return IceMode.APPEND.value if medium.kind.is_optional else IceMode.TERMINATE.value


def path(
    medium: Medium,
    negotiation: Negotiation,
    bindings: Mapping[BindingName, BindingSnapshot],
    had_time: bool,
) -> str | None:
    """Return the selected pair; None while there is none, and without agents.

    Contents may be bundled (RFC 8843): who sees the media of one sees that of all.
    """
    if medium.agents is None or not medium.agreed:
        return None
    if _carries_media(medium, bindings):
        return Path.RELAYED.value
    if not had_time or not medium.kind.is_optional:
        return None
    others = (m for m in negotiation.media.values() if m.kind.is_optional)
    return None if any(_carries_media(m, bindings) for m in others) else Path.DIRECT.value


def _carries_media(medium: Medium, bindings: Mapping[BindingName, BindingSnapshot]) -> bool:
    if medium.allocation is None:
        return False
    seen = bindings.get(medium.allocation.binding(RTP))
    if seen is None:
        return False
    if medium.kind.is_optional:
        return any(pinhole.quality.packets > 0 for pinhole in seen.pinholes)
    return all(pinhole.learned is not None for pinhole in seen.pinholes)


def pair(medium: Medium, leg: Leg, component: int, learned: TransportAddress | None) -> str | None:
    """Return the candidate type of the learned source; prflx if the agent signalled no such one."""
    if medium.agents is None or leg in medium.agents.raw or learned is None:
        return None
    told = (c for c in medium.agents.of[leg].candidates if c.component == component)
    known = {c.address: c.type for c in told}
    return (known.get(learned) or CandidateType.PRFLX).value


def check_failure(
    medium: Medium, leg: Leg, component: int, pinhole: Pinhole, seen: PinholeSnapshot | None
) -> str | None:
    """Why this leg's agent has no pair with the relay; None where it has, or is to have none."""
    source_auth = None if pinhole.evidence is None else pinhole.evidence.source_auth
    if medium.agents is None or seen is None or source_auth is not SourceAuth.ICE_INTEGRITY:
        return None
    counters = seen.counters
    if seen.learned is not None:
        answers_only = pinhole.checks is not None and _has_only_answered(counters)
        wrong = answers_only and counters.dropped_unfit > 0
        return CheckFailure.WRONG_CREDENTIALS.value if wrong else None
    if counters.dropped_unfit or counters.checks_refused:
        return CheckFailure.WRONG_CREDENTIALS.value
    expected = component == RTP or component in medium.agents.of[leg].components
    if pinhole.checks is None or not medium.agreed or not expected:
        return None
    if not pinhole.checks.targets and not counters.checks_sent:
        return CheckFailure.NO_CANDIDATE.value
    return CheckFailure.NO_RESPONSE.value


def _has_only_answered(counters: Counters) -> bool:
    """Return whether nothing came of a party but its answers to our checks: no check of its own, no
    media. Who is known by these alone may believe us with other credentials than we were told."""
    return counters.received_packets <= counters.checks_answered
