"""Inputs and effects of sessions, beside the effects of a call's media.

Inputs are verbs of `Registry`; effects are imperative values that the driver carries out in order,
before it gives the next input. No effect waits. Its result comes later, as an input.
"""

from dataclasses import dataclass, field

from jingle_hnt.call.effects import FrontEffect, OwnTransports, Substitution
from jingle_hnt.call.endpoint import sightings
from jingle_hnt.errors import StanzaError
from jingle_hnt.jingle.refusals import Obstacle
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle
from jingle_hnt.relay.evidence import Sighting

Token = int
"""Names one held stanza; each is answered exactly once."""


@dataclass(frozen=True, slots=True)
class Request:
    """A Jingle request, held until it is answered; its parties are named by their own addresses.

    `via` is empty where a server module asks about what the parties send each other; else they send
    it to addresses at this component, and what we say ourselves takes the same way. `sender_ip` and
    `recipient_ip` are where the parties' XMPP connections come from, where the server knows it;
    `sender_seen` and `recipient_seen` where they were seen besides, newest first.
    `id` is the stanza's, `patience_s` how long who holds it waits for the answer. `contact` is as
    of `rules.Pair`.
    """

    token: Token
    sender: JID
    recipient: JID
    jingle: Jingle
    sender_ip: IPAddress | None = None
    recipient_ip: IPAddress | None = None
    sender_seen: tuple[Sighting, ...] = field(default=(), kw_only=True)
    recipient_seen: tuple[Sighting, ...] = field(default=(), kw_only=True)
    via: str = field(default="", kw_only=True)
    id: str = field(default="", kw_only=True)
    patience_s: float = field(default=3.0, kw_only=True)
    contact: bool | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Ring:
    """A message that makes a phone ring, held until it is answered.

    It is a proposal (XEP-0353) or an invitation (XEP-0482); `sid` is its id, which the session that
    follows has too. `caller` and `callee` may be bare JIDs; `contact` is as of `rules.Pair`.
    """

    token: Token
    caller: JID
    callee: JID
    sid: str
    contact: bool | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that went through us was answered by an error, or could not be delivered.

    `sender` sent the request, `recipient` is who refused it. `id` is the request's, empty where it
    is not known: whatever its sender asked by this action is meant then.
    """

    sender: JID
    recipient: JID
    sid: str
    action: Action
    unknown_session: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A party's XMPP connection now comes from another address (XEP-0198 resumption).

    `ip` is None where that connection proves little; `seen` is where it was seen besides, newest
    first.
    """

    jid: JID
    ip: IPAddress | None
    seen: tuple[Sighting, ...] = ()

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Return all addresses. The present one is last: the last one counts as the newest."""
        return sightings(self.ip, self.seen)


@dataclass(frozen=True, slots=True)
class Gone:
    """A party's XMPP session is over; media that flows is no reason to end its calls."""

    jid: JID


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A party, named by its full JID, said in a message that its call is over (XEP-0353).

    With `retract` it is its offer that is.
    """

    jid: JID
    sid: str
    retract: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that a server module let through unasked, while nobody of ours was connected.

    It went on unchanged, `age_s` seconds before this report. `jingle` is None where it cannot be
    read. `missed` requests before it went on too, and are forgotten.
    """

    sender: JID
    recipient: JID
    sid: str
    action: Action
    jingle: Jingle | None
    age_s: float = 0.0
    missed: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class ChannelRequest:
    """A user asks for a relay channel (XEP-0278); `ip` is where its XMPP connection comes from."""

    token: Token
    requester: JID
    ip: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Pass(FrontEffect):
    """Let the held stanza go on as it came."""

    token: Token


@dataclass(frozen=True, slots=True)
class Replace(FrontEffect):
    """Let the held stanza go on with these candidates in place of its own, or beside them (ICE)."""

    token: Token
    substitution: Substitution
    transports: OwnTransports = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounce(FrontEffect):
    """Answer the held stanza's sender with an error; the recipient never sees the stanza."""

    token: Token
    error: StanzaError


@dataclass(frozen=True, slots=True)
class Opened(FrontEffect):
    """Tell the requester of a channel its ports: `local` is for itself, `remote` for its peer.

    Both name the RTP port; RTCP is the next.
    """

    token: Token
    id: str
    local: TransportAddress
    remote: TransportAddress
    expire_s: float
    max_kbps: int = 0


Verdict = Pass | Replace | Bounce
Answer = Verdict | Opened


@dataclass(frozen=True, slots=True)
class Inject(FrontEffect):
    """Send a Jingle request to `recipient` in the name of `sender`, as `Request.via` says."""

    sender: JID
    recipient: JID
    jingle: Jingle
    via: str = ""


@dataclass(frozen=True, slots=True)
class CallRefused(FrontEffect):
    """A call that was refused, or that goes on without the relay if the obstacle has no error.

    `owner` is the user, or the domain of another server, that it is counted for. It was `age_s`
    seconds ago.
    """

    caller: JID
    callee: JID
    sid: str
    obstacle: Obstacle
    owner: str
    age_s: float = 0.0
