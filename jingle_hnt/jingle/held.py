"""A stanza that a server holds until it is answered, and its answer."""

from collections.abc import Container
from dataclasses import dataclass

from jingle_hnt.call.leg import Leg
from jingle_hnt.call.reply import Reply
from jingle_hnt.errors import StanzaError
from jingle_hnt.jingle.effects import Answer, Bounce, Pass, Replace, Token
from jingle_hnt.model.content import Content, ContentKey
from jingle_hnt.model.jingle import Action, Jingle


@dataclass(slots=True)
class Held:
    """A stanza that the server holds until it is answered.

    `waits_for` is the number of the bind that must succeed first, None where it may leave. The
    session begins with one that `is_offer`. One that has `passed` went on unchanged, and has no
    answer.
    """

    token: Token
    action: Action | None
    leg: Leg
    reply: Reply
    waits_for: int | None = None
    is_offer: bool = False
    error: StanzaError | None = None
    passed: Jingle | None = None

    @property
    def answer(self) -> Answer:
        if self.error is not None:
            return Bounce(self.token, self.error)
        if self.reply.changes_nothing:
            return Pass(self.token)
        return Replace(self.token, self.reply.substitution, self.reply.transports)

    def told_late(self, known: Container[ContentKey]) -> list[Content]:
        """Return the relay's candidates for a request that passed unchanged, in contents `known`.

        To those of an ICE agent ours are added also where ICE ends at the relay, for our agent has
        taken the credentials that passed.
        """
        assert self.passed is not None
        said = {content.key: content.transport for content in self.passed.contents}
        own_words = {k: t.candidates for k, t in self.reply.transports.items() if t.namespace}
        told: list[Content] = []
        for key, own in {**self.reply.substitution, **own_words}.items():
            transport = said.get(key)
            if key in known and own and transport is not None:
                later = transport.followed_by(own)
                if later is not None:
                    told.append(Content(key, None, later))
        return told
