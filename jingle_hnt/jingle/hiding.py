"""Hides addresses in every request (mode terminate, rule I2).

Where ICE ends at the relay, no transport of an agent may reach the other party. The session
rewrites transports that it understands. A request that it does not understand, or that comes at the
wrong time, goes on with an empty transport of ours. Only a stanza that cannot be rewritten is
refused.
"""

from collections.abc import Callable, Collection

from jingle_hnt.call.ice import Credentials
from jingle_hnt.call.policy import IceMode
from jingle_hnt.call.transports.context import is_ours
from jingle_hnt.errors import Unhidden
from jingle_hnt.jingle.policy import SessionPolicy
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import (
    ICE,
    ICE_UDP,
    CandidateType,
    ContentKey,
    Ice,
    OwnTransport,
    RawUdp,
)
from jingle_hnt.model.jid import JID
from jingle_hnt.model.jingle import Jingle


def is_hiding(policy: SessionPolicy, jids: tuple[JID, JID]) -> bool:
    """Return whether the addresses of these parties are to be hidden from each other."""
    return any(policy.ice_mode(jids, each) is IceMode.TERMINATE for each in (ICE_UDP, ICE))


def demand_whole(policy: SessionPolicy, jids: tuple[JID, JID], jingle: Jingle) -> None:
    """Raise Unhidden for a stanza that may tell addresses which are to be hidden."""
    if not jingle.is_whole and is_hiding(policy, jids):
        raise Unhidden


def hidden(
    policy: SessionPolicy,
    jids: tuple[JID, JID],
    jingle: Jingle,
    rewritten: Collection[ContentKey],
    drawn: Callable[[], str],
) -> dict[ContentKey, OwnTransport]:
    """Return an empty transport for each content that would tell a hidden address.

    `rewritten` are those that something better was found for; `drawn` draws credentials.
    """
    found = {}
    for content in jingle.contents:
        transport = content.transport
        if content.key in rewritten:
            continue
        if isinstance(transport, RawUdp):
            if _tells_of_its_sender(transport, policy.peers.own) and is_hiding(policy, jids):
                found[content.key] = OwnTransport()
            continue
        if (
            isinstance(transport, Ice)
            and policy.ice_mode(jids, transport.namespace) is IceMode.TERMINATE
            and _tells_something(transport)
            and not is_ours(transport, policy.peers.own)
        ):
            digits = drawn()
            own = Credentials(digits[:8], digits[8:40])
            found[content.key] = OwnTransport((), transport.namespace, own.ufrag, own.pwd)
    return found


def _tells_of_its_sender(transport: RawUdp, own: Collection[IPAddress]) -> bool:
    """Return whether it has an address that is no relay's."""
    return transport.odd or any(
        c.type is not CandidateType.RELAY and c.address.ip not in own for c in transport.candidates
    )


def _tells_something(transport: Ice) -> bool:
    return bool(transport.ufrag or transport.candidates or transport.components)
