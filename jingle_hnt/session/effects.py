"""What goes into the session core and what comes out of it.

Inputs are verbs of `Registry`; effects are imperative values that the driver carries out in order,
before it gives the next input. Nothing here waits: what takes time answers later, as an input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from jingle_hnt.errors import StanzaError
from jingle_hnt.model.address import IPAddress, TransportAddress
from jingle_hnt.model.content import Candidate, ContentKey, OwnTransport
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle, Reason
from jingle_hnt.relay.binding import Arm, BindingName, BindingSpec, Gate
from jingle_hnt.relay.evidence import Sighting, sightings
from jingle_hnt.session.refusals import Obstacle

if TYPE_CHECKING:
    from jingle_hnt.session.machine import Session

Token = int
"""Names one held stanza; each is answered exactly once."""


@dataclass(frozen=True, slots=True)
class Request:
    """A Jingle request, held until it is answered; its parties are named by their own addresses.

    `via` is empty where a server module asks about what the parties send each other; else they send
    it to addresses at this component, and what we say ourselves takes the same way. `sender_ip` and
    `recipient_ip` are where the parties' XMPP connections come from, where the server knows it;
    `sender_seen` and `recipient_seen` where they were seen besides, newest first.
    `id` is the stanza's, `patience_s` how long who holds it waits for the answer.
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
        """All of it, the present address last: what is added last counts as the newest."""
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

    It went on as it came, `age_s` seconds before this was told. `jingle` is None where it cannot be
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


Substitution = Mapping[ContentKey, tuple[Candidate, ...]]
"""For each content whose transport is changed: the candidates that replace all of its own, or that
are added to them where the transport is ICE."""

OwnTransports = Mapping[ContentKey, OwnTransport]
"""For each content where ICE ends at the relay: the transport that stands for its own."""

NONE_OWN: OwnTransports = {}
"""ICE ends nowhere."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Let the held stanza go on as it came."""

    token: Token


@dataclass(frozen=True, slots=True)
class Replace:
    """Let the held stanza go on with these candidates in place of its own, or beside them (ICE)."""

    token: Token
    substitution: Substitution
    transports: OwnTransports = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounce:
    """Answer the held stanza's sender with an error; the recipient never sees the stanza."""

    token: Token
    error: StanzaError


@dataclass(frozen=True, slots=True)
class Opened:
    """Tell who asked for a channel that it has one: `local` is for itself, `remote` for its peer.

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
class Bind:
    """Make these bindings, all or none; answered by `Registry.bound` or `Registry.unbound`.

    `orders` are carried out with it: a party may send as soon as it has the stanza that waits for
    these bindings, and its first packet shall find its latch armed. `number` tells the binds of
    one session apart.
    """

    session: str
    number: int
    specs: tuple[BindingSpec, ...]
    orders: tuple[Arm | Gate, ...] = ()

    def addresses(self, named: str | None = None) -> tuple[TransportAddress, ...]:
        """What is to be bound: all, or what is `named` so (``host:port``)."""
        addresses = (address for spec in self.specs for address in spec.pinholes)
        return tuple(a for a in addresses if named is None or named == str(a))


@dataclass(frozen=True, slots=True)
class Release:
    """Stop these bindings and free their ports once they are idle."""

    names: tuple[BindingName, ...]


@dataclass(frozen=True, slots=True)
class Inject:
    """Send a Jingle request to `recipient` in the name of `sender`, as `Request.via` says."""

    sender: JID
    recipient: JID
    jingle: Jingle
    via: str = ""


@dataclass(frozen=True, slots=True)
class Remember:
    """The session of this name changed in a way that must survive a restart."""

    session: str


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A request would have exceeded a budget and was refused, or goes on without the relay.

    `owner` is who has used the budget up: a user, a domain, or a session by its name.
    """

    budget: str
    owner: str


@dataclass(frozen=True, slots=True)
class CallRefused:
    """A call was not made, or without the relay where the obstacle has no error.

    `owner` is whom it is counted for: a user, or a domain of another server. It was `age_s` seconds
    ago.
    """

    caller: JID
    callee: JID
    sid: str
    obstacle: Obstacle
    owner: str
    age_s: float = 0.0


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


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is over; its bindings are being released. `account` is the session, to be read.

    Where the end is ours, `farewells` are to be sent to the parties, once it is known what was
    wrong: that is added to the text of their reason (XEP-0166 section 7.4). `obstacle` is what its
    offer met, where it never became a call.
    """

    session: str
    why: Why
    reason: Reason | None = None
    farewells: tuple[Inject, ...] = ()
    account: "Session | None" = field(default=None, compare=False, repr=False)
    obstacle: Obstacle | None = None


Effect = Answer | Bind | Arm | Gate | Release | Inject | Remember | Exceeded | CallRefused | Ended
