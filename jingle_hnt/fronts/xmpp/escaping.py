"""Addresses at the component that stand for addresses elsewhere (XEP-0106, JID Escaping).

``bob@example.org/desk`` is called ``bob\\40example.org@hnt.example.org/desk``. The way back is the
same question: what is somebody called by who is on the other side of the component?
"""

import re

from jingle_hnt.model.jid import JID

LONGEST_PART = 1023
"""Bytes of a local part or a domain (RFC 7622 section 3)."""

_CODES = {character: f"\\{ord(character):02x}" for character in "\\ \"&'/:<>@"}
_CHARACTERS = {code: character for character, code in _CODES.items()}
_CODE = "|".join(re.escape(code[1:]) for code in _CODES.values())
_TO_ESCAPE = re.compile(rf"[ \"&'/:<>@]|\\(?={_CODE})")
_ESCAPED = re.compile(rf"\\(?:{_CODE})")
_LOCAL = re.compile(r"[^\x00-\x20\"&'/:<>@\x7f]+")
_DOMAIN = re.compile(r"[^\x00-\x20\"&'/:<>@\\\x7f]+")


def escape(text: str) -> str:
    """Text as it may stand in a local part; a backslash only where it could be misread."""
    return _TO_ESCAPE.sub(lambda found: _CODES[found[0]], text)


def unescape(text: str) -> str:
    """The text that was escaped."""
    return _ESCAPED.sub(lambda found: _CHARACTERS[found[0]], text)


def across(jid: JID, component: str) -> JID:
    """Return the name of `jid` on the other side: its address at the component, or the reverse.

    Raises ValueError where it is, or stands for, no user's address.
    """
    return _behind(jid, component) if jid.domain == component else _facade(jid, component)


def _facade(jid: JID, component: str) -> JID:
    local = escape(str(jid.bare))
    if not jid.local or len(local.encode()) > LONGEST_PART:
        raise ValueError(f"{jid} is no user's address, or too long a one")
    return JID(local, component, jid.resource)


def _behind(address: JID, component: str) -> JID:
    local, _, domain = unescape(address.local).partition("@")
    found = JID(local, domain, address.resource)
    known = _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)
    fits = max(len(local.encode()), len(domain.encode())) <= LONGEST_PART
    if not known or not fits or domain == component or escape(str(found.bare)) != address.local:
        raise ValueError(f"{address} stands for no user's address")
    return found
