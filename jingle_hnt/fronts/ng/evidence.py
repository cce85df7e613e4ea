"""What is known of where a SIP party's media comes from, out of one message of its proxy.

A proxy tells where the SIP message came from (``received-from``): that is the previous hop. It is
the party for a phone that talks to this proxy, and says nothing behind another proxy or a load
balancer, which the operator lists (``relay.proxies``). A trunk sends media from elsewhere than it
signals. So:

*   a private, absent, zero or unreadable address in the SDP: ``received-from``, the
    `signalling-address`;
*   a public one that is ``received-from`` itself: the same;
*   a public one that differs: the one in the SDP, the `candidate-address`;
*   ``SIP-source-address`` forces the first, ``trust-address`` the last where the address may be a
    peer at all.
"""

from dataclasses import dataclass

from jingle_hnt.fronts.ng.sdp import Media
from jingle_hnt.fronts.ng.words import NgCommand
from jingle_hnt.model.address import IPAddress
from jingle_hnt.model.content import Candidate
from jingle_hnt.relay.policy import PeerPolicy


@dataclass(frozen=True, slots=True)
class Known:
    """What a message says of one media's party.

    `signalling` is the address that its packets must come from, None where the SDP's own
    counts or nothing is known. `candidates` are the SDP's transport addresses.
    """

    signalling: IPAddress | None
    candidates: tuple[Candidate, ...] = ()


def known(command: NgCommand, media: Media, peers: PeerPolicy) -> Known:
    """What this message says of who sends this media."""
    candidates = tuple(
        Candidate(component, 0, address) for component, address in media.addresses().items()
    )
    received, said = command.received_from, media.ip
    is_private = said is None or peers.refuses(said)
    if "sip-source-address" in command.flags:
        return Known(received, candidates if is_private or said == received else ())
    if is_private:
        return Known(received, candidates)
    if "trust-address" in command.flags or said != received:
        return Known(None, candidates)
    return Known(received, candidates)
