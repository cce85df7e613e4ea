"""Relay channels that a client asks for (XEP-0278, Jingle Nodes).

A channel is a session of one known party: the requester sends to one pair of ports and offers the
other pair to the party that it calls. We never see that call. So media flows from the start, the
requester's side is armed with what its server knows of it, the other side is on probation, and the
channel ends when nothing has come through it for a while.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from jingle_hnt.call.call import Call
from jingle_hnt.call.leg import Leg
from jingle_hnt.call.life import Why
from jingle_hnt.call.policy import GateMode, GatePolicy
from jingle_hnt.errors import Condition, StanzaError
from jingle_hnt.jingle.effects import Answer, Bounce, ChannelRequest, Opened, Request
from jingle_hnt.jingle.held import Held
from jingle_hnt.jingle.machine import Session
from jingle_hnt.jingle.party import Party
from jingle_hnt.jingle.policy import ChannelPolicy, SessionPolicy
from jingle_hnt.jingle.table import State
from jingle_hnt.model.content import RTP, Content, ContentKey, Creator, RawUdp, Senders
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Action, Jingle

PEER = JID.of("peer.invalid")
"""Stands for whom the requester calls; nobody tells us who that is (RFC 2606)."""

MEDIA = ContentKey(Creator.INITIATOR, "channel")

NOT_A_USER = StanzaError(
    Condition.FORBIDDEN, "auth", "channels are for users of the servers that this relay serves"
)
TOO_MANY = StanzaError(
    Condition.RESOURCE_CONSTRAINT,
    "wait",
    "you have as many channels as one user may have, or asked for too many; try again later",
)


class Channel(Session):
    """See the module's text. Its sid is its name, which is also the id that the requester is told.

    `policy` is `policy_of_channels`.
    """

    def __init__(
        self,
        sid: str,
        parties: tuple[Party, Party],
        call: Call,
        policy: SessionPolicy,
        now: float,
    ) -> None:
        super().__init__(sid, parties, call, policy, now)
        call.anchor.one_interface = True

    def open(self, request: ChannelRequest, now: float) -> None:
        """Lease the ports; the answer leaves when they are bound."""
        content = Content(MEDIA, Senders.BOTH, RawUdp(()), None)
        jingle = Jingle(Action.SESSION_INITIATE, self.sid, contents=(content,))
        self.initiate(Request(request.token, request.requester, PEER, jingle), now)
        if self.state is not State.ENDED:
            self.state = State.ACTIVE
            self.life.accepted_at = now
            for allocation in self.negotiation.allocations:
                self.anchor.latches.arm_rightly(allocation, Leg.RESPONDER, Leg, {})
            self.call.note_life(now)

    def terminate(self, why: Why) -> None:
        """End it. There is no session to terminate: both parties notice that media stops."""
        self._end(why)

    def _answer(self, held: Held) -> Answer:
        if held.error is not None:
            return Bounce(held.token, held.error)
        (allocation,) = self.negotiation.allocations
        local, remote = (allocation.leases[leg].advertised(RTP) for leg in Leg)
        own = self._policy.relay_nodes
        assert own is not None
        return Opened(held.token, self.name, local, remote, own.expire_s, own.max_kbps)

    def _cannot_relay(self, held: Held, error: StanzaError) -> None:
        held.error = error
        self._end(Why.NO_CAPACITY)


@dataclass(slots=True)
class Quota:
    """The channels of each user (bare JID), and each user's recent requests."""

    policy: ChannelPolicy
    open: Counter[JID] = field(default_factory=Counter)
    _asked: dict[JID, deque[float]] = field(default_factory=dict)

    def refusal(self, requester: JID, now: float) -> StanzaError | None:
        """Return why this user may have no channel now; None if it may. The attempt counts."""
        self._forget(now)
        asked = self._asked.setdefault(requester.bare, deque())
        if len(asked) >= self.policy.per_minute:
            return TOO_MANY
        asked.append(now)
        return TOO_MANY if self.open[requester.bare] >= self.policy.per_user else None

    def opened(self, requester: JID) -> None:
        """Count a channel that this user begins."""
        self.open[requester.bare] += 1

    def closed(self, requester: JID) -> None:
        """Count a channel that ends."""
        self.open[requester.bare] -= 1
        if self.open[requester.bare] <= 0:
            del self.open[requester.bare]

    def _forget(self, now: float) -> None:
        for jid in list(self._asked):
            asked = self._asked[jid]
            while asked and asked[0] <= now - 60:
                asked.popleft()
            if not asked:
                del self._asked[jid]


def policy_of_channels(policy: SessionPolicy) -> SessionPolicy:
    """Return the policy of channels, derived from the policy of calls."""
    assert policy.relay_nodes is not None
    expire_s = policy.relay_nodes.expire_s
    times = replace(policy.times, first_media_s=expire_s, silence_s=expire_s, hold_s=expire_s)
    return replace(policy, gate=GatePolicy(GateMode.OPEN), times=times)
