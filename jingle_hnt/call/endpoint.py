"""One end of a call: the owner of its ports, and its addresses as servers see them."""

from collections.abc import Iterable
from dataclasses import dataclass

from jingle_hnt.model.address import IPAddress
from jingle_hnt.relay.evidence import LONGEST_AGE_S, MOST_SIGHTINGS, Sighting


@dataclass(frozen=True, slots=True)
class Account:
    """The owner of resources: a user and the user's domain."""

    user: str
    domain: str


@dataclass(slots=True)
class Endpoint:
    """One party's end of a call.

    `ip` is the other end of its present signalling connection. `seen` are weaker addresses, newest
    first: of the other family, of earlier connections, of kinds of connection that prove less. A
    new piece is added to them; it never takes the place of `ip`.
    """

    account: Account
    ip: IPAddress | None = None
    gone: bool = False
    seen: tuple[IPAddress, ...] = ()

    @property
    def addresses(self) -> list[IPAddress]:
        """Return the addresses that the party's server has seen; they outrank signalled ones."""
        return [] if self.ip is None else [self.ip]

    def sight(self, sightings: Iterable[Sighting]) -> bool:
        """Record where its server has seen it; tells whether that is news."""
        before = self.ip, self.seen
        for sighting in sightings:
            if sighting.age_s > LONGEST_AGE_S:
                continue
            if sighting.is_sure and sighting.ip != self.ip:
                self._see(self.ip)
                self.ip = sighting.ip
            elif sighting.ip not in (self.ip, *self.seen):
                self._see(sighting.ip)
        return (self.ip, self.seen) != before

    def _see(self, ip: IPAddress | None) -> None:
        if ip is not None:
            others = (each for each in self.seen if each != ip)
            self.seen = (ip, *others)[:MOST_SIGHTINGS]


def sightings(ip: IPAddress | None, seen: tuple[Sighting, ...]) -> tuple[Sighting, ...]:
    """Return where a party is and where else it was seen (newest first), the oldest first."""
    return (*reversed(seen), *(() if ip is None else (Sighting(ip),)))
