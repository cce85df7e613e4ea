"""Sources that have barred themselves: who sprays relay ports is no party of whom nothing is known.

Some ports of the relay nobody was ever told of: free ones that are held open for this, and those of
a party that has yet to be told. The rules:

1.  A source that sends `SUSPECT_PACKETS` packets to such ports within `SUSPECT_S` is barred for
    `BARRED_S`; one that was barred before, by its next packet.
2.  Barred sources teach nothing where nothing is known of a party (probation). Where signalling
    vouches for an address, by any means or as a likely one, nobody asks whether it is barred.
3.  IPv6 sources are barred by their /64: a host has all of its addresses.
4.  `MOST` sources are remembered; the one heard longest ago makes room.

The C engine's twin is `plane/native/rules/bars.c`; a property test drives both with the same
packets.
"""

from dataclasses import dataclass

from jingle_hnt.model.address import IPAddress

SUSPECT_PACKETS = 3
SUSPECT_S = 10.0
BARRED_S = 300.0
MOST = 256


@dataclass(slots=True)
class _Suspect:
    """A network that sends where nobody was told; `until` is 0 before it was barred."""

    since: float
    heard_at: float
    packets: int = 0
    until: float = 0.0


class Bars:
    """See the module's text. Times are monotonic and never fall."""

    def __init__(self) -> None:
        self._suspects: dict[bytes, _Suspect] = {}

    def note(self, ip: IPAddress, now: float) -> bool:
        """A packet came to a port that nobody was told of; tells whether that bars its source."""
        suspect = self._suspect(_network(ip), now)
        suspect.heard_at = now
        if suspect.until == 0.0 and now - suspect.since > SUSPECT_S:
            suspect.since, suspect.packets = now, 0
        suspect.packets += 1
        if suspect.until == 0.0 and suspect.packets < SUSPECT_PACKETS:
            return False
        was_barred = suspect.until > now
        suspect.until = now + BARRED_S
        return not was_barred

    def has(self, ip: IPAddress, now: float) -> bool:
        """Whether this source is barred."""
        suspect = self._suspects.get(_network(ip))
        return suspect is not None and suspect.until > now

    def _suspect(self, network: bytes, now: float) -> _Suspect:
        known = self._suspects.get(network)
        if known is not None:
            return known
        if len(self._suspects) == MOST:
            del self._suspects[min(self._suspects, key=lambda n: self._suspects[n].heard_at)]
        suspect = self._suspects[network] = _Suspect(now, now)
        return suspect


def _network(ip: IPAddress) -> bytes:
    return ip.packed if ip.version == 4 else ip.packed[:8]
