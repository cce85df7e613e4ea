"""The deadlines of one session. All times are monotonic seconds."""

from dataclasses import dataclass
from enum import StrEnum

from jingle_hnt.call.policy import Times

GONE_S = 15.0
"""A call whose party has left the server ends when its media has been silent for this long."""


class Why(StrEnum):
    """Why a session ended, for reports and counters."""

    TERMINATED = "terminated"  # a party hung up, declined or cancelled
    REFUSED = "refused"  # a party answered the offer or the accept with an error
    UNKNOWN_SESSION = "unknown-session"  # a party says that it does not know the session
    SETUP_TIMEOUT = "setup-timeout"
    NO_MEDIA = "no-media"
    SILENCE = "silence"
    HOLD_TIMEOUT = "hold-timeout"
    CALL_TIMEOUT = "call-timeout"
    NO_CAPACITY = "no-capacity"
    PORTS_LOST = "ports-lost"  # a new plane could not open its ports again
    UNPROVEN = "unproven"  # nothing is known of where the callee's media will come from
    ADMINISTRATOR = "administrator"


@dataclass(slots=True)
class Life:
    """The times in a call's life that its deadlines depend on.

    `quiet_since` is None while any party's media flows; `heard` tells whether any ever did.
    """

    started_at: float
    accepted_at: float | None = None
    quiet_since: float | None = None
    heard: bool = False

    def note(self, lively: bool, now: float) -> None:
        """Record whether any media of the call flows now."""
        if lively:
            self.quiet_since = None
            self.heard = True
        elif self.quiet_since is None:
            self.quiet_since = now

    def deadline(self, times: Times, held: bool, gone: bool) -> tuple[float, Why]:
        """Return when the call ends if nothing more happens, and why.

        A call without relayed media is not ended for silence; it never becomes quiet. `gone` tells
        that one of its parties has left the server: nobody will take a phone that rings then.
        """
        end = (self.started_at + times.call_s, Why.CALL_TIMEOUT)
        if self.accepted_at is None:
            return min(end, (self.started_at + times.setup_s, Why.SETUP_TIMEOUT)) if gone else end
        if self.quiet_since is None:
            return end
        since = max(self.quiet_since, self.accepted_at)
        if not self.heard:
            return min(end, (since + times.first_media_s, Why.NO_MEDIA))
        if held and not gone:
            return min(end, (since + times.hold_s, Why.HOLD_TIMEOUT))
        silence_s = min(times.silence_s, GONE_S) if gone else times.silence_s
        return min(end, (since + silence_s, Why.SILENCE))
