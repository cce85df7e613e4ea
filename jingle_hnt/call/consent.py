"""Consent of a party to receive media: it lasts while the party is heard (after RFC 7675).

Anything that comes from one of a party's learned sources is consent for all of them: a party that
only listens sends RTCP. A party that was heard for a moment only is not given the full time where
nothing proves its address (see `UNPROVEN`): a few forged packets must not earn a bystander half a
minute of media.
"""

from collections.abc import Collection

from jingle_hnt.call.allocation import Pinhole
from jingle_hnt.relay.binding import SILENT_S
from jingle_hnt.relay.evidence import SourceAuth

MARGIN_S = 0.2
"""Consent is over so much earlier than it must be: the plane tells of silence by its ticks."""

UNPROVEN = (SourceAuth.CANDIDATE_ADDRESS, SourceAuth.PROBATION)


def ends_at(pinholes: Collection[Pinhole], consent_s: float) -> float | None:
    """Return when a party's consent ends or ended; None while the party is heard.

    `pinholes` are all that face the party.
    """
    learned = [p for p in pinholes if p.learned is not None]
    quiet = [(p.quiet_since, p) for p in learned if p.quiet_since is not None]
    if len(quiet) < len(learned) or not quiet:
        return None
    return max(since + _lasts_s(p, since, consent_s) for since, p in quiet) - MARGIN_S


def _lasts_s(pinhole: Pinhole, quiet_since: float, consent_s: float) -> float:
    unproven = pinhole.evidence is not None and pinhole.evidence.source_auth in UNPROVEN
    if not unproven or pinhole.latched_at is None:
        return consent_s
    return min(consent_s, max(SILENT_S, quiet_since - pinhole.latched_at))
