"""Addresses that people type, as servers write them (RFC 7622 section 3).

What a server hands over is normalised already. What stands in a configuration or comes with an
administrator's command is not: it may have capitals, a trailing dot, or ``ß``.
"""

from slixmpp.jid import JID as Prepared
from slixmpp.jid import InvalidJID

from jingle_hnt.model.jid import JID

_ANY = "hnt0any0hnt"
"""Stands for ``*`` while a pattern is normalised: normalising leaves it alone."""


def normalised(text: str) -> str:
    """A JID, or a domain, as servers write it. Raises ValueError for what is neither."""
    try:
        jid = Prepared(text)
    except InvalidJID:
        jid = Prepared()
    domain = jid.domain.removesuffix(".")  # RFC 7622 section 3.2
    if domain:
        return str(JID(jid.local, domain, jid.resource))
    raise ValueError(f"{text!r} is no XMPP address; write one such as alice@example.org")


def normalised_pattern(text: str) -> str:
    """Return a pattern normalised; ``*`` in it stands for any number of characters.

    One that is no address without its ``*`` stays as it is, in lower case.
    """
    try:
        return normalised(text.replace("*", _ANY)).replace(_ANY, "*")
    except ValueError:
        return text.lower()
