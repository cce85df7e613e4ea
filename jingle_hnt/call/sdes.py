"""The SDES keys that both parties have signalled for a content (XEP-0167 section 7).

The keys that a party signals are those that it sends with (RFC 4568 section 6.1). So the offer's
tell what the proposer's media is signed with, any line of it until the answer has chosen one by its
tag; the answer's tell the same of the other party.
"""

from dataclasses import dataclass

from jingle_hnt.call.leg import Leg
from jingle_hnt.model.content import Content, Crypto, TagKey

MOST_TAGS = 8
"""Keys of one party that are tried; an offer of more is not checked until the answer chooses."""


@dataclass(slots=True)
class Protection:
    """The offered keys and the chosen one; `chosen` is None before the answer."""

    proposer: Leg
    offered: tuple[Crypto, ...] = ()
    chosen: tuple[Crypto, ...] | None = None

    def answer(self, content: Content) -> None:
        """Apply the other party's answer."""
        self.chosen = content.crypto

    def renew(self, leg: Leg, lines: tuple[Crypto, ...]) -> bool:
        """A party has said other keys in mid-call (RFC 4568 section 6.5); tells whether it has.

        Until the other party answers nobody knows which are in force: both are.
        """
        before = self.offered if leg is self.proposer else self.chosen or ()
        if self.chosen is None or all(line in before for line in lines):
            return False
        both = tuple(dict.fromkeys((*lines, *before)))[:MOST_TAGS]
        if leg is self.proposer:
            self.offered = both
        else:
            self.chosen = both
        return True

    def tags(self, leg: Leg) -> tuple[TagKey, ...]:
        """Return the tag keys of this leg's packets; empty if they are not certain.

        It is not where a party may as well send what nobody else can check: in the clear, by DTLS
        or ZRTP, with another suite.
        """
        if self.chosen is None:
            return _certain(self.offered) if leg is self.proposer else ()
        answered = _certain(self.chosen)
        numbers = {crypto.tag for crypto in self.chosen}
        offered = _certain(tuple(c for c in self.offered if c.tag in numbers))
        if not answered or not offered:
            return ()
        return offered if leg is self.proposer else answered

    def answered(self, content: Content) -> "Protection":
        """Return the protection after this answer."""
        return Protection(self.proposer, self.offered, content.crypto)

    @property
    def is_expected(self) -> bool:
        """Return whether the answerer will sign its packets if it accepts the offer."""
        return self.chosen is None and bool(_certain(self.offered))


def _certain(lines: tuple[Crypto, ...]) -> tuple[TagKey, ...]:
    keys = tuple(dict.fromkeys(key for line in lines for key in line.keys))
    return keys if all(line.keys for line in lines) and len(keys) <= MOST_TAGS else ()
