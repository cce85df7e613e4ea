"""The contents of a call, and which of them a request means.

A content is the one of that creator and name, or else the only one of that name: clients write all
kinds of creators. A request that names none of ours is not ours to judge.
"""

from collections.abc import Callable, Iterable

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.medium import Medium
from jingle_hnt.model.content import Content, ContentKey

Meant = list[tuple[Medium, Content]]
"""Contents of ours, each with what a request says of it."""


class Contents(dict[ContentKey, Medium]):
    """All contents of a call, by key, in the order in which they were proposed."""

    def unagreed(self, leg: Leg) -> list[ContentKey]:
        """Return the contents that this leg proposed and the other has not answered."""
        return [m.key for m in self.values() if m.proposer is leg and not m.agreed]

    def find(self, content: Content) -> Medium | None:
        """Return the content that a request names; None where it names none of ours."""
        return _one_of(self.values(), content)

    def named(self, contents: Iterable[Content]) -> Meant:
        """Return those that a request names."""
        return each(contents, self.find)

    def awaiting(self, leg: Leg, contents: Iterable[Content]) -> Meant:
        """Return those that await this leg's answer."""
        return each(contents, lambda content: self._awaiting(leg, content))

    def answered(self, leg: Leg, contents: Iterable[Content]) -> Meant:
        """Return those that this leg accepts.

        COMPAT gajim-accepts-twice: or has accepted before.
        """
        agreed = [m for m in self.values() if m.agreed and m.proposer is leg.other]
        return each(contents, lambda c: self._awaiting(leg, c) or _one_of(agreed, c))

    def replacing(self, proposer: Leg, contents: Iterable[Content]) -> Meant:
        """Return those for which this leg offers another transport."""
        offered = [m for m in self.values() if proposer in m.replacements]
        return each(contents, lambda content: _one_of(offered, content))

    def _awaiting(self, leg: Leg, content: Content) -> Medium | None:
        return _one_of([self[key] for key in self.unagreed(leg.other)], content)


def each(contents: Iterable[Content], meant: Callable[[Content], Medium | None]) -> Meant:
    """Return the contents of a request that are `meant` to be some of ours, each of ours once."""
    found: dict[ContentKey, tuple[Medium, Content]] = {}
    for content in contents:
        medium = meant(content)
        if medium is not None:
            found.setdefault(medium.key, (medium, content))
    return list(found.values())


def _one_of(media: Iterable[Medium], content: Content) -> Medium | None:
    """Return the one of these that has a content's creator and name, or else alone has its name.

    A content without a name means the only one that there is.
    """
    among = list(media)
    exact = [medium for medium in among if medium.key == content.key]
    alike = exact or [m for m in among if content.key.name in ("", m.key.name)]
    return alike[0] if len(alike) == 1 else None
